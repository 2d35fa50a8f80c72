//! Frames of a session: messages as `edge-jobs` frames them, and chunks of file bytes between them.
//!
//! Both are a 4-byte big-endian length and a body. A message's body is a JSON object; a chunk's begins with a zero byte,
//! which no JSON does. Lengths are checked before anything is allocated.

use bytes::Bytes;
use edge_jobs::{FrameError, MAX_FRAME_BYTES, decode_frame, encode_frame};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::AbortHandle,
};

/// Most file bytes in one chunk that is read.
pub const MAX_CHUNK_BYTES: usize = 256 * 1024;

/// File bytes in one chunk that is written: small enough that a slow line still shows signs of life.
const CHUNK_BYTES: usize = 64 * 1024;

/// First byte of a chunk's body.
const CHUNK: u8 = 0;

/// Frames that may wait to be taken by the session.
const FRAMES_AHEAD: usize = 8;

/// What a session reads.
#[derive(Debug, PartialEq)]
pub enum Frame<M> {
    /// A message.
    Message(M),
    /// The next bytes of a file.
    Chunk(Bytes),
}

/// How long the messages of one side of a session may be, by default as long as a frame can be.
pub trait SessionMessage: DeserializeOwned + Send + 'static {
    /// The longest body, in bytes, in which this message may come.
    fn longest(&self) -> usize {
        MAX_FRAME_BYTES
    }

    /// The longest body that any message behind this one may have.
    fn longest_after(&self) -> usize {
        MAX_FRAME_BYTES
    }
}

/// Reads the next frame; `None` at the end of the stream between two frames. Not safe to cancel.
pub async fn read_frame<M: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Frame<M>>, FrameError> {
    Ok(read_within(reader, MAX_FRAME_BYTES).await?.map(|(frame, _)| frame))
}

