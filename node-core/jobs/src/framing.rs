//! Frames: a 4-byte big-endian length, then that many bytes of JSON.
//!
//! The same framing carries commands and events over a worker's standard input and output, and orders over a stream
//! between nodes. A length above [`MAX_FRAME_BYTES`] is refused before anything is allocated.

use std::io::{Read, Write};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest body of a frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is above [`MAX_FRAME_BYTES`]. The stream cannot be used any more.
    #[error("a frame of {0} bytes is larger than the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The body is not the message that was expected.
    #[error("a frame could not be understood: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The stream broke, or ended inside a frame.
    #[error("the stream broke: {0}")]
    Io(#[from] std::io::Error),
}

/// A message as the bytes of one frame.
pub fn encode_frame<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// The message in a frame's body.
pub fn decode_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

/// Reads the next message; `None` at the end of the stream between two frames.
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut header = [0; 4];
    let mut filled = 0;
    while filled < header.len() {
        match reader.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut body = vec![0; body_length(header)?];
    reader.read_exact(&mut body)?;
    decode_frame(&body).map(Some)
}

/// Writes a message and flushes.
pub fn write_frame<T: Serialize>(writer: &mut impl Write, message: &T) -> Result<(), FrameError> {
    writer.write_all(&encode_frame(message)?)?;
    Ok(writer.flush()?)
}

/// Reads the next message; `None` at the end of the stream between two frames. Not safe to cancel between frames
/// of a stream that is read on.
pub async fn read_frame_async<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut header = [0; 4];
    let mut filled = 0;
    while filled < header.len() {
        match reader.read(&mut header[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            count => filled += count,
        }
    }
    let mut body = vec![0; body_length(header)?];
    reader.read_exact(&mut body).await?;
    decode_frame(&body).map(Some)
}

/// Writes a message and flushes.
pub async fn write_frame_async<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    writer.write_all(&encode_frame(message)?).await?;
    Ok(writer.flush().await?)
}

fn body_length(header: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(header) as usize;
    if length > MAX_FRAME_BYTES { Err(FrameError::TooLarge(length)) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ChatMessage, ChatOrder, Command, Event, JobId, Role, Sampling, Task};

    fn command() -> Command {
        Command::Start {
            job: JobId([7; 16]),
            task: Task::Chat(ChatOrder {
                model: "smollm2-135m-instruct".into(),
                messages: vec![ChatMessage { role: Role::User, content: "Hello".into() }],
                continues: false,
                max_tokens: Some(8),
                sampling: Sampling::default(),
                stop: vec![],
            }),
        }
    }

    #[test]
    fn a_command_survives_its_frame() {
        let bytes = encode_frame(&command()).unwrap();
        let read: Command = read_frame(&mut bytes.as_slice()).unwrap().unwrap();
        assert_eq!(read, command());
    }

    #[test]
    fn the_end_between_frames_is_none_and_inside_a_frame_an_error() {
        assert!(read_frame::<Command>(&mut [].as_slice()).unwrap().is_none());
        let bytes = encode_frame(&command()).unwrap();
        for cut in 1..bytes.len() {
            assert!(
                matches!(read_frame::<Command>(&mut &bytes[..cut]), Err(FrameError::Io(_))),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn an_oversize_length_is_refused_before_its_body_is_read() {
        let header = ((MAX_FRAME_BYTES + 1) as u32).to_be_bytes();
        assert!(matches!(read_frame::<Command>(&mut header.as_slice()), Err(FrameError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = read_frame::<Command>(&mut bytes.as_slice());
            let _ = decode_frame::<Event>(&bytes);
        }

        #[test]
        fn both_readers_agree(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let blocking = read_frame::<Event>(&mut bytes.as_slice()).map_err(|e| e.to_string());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let asynchronous = runtime
                .block_on(read_frame_async::<Event>(&mut bytes.as_slice()))
                .map_err(|e| e.to_string());
            prop_assert_eq!(blocking.is_ok(), asynchronous.is_ok());
        }
    }
}
