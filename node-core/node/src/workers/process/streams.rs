//! The standard streams of a worker, each held by a task of its own.

use std::time::Duration;

use edge_jobs::{Event, read_frame_async};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::mpsc,
    task::JoinHandle,
};
use tracing::debug;

/// Commands that may wait to be written. The last places are for stopping jobs, which must not wait behind starting them.
const COMMANDS: usize = 128;
const KEPT_FOR_CANCELS: usize = 64;
/// Events from the worker that may wait.
const EVENTS: usize = 64;
/// Longest line of a worker's log that is kept.
const LOG_LINE: usize = 2_000;

/// Writes commands to a worker's standard input. A worker that does not read them is found out, and holds up nobody.
pub(super) struct CommandWriter {
    frames: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<String>,
}

impl CommandWriter {
    /// Writes to `input`, and gives up when one command takes longer than `patience`.
    pub fn start(mut input: ChildStdin, patience: Duration) -> Self {
        let (frames, mut waiting) = mpsc::channel::<Vec<u8>>(COMMANDS);
        let task = tokio::spawn(async move {
            while let Some(frame) = waiting.recv().await {
                let written = async {
                    input.write_all(&frame).await?;
                    input.flush().await
                };
                match tokio::time::timeout(patience, written).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return format!("it takes no commands: {error}"),
                    Err(_) => return "it does not read its commands".to_owned(),
                }
            }
            "its input was closed".to_owned()
        });
        Self { frames, task }
    }

    /// Whether one more job may be started.
    pub fn has_room(&self) -> bool {
        self.frames.capacity() > KEPT_FOR_CANCELS
    }

    /// Puts a frame at the end of those that wait.
    ///
    /// # Errors
    /// The worker is far behind, or its input is closed: in words.
    pub fn write(&self, frame: Vec<u8>) -> Result<(), String> {
        self.frames.try_send(frame).map_err(|_| "it does not keep up with its commands".to_owned())
    }

    /// Returns when nothing can be written any more, with the reason.
    pub async fn ended(&mut self) -> String {
        (&mut self.task).await.unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for CommandWriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The events that a worker writes to its standard output. Reading a frame is not safe to cancel, so a task does it.
pub(super) fn read_events(mut output: ChildStdout) -> mpsc::Receiver<Result<Event, String>> {
    let (sender, events) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        loop {
            let event = match read_frame_async::<Event>(&mut output).await {
                Ok(Some(event)) => Ok(event),
                Ok(None) => return,
                Err(error) => Err(error.to_string()),
            };
            let broken = event.is_err();
            if sender.send(event).await.is_err() || broken {
                return;
            }
        }
    });
    events
}

/// Passes a worker's log on.
pub(super) fn keep_log(log: ChildStderr, name: &'static str) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(log).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            debug!(worker = name, "{}", line.chars().take(LOG_LINE).collect::<String>());
        }
    });
}
