//! What the market asks of this machine: a place, a worker, the segments.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

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
    workers::{Crew, Worker, WorkerError, WorkerState},
};

/// Events of a task that may wait for their reader.
const EVENTS: usize = 64;
/// How long a worker may take to come up for a task of this node's own, when nobody wants it down.
const WORKER_PATIENCE: Duration = Duration::from_secs(600);
/// A task of this node's own in the course of which its worker died so often is given up: it may be the cause.
const MOST_DEATHS: u32 = 3;

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

/// The workers for this node's own needs. Its videos are not in a hurry, and some are paid already: their tasks wait while
/// the machine rests, and are done again when a pause or a crash took their worker away. For texts somebody waits, so that
/// their tasks fail at once like those of others.
#[derive(Debug)]
pub(crate) struct OwnDoor(CrewDoor);

impl OwnDoor {
    /// Runs a task to its last event.
    pub async fn run(&self, task: Task) -> Result<Event, JobError> {
        let running = self.start(JobId::random(), task).await?;
        match running.last().await {
            Some(Event::Failed { error, .. }) => Err(error),
            Some(event) => Ok(event),
            None => Err(JobError::new(JobErrorCode::Internal, "the worker died in the middle of the job")),
        }
    }

    /// Waits until the media worker takes tasks, for at most `patience`; says in words why it does not by then.
    pub async fn media_ready(&self, patience: Duration) -> Result<(), String> {
        // One that is not installed says so when it is given a task.
        let Some(worker) = &self.0.0.media else { return Ok(()) };
        match (worker.ready(patience).await, &*worker.state().borrow()) {
            (Ok(()), _) => Ok(()),
            (Err(_), WorkerState::Stopped) => {
                Err("the media worker is stopped while this node pauses".into())
            }
            (Err(_), WorkerState::Restarting { why }) => Err(format!("the media worker died: {why}")),
            (Err(error), _) => Err(format!("the media worker is not up yet: {error}")),
        }
    }
}

#[async_trait]
impl MarketWorker for OwnDoor {
    async fn start(&self, job: JobId, task: Task) -> Result<RunningTask, JobError> {
        if !matches!(task, Task::Inspect { .. } | Task::Check(_)) {
            return self.0.start(job, task).await;
        }
        let worker = self.0.worker_for(&task)?.clone();
        let (events, receiver) = mpsc::channel(EVENTS);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let _ = stopped
                .run_until_cancelled(async {
                    if let Err(error) = see_through(&worker, job, task, &events).await {
                        let _ = events.send(Event::Failed { job, error }).await;
                    }
                })
                .await;
        });
        Ok(RunningTask::new(receiver, stop))
    }
}

/// Does a task, again if need be, until its last event is told. Fails when its worker does not come up, or dies of it.
async fn see_through(
    worker: &Worker,
    job: JobId,
    task: Task,
    events: &mpsc::Sender<Event>,
) -> Result<(), JobError> {
    let mut deaths = 0;
    loop {
        wait_for(worker).await.map_err(|error| JobError::new(JobErrorCode::Busy, error.to_string()))?;
        // One that went down in between is waited for again.
        let Ok(mut running) = worker.run(job, task.clone()).await else { continue };
        loop {
            match running.next().await {
                Some(Event::Failed { error, .. }) if running.process_ended() => {
                    // A worker that this node stopped did not die of the task.
                    deaths += u32::from(error.code == JobErrorCode::Internal);
                    if deaths >= MOST_DEATHS {
                        return Err(error);
                    }
                    break;
                }
                Some(event) => {
                    if events.send(event).await.is_err() {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }
}

/// Waits until a worker takes tasks: as long as it is kept down, and then for a while.
async fn wait_for(worker: &Worker) -> Result<(), WorkerError> {
    let mut state = worker.state();
    loop {
        let wanted = state.wait_for(|state| *state != WorkerState::Stopped).await.map(drop);
        wanted.map_err(|_| WorkerError::Ended)?;
        match worker.ready(WORKER_PATIENCE).await {
            Err(WorkerError::NotRunning) if *state.borrow() == WorkerState::Stopped => {}
            waited => return waited,
        }
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

/// The door for work that others order.
pub(crate) fn crew_door(crew: &Crew) -> Arc<CrewDoor> {
    Arc::new(CrewDoor(crew.clone()))
}

/// The door for what this node needs itself.
pub(crate) fn own_door(crew: &Crew) -> Arc<OwnDoor> {
    Arc::new(OwnDoor(CrewDoor(crew.clone())))
}

/// A folder of its own inside the work folder.
pub(crate) fn work_folder(work: &std::path::Path, name: &str) -> PathBuf {
    work.join(name)
}
