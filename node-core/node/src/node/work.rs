//! What the market asks of this machine: a place, a worker, the segments.

use std::{io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::{ContentHash, Event, JobError, JobErrorCode, JobId, JobKind, Task};
use edge_market::provider::{
    Governor as MarketGovernor, Place, RunningTask, SegmentShelf, Worker as MarketWorker,
};
use edge_streams::SegmentStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    governor::Governor,
    workers::{Crew, Worker},
};

/// Events of a task that may wait for their reader.
const EVENTS: usize = 64;

/// The workers behind one door, as the market knows them: each task goes to the program that can do it.
#[derive(Debug)]
pub struct CrewDoor(pub Crew);

impl CrewDoor {
    fn worker_for(&self, task: &Task) -> Result<&Worker, JobError> {
        let (name, worker) = match task {
            Task::Inspect { .. } | Task::Transcode(_) | Task::Check(_) => ("media", &self.0.media),
            Task::Embeddings(_) | Task::Chat(_) => ("compute", &self.0.compute),
        };
        let missing = || JobError::new(JobErrorCode::Unsupported, format!("this node has no {name} worker"));
        worker.as_ref().ok_or_else(missing)
    }
}

#[async_trait]
impl MarketWorker for CrewDoor {
    async fn start(&self, job: JobId, task: Task) -> Result<RunningTask, JobError> {
        let worker = self.worker_for(&task)?;
        let mut running = worker
            .run(job, task)
            .await
            .map_err(|error| JobError::new(JobErrorCode::Busy, error.to_string()))?;
        let (sender, events) = mpsc::channel(EVENTS);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            // Dropping `running` cancels the job in its worker.
            let _ = stopped
                .run_until_cancelled(async {
                    while let Some(event) = running.next().await {
                        if sender.send(event).await.is_err() {
                            return;
                        }
                    }
                })
                .await;
        });
        Ok(RunningTask::new(events, stop))
    }
}

/// Runs a task of this node's own to its last event.
pub(crate) async fn run_task(door: &CrewDoor, task: Task) -> Result<Event, JobError> {
    let running = door.start(JobId::random(), task).await?;
    match running.last().await {
        Some(Event::Failed { error, .. }) => Err(error),
        Some(event) => Ok(event),
        None => Err(JobError::new(JobErrorCode::Internal, "the worker died in the middle of the job")),
    }
}

/// The governor as the market asks it.
#[derive(Debug)]
pub(crate) struct GovernorDoor(pub Governor);

impl MarketGovernor for GovernorDoor {
    fn admit(&self, kind: JobKind) -> Result<Place, String> {
        let mut place = self.0.admit(kind).map_err(|refusal| refusal.to_string())?;
        let stop = CancellationToken::new();
        let (halted, given_back) = (stop.clone(), CancellationToken::new());
        let guard = given_back.clone().drop_guard();
        // The place is held by this task, which ends when the job gives it back.
        tokio::spawn(async move {
            tokio::select! {
                _ = place.halted() => halted.cancel(),
                () = given_back.cancelled() => return,
            }
            given_back.cancelled().await;
        });
        Ok(Place::new(stop, guard))
    }

    fn places(&self, kind: JobKind) -> (u32, u32) {
        let (free, all) = self.0.places(kind);
        let halted = self.0.halted().borrow().is_some();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if halted { (0, 0) } else { (count(free), count(all)) }
    }
}

/// The segment store as the market asks it.
#[derive(Debug)]
pub(crate) struct Shelf(pub SegmentStore);

#[async_trait]
impl SegmentShelf for Shelf {
    async fn segment(&self, hash: ContentHash) -> io::Result<Option<Bytes>> {
        self.0.get(hash).await.map_err(io::Error::other)
    }
}

/// The doors that provider and requester share.
pub(crate) fn crew_door(crew: &Crew) -> Arc<CrewDoor> {
    Arc::new(CrewDoor(crew.clone()))
}

/// A folder of its own inside the work folder, emptied at the start of the node.
pub(crate) fn work_folder(work: &std::path::Path, name: &str) -> PathBuf {
    work.join(name)
}
