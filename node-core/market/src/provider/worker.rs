//! The programs that do the work, as the market sees them.

use async_trait::async_trait;
use edge_jobs::{Event, JobError, JobId, Task};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Runs tasks on this machine: the media and compute workers behind one door.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Starts a task. Its last event is one for which `Event::is_last` holds. Dropping what is returned stops the task
    /// within a second.
    ///
    /// # Errors
    /// There is no worker for it now.
    async fn start(&self, job: JobId, task: Task) -> Result<RunningTask, JobError>;
}

/// A task that runs. Dropping it stops it.
#[derive(Debug)]
pub struct RunningTask {
    events: mpsc::Receiver<Event>,
    _stop: DropGuard,
}

impl RunningTask {
    /// A task whose events come over `events`, and which stops when `stop` is cancelled.
    pub fn new(events: mpsc::Receiver<Event>, stop: CancellationToken) -> Self {
        Self { events, _stop: stop.drop_guard() }
    }

    /// The next event; `None` when the task is over, or its worker died before the last event.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for the last event.
    pub async fn last(mut self) -> Option<Event> {
        while let Some(event) = self.next().await {
            if event.is_last() {
                return Some(event);
            }
        }
        None
    }
}