/// Reads the next frame and says how long its body was. A message may have `most` bytes.
async fn read_within<M: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<Option<(Frame<M>, usize)>, FrameError> {
    let mut header = [0; 4];
    let mut filled = 0;
    while filled < header.len() {
        match reader.read(&mut header[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            count => filled += count,
        }
    }
    let length = u32::from_be_bytes(header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    // The first byte says which limit applies, before the rest is allocated.
    let mut body = Vec::new();
    if length > 0 {
        let first = reader.read_u8().await?;
        if first == CHUNK {
            if length > MAX_CHUNK_BYTES + 1 {
                return Err(FrameError::TooLarge(length));
            }
            body.resize(length - 1, 0);
            reader.read_exact(&mut body).await?;
            return Ok(Some((Frame::Chunk(body.into()), length)));
        }
        if length > most {
            return Err(FrameError::TooLarge(length));
        }
        body.resize(length, 0);
        body[0] = first;
        reader.read_exact(&mut body[1..]).await?;
    }
    Ok(Some((Frame::Message(decode_frame(&body)?), length)))
}

/// The reading half of a session, read by a task of its own, so that waiting for a frame can be given up at any time.
#[derive(Debug)]
pub struct Inbound<M> {
    frames: mpsc::Receiver<Result<Frame<M>, FrameError>>,
    reader: AbortHandle,
}

impl<M> Drop for Inbound<M> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl<M: SessionMessage> Inbound<M> {
    /// Starts to read.
    pub fn start(mut reader: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, frames) = mpsc::channel(FRAMES_AHEAD);
        let task = tokio::spawn(async move {
            let mut most = MAX_FRAME_BYTES;
            loop {
                let frame = match read_within::<M>(&mut reader, most).await {
                    Ok(Some((Frame::Message(message), length))) => {
                        most = most.min(message.longest_after());
                        match length > message.longest() {
                            true => Err(FrameError::TooLarge(length)),
                            false => Ok(Frame::Message(message)),
                        }
                    }
                    Ok(Some((chunk, _))) => Ok(chunk),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let broken = frame.is_err();
                if sender.send(frame).await.is_err() || broken {
                    return;
                }
            }
        });
        Self { frames, reader: task.abort_handle() }
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Frame<M>>, FrameError> {
        self.frames.recv().await.transpose()
    }
}

/// The writing half of a session.
#[derive(Debug)]
pub struct Outbound<W> {
    writer: W,
}

impl<W: AsyncWrite + Unpin> Outbound<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }

    /// Writes a message and flushes.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), FrameError> {
        self.put(message).await?;
        Ok(self.writer.flush().await?)
    }

    /// Writes a message that file bytes follow.
    pub async fn put(&mut self, message: &impl Serialize) -> Result<(), FrameError> {
        Ok(self.writer.write_all(&encode_frame(message)?).await?)
    }

    /// Writes file bytes, in chunks, and flushes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            self.put_chunk(chunk).await?;
        }
        Ok(self.writer.flush().await?)
    }

    /// Writes a whole file of `length` bytes, in chunks, and flushes.
    pub async fn send_file(
        &mut self,
        mut file: impl AsyncRead + Unpin,
        length: u64,
    ) -> Result<(), FrameError> {
        let mut left = length;
        let mut buffer = vec![0; CHUNK_BYTES];
        while left > 0 {
            let wanted = left.min(buffer.len() as u64) as usize;
            file.read_exact(&mut buffer[..wanted]).await?;
            self.put_chunk(&buffer[..wanted]).await?;
            left -= wanted as u64;
        }
        Ok(self.writer.flush().await?)
    }

    /// Says that nothing follows.
    pub async fn finish(&mut self) -> Result<(), FrameError> {
        Ok(self.writer.shutdown().await?)
    }

    async fn put_chunk(&mut self, chunk: &[u8]) -> Result<(), FrameError> {
        let length = chunk.len() as u32 + 1;
        let mut header = [0; 5];
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4] = CHUNK;
        self.writer.write_all(&header).await?;
        Ok(self.writer.write_all(chunk).await?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{
        super::{MAX_REQUEST_BYTES, Request},
        *,
    };

    impl SessionMessage for Value {}

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn messages_and_chunks_arrive_as_they_were_sent() {
        block(async {
            let mut sent = Vec::new();
            let mut out = Outbound::new(&mut sent);
            let file: Vec<u8> = (0..MAX_CHUNK_BYTES * 2 + 7).map(|i| i as u8).collect();
            out.put(&json!({"say": "file"})).await.unwrap();
            out.send_file(file.as_slice(), file.len() as u64).await.unwrap();
            out.send(&json!({"say": "end"})).await.unwrap();
            let mut inbound = Inbound::<Value>::start(std::io::Cursor::new(sent));
            assert_eq!(inbound.next().await.unwrap().unwrap(), Frame::Message(json!({"say": "file"})));
            let mut bytes = Vec::new();
            while bytes.len() < file.len() {
                let Frame::Chunk(chunk) = inbound.next().await.unwrap().unwrap() else { panic!("no chunk") };
                bytes.extend_from_slice(&chunk);
            }
            assert_eq!(bytes, file);
            assert_eq!(inbound.next().await.unwrap().unwrap(), Frame::Message(json!({"say": "end"})));
            assert!(inbound.next().await.unwrap().is_none());
        });
    }

    #[test]
    fn an_oversize_chunk_is_refused_before_its_body_is_read() {
        let mut bytes = ((MAX_CHUNK_BYTES + 2) as u32).to_be_bytes().to_vec();
        bytes.push(CHUNK);
        let read = block(read_frame::<Value>(&mut bytes.as_slice()));
        assert!(matches!(read, Err(FrameError::TooLarge(_))));
        let bytes = (MAX_FRAME_BYTES as u32 + 1).to_be_bytes();
        assert!(matches!(block(read_frame::<Value>(&mut bytes.as_slice())), Err(FrameError::TooLarge(_))));
    }

    /// What a provider reads of these frames: the requests, and whether it broke off.
    fn heard(frames: &[Value]) -> (usize, bool) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encode_frame(frame).unwrap()).collect();
        block(async {
            let mut inbound = Inbound::<Request>::start(std::io::Cursor::new(bytes));
            let mut requests = 0;
            loop {
                match inbound.next().await {
                    Ok(Some(_)) => requests += 1,
                    Ok(None) => return (requests, false),
                    Err(error) => {
                        assert!(matches!(error, FrameError::TooLarge(_)), "{error}");
                        return (requests, true);
                    }
                }
            }
        })
    }

    #[test]
    fn only_the_opening_of_a_session_may_be_long() {
        let long = "x".repeat(MAX_REQUEST_BYTES);
        let open = json!({"say": "open", "job": format!("job_{}", "0".repeat(32)), "work": {"work": "relay"}, "price": "1",
            "reserve": null, "voucher": null, "note": long});
        let (alive, long_alive) = (json!({"say": "alive"}), json!({"say": "alive", "note": long}));
        assert_eq!(heard(&[alive.clone(), open.clone(), alive.clone()]), (3, false));
        assert_eq!(heard(&[long_alive.clone(), open.clone()]), (0, true), "before the opening");
        assert_eq!(heard(&[open.clone(), alive, long_alive]), (2, true), "behind it");
        assert_eq!(heard(&[open.clone(), open]), (1, true), "a second opening");
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            block(async {
                let mut reader = bytes.as_slice();
                while let Ok(Some(_)) = read_frame::<Value>(&mut reader).await {}
            });
        }
    }
}
