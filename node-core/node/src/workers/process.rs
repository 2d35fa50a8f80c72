//! One worker process and the task that owns it.
//!
//! The owner never waits for the process: commands are written by a task of their own and events are read by another, so
//! that a program that hangs, or whose driver does, is killed all the same when the node says so.

mod streams;

use std::{
    collections::HashMap,
    process::Stdio,
    time::{Duration, Instant},
};

use edge_jobs::{Command, Event, JobError, JobErrorCode, JobId, Task, WorkerCapabilities, encode_frame};
use tokio::{
    process::Child,
    sync::{mpsc, watch},
};
use tracing::{debug, info, warn};

use super::{BackOff, WorkerProgram, processors::on_at_most};
use streams::{CommandWriter, keep_log, read_events};

/// Events of one job that may wait for their reader. A reader that falls further behind loses the job, not the worker.
const EVENTS_PER_JOB: usize = 1_024;
/// With fewer free places than this, news of progress are left out: the next one says the same and more.
const EVENTS_KEPT_FREE: usize = EVENTS_PER_JOB / 2;
/// Requests to the owner task that may wait.
const REQUESTS: usize = 64;
/// How long a process may take to do what takes it no time: to read a command, to end a cancelled job, to be dead when it
/// was killed. One that takes longer hangs.
const PROMPTLY: Duration = Duration::from_secs(5);
/// How long the exit status of a process that closed its output is waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A worker: cheap to clone, all clones are one process.
#[derive(Clone, Debug)]
pub struct Worker {
    requests: mpsc::Sender<Request>,
    wanted: watch::Sender<bool>,
    state: watch::Receiver<WorkerState>,
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It was started and has not said what it can do.
    Starting,
    /// It takes jobs.
    Ready(WorkerCapabilities),
    /// The node stopped it.
    Stopped,
    /// It died, and is started again after a pause.
    Restarting {
        /// What happened.
        why: String,
    },
}

/// Why a worker does not take a job.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum WorkerError {
    /// It is stopped, starting or dead; the state says which.
    #[error("the worker does not run")]
    NotRunning,
    /// The node is ending.
    #[error("the node is stopping")]
    Ended,
}

/// A job in a worker. Dropping it cancels the job.
#[derive(Debug)]
pub struct Running {
    job: JobId,
    told: mpsc::Receiver<Told>,
    requests: mpsc::Sender<Request>,
    ended: bool,
    process_ended: bool,
}

/// What the owner tells whoever waits for a job.
#[derive(Debug)]
enum Told {
    /// An event of the worker.
    Event(Event),
    /// The job's process is gone, and the job with it.
    ProcessEnded(JobError),
}

impl Running {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = match self.told.recv().await {
            Some(Told::Event(event)) => event,
            gone => {
                self.process_ended = true;
                let error = match gone {
                    Some(Told::ProcessEnded(error)) => error,
                    _ => JobError::new(JobErrorCode::Internal, "the worker ended before the job did"),
                };
                Event::Failed { job: self.job, error }
            }
        };
        self.ended = event.is_last();
        Some(event)
    }

    /// Whether the last event came because the process ended, killed or by itself, and not from the job.
    pub fn process_ended(&self) -> bool {
        self.process_ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // A full queue means that the owner is about to look at its jobs anyway: it cancels those without a reader.
            let _ = self.requests.try_send(Request::Cancel(self.job));
        }
    }
}

enum Request {
    Start { job: JobId, task: Task, reader: mpsc::Sender<Told> },
    Cancel(JobId),
}

impl Worker {
    /// Starts the owner task; the process follows at once if it is `wanted`, else with [`Worker::resume`]. It ends when the
    /// last clone is gone.
    pub fn start(program: WorkerProgram, wanted: bool) -> Self {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let first = if wanted { WorkerState::Starting } else { WorkerState::Stopped };
        let (state_sender, state) = watch::channel(first);
        let wanted = watch::Sender::new(wanted);
        let owner = Owner {
            program,
            inbox,
            wanted: wanted.subscribe(),
            state: state_sender,
            jobs: HashMap::new(),
            cancelled: HashMap::new(),
        };
        tokio::spawn(owner.run());
        Self { requests, wanted, state }
    }

    /// What the worker is doing, and its changes.
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.state.clone()
    }

    /// Waits until it takes jobs, for at most `patience`.
    ///
    /// # Errors
    /// [`WorkerError::NotRunning`] when it does not by then.
    pub async fn ready(&self, patience: Duration) -> Result<(), WorkerError> {
        let mut state = self.state();
        let ready = state.wait_for(|state| matches!(state, WorkerState::Ready(_)));
        match tokio::time::timeout(patience, ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(WorkerError::Ended),
            Err(_) => Err(WorkerError::NotRunning),
        }
    }

    /// Starts a job.
    pub async fn run(&self, job: JobId, task: Task) -> Result<Running, WorkerError> {
        if !matches!(*self.state.borrow(), WorkerState::Ready(_)) {
            return Err(WorkerError::NotRunning);
        }
        let (reader, told) = mpsc::channel(EVENTS_PER_JOB);
        self.requests.send(Request::Start { job, task, reader }).await.map_err(|_| WorkerError::Ended)?;
        let requests = self.requests.clone();
        Ok(Running { job, told, requests, ended: false, process_ended: false })
    }

    /// Kills the process, and with it every job, and keeps it down until [`Worker::resume`].
    pub fn stop(&self) {
        self.wanted.send_replace(false);
    }

    /// Lets the process run again.
    pub fn resume(&self) {
        self.wanted.send_replace(true);
    }
}

/// What a process says; an error is its last word.
type Events = mpsc::Receiver<Result<Event, String>>;

struct Owner {
    program: WorkerProgram,
    inbox: mpsc::Receiver<Request>,
    wanted: watch::Receiver<bool>,
    state: watch::Sender<WorkerState>,
    jobs: HashMap<JobId, mpsc::Sender<Told>>,
    /// Jobs that the worker was told to stop and has not said the last word about, with the time by which it has to.
    cancelled: HashMap<JobId, Instant>,
}

/// Why one life of the process ended.
enum End {
    /// It died, with what is known of the reason.
    Died(String),
    /// The node wants it down.
    Unwanted,
    /// Nobody holds the worker any more.
    Abandoned,
}

impl Owner {
    async fn run(mut self) {
        let mut back_off = BackOff::default();
        loop {
            if !self.wait_until_wanted().await {
                return;
            }
            let born = Instant::now();
            match self.live().await {
                End::Abandoned => return,
                End::Unwanted => {}
                End::Died(why) => {
                    let pause = back_off.after(born.elapsed());
                    warn!(worker = self.program.name, %why, pause_s = pause.as_secs(), "worker died; it is started again");
                    if !self.rest(pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits, refusing jobs; false when nobody holds the worker any more.
    async fn rest(&mut self, pause: Duration) -> bool {
        let sleep = tokio::time::sleep(pause);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                request = self.inbox.recv() => match request {
                    Some(request) => refuse(request),
                    None => return false,
                },
            }
        }
    }

    async fn wait_until_wanted(&mut self) -> bool {
        while !*self.wanted.borrow_and_update() {
            self.state.send_replace(WorkerState::Stopped);
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return false },
                request = self.inbox.recv() => match request {
                    Some(request) => refuse(request),
                    None => return false,
                },
            }
        }
        true
    }

    /// One life of the process, from its start to its end.
    async fn live(&mut self) -> End {
        self.state.send_replace(WorkerState::Starting);
        let (mut child, mut writer, mut events) = match self.spawn() {
            Ok(parts) => parts,
            Err(error) => {
                let end = End::Died(format!("{} cannot be started: {error}", self.program.path.display()));
                self.take_leave(&end);
                return end;
            }
        };
        let end = self.lead(&mut child, &mut writer, &mut events).await;
        // Killing is right even in good order: a driver that hangs would not listen. Who waits for a job is told before the
        // system is waited for, which cannot end a process that is deep in a driver.
        let _ = child.start_kill();
        self.take_leave(&end);
        if tokio::time::timeout(PROMPTLY, child.wait()).await.is_err() {
            warn!(
                worker = self.program.name,
                pid = child.id(),
                "the killed worker does not end; a driver holds it"
            );
        }
        end
    }

    /// Passes commands and events on until the process has to end.
    async fn lead(&mut self, child: &mut Child, writer: &mut CommandWriter, events: &mut Events) -> End {
        loop {
            let overdue = self.cancelled.values().min().map(|by| (*by).into());
            let died = tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Err(_) => return End::Abandoned,
                    Ok(()) if !*self.wanted.borrow() => return End::Unwanted,
                    Ok(()) => continue,
                },
                why = writer.ended() => why,
                event = events.recv() => match event {
                    Some(Ok(event)) => match self.deliver(event) {
                        Some(job) => match self.cancel(job, writer) {
                            Ok(()) => continue,
                            Err(why) => why,
                        },
                        None => continue,
                    },
                    Some(Err(why)) => why,
                    None => tokio::select! {
                        status = tokio::time::timeout(LAST_WORDS, child.wait()) => match status {
                            Ok(Ok(status)) => status.to_string(),
                            Ok(Err(error)) => error.to_string(),
                            Err(_) => "it closed its output".into(),
                        },
                        unwanted = self.wanted.wait_for(|wanted| !wanted) => match unwanted {
                            Ok(_) => return End::Unwanted,
                            Err(_) => return End::Abandoned,
                        },
                    },
                },
                () = sleep_until(overdue) => "it does not end a job that was cancelled".into(),
                request = self.inbox.recv(), if writer.has_room() => match request {
                    None => return End::Abandoned,
                    Some(Request::Cancel(job)) if !self.jobs.contains_key(&job) => continue,
                    Some(Request::Cancel(job)) => match self.cancel(job, writer) {
                        Ok(()) => continue,
                        Err(why) => why,
                    },
                    Some(Request::Start { job, task, reader }) => match self.give(job, task, reader, writer) {
                        Ok(()) => continue,
                        Err(why) => why,
                    },
                },
            };
            return End::Died(died);
        }
    }

    fn spawn(&self) -> std::io::Result<(Child, CommandWriter, Events)> {
        let mut command = tokio::process::Command::new(&self.program.path);
        command
            .args(&self.program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = on_at_most(self.program.processors, || command.spawn())?;
        let missing = || std::io::Error::other("the worker has no standard streams");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let log = child.stderr.take().ok_or_else(missing)?;
        yield_to_others(&child, self.program.niceness);
        info!(worker = self.program.name, pid = child.id(), "worker started");
        keep_log(log, self.program.name);
        Ok((child, CommandWriter::start(input, PROMPTLY), read_events(output)))
    }

    /// Gives a task to the process.
    fn give(
        &mut self,
        job: JobId,
        task: Task,
        reader: mpsc::Sender<Told>,
        writer: &CommandWriter,
    ) -> Result<(), String> {
        match encode_frame(&Command::Start { job, task }) {
            Ok(frame) => {
                self.jobs.insert(job, reader);
                writer.write(frame)
            }
            // The order is too large to be told; that is no fault of the worker.
            Err(error) => {
                let error = JobError::new(JobErrorCode::BadInput, error.to_string());
                let _ = reader.try_send(Told::Event(Event::Failed { job, error }));
                Ok(())
            }
        }
    }

    /// Tells the process to stop a job, and remembers until when it has to have said the last word about it.
    fn cancel(&mut self, job: JobId, writer: &CommandWriter) -> Result<(), String> {
        self.jobs.remove(&job);
        self.cancelled.insert(job, Instant::now() + PROMPTLY);
        writer.write(encode_frame(&Command::Cancel { job }).map_err(|error| error.to_string())?)
    }

    /// Hands an event to its job. A job whose reader is gone or stuck is to be cancelled: it is returned.
    fn deliver(&mut self, event: Event) -> Option<JobId> {
        if let Event::Ready { capabilities } = event {
            info!(worker = self.program.name, ?capabilities, "worker ready");
            self.state.send_replace(WorkerState::Ready(capabilities));
            return None;
        }
        let (job, last) = (event.job()?, event.is_last());
        if last {
            self.cancelled.remove(&job);
        }
        let reader = self.jobs.get(&job)?;
        if matches!(event, Event::Progress { .. })
            && !reader.is_closed()
            && reader.capacity() < EVENTS_KEPT_FREE
        {
            return None;
        }
        let delivered = reader.try_send(Told::Event(event)).is_ok();
        if last {
            self.jobs.remove(&job);
        }
        (!delivered && !last).then_some(job)
    }

    /// Says that the process is gone, also to whoever waits for a job.
    fn take_leave(&mut self, end: &End) {
        let error = match end {
            End::Died(why) => {
                self.state.send_replace(WorkerState::Restarting { why: why.clone() });
                JobError::new(JobErrorCode::Internal, format!("the {} worker died: {why}", self.program.name))
            }
            End::Unwanted | End::Abandoned => {
                self.state.send_replace(WorkerState::Stopped);
                JobError::new(JobErrorCode::Cancelled, "the node stopped its worker")
            }
        };
        self.cancelled.clear();
        for reader in self.jobs.drain().map(|(_, reader)| reader) {
            let _ = reader.try_send(Told::ProcessEnded(error.clone()));
        }
        // What was asked while the process went down fails alike.
        while let Ok(request) = self.inbox.try_recv() {
            fail(request, error.clone());
        }
    }
}

/// Sleeps until a moment; for ever without one.
async fn sleep_until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn refuse(request: Request) {
    fail(request, JobError::new(JobErrorCode::Busy, "the worker does not run"));
}

fn fail(request: Request, error: JobError) {
    if let Request::Start { reader, .. } = request {
        let _ = reader.try_send(Told::ProcessEnded(error));
    }
}

#[cfg(unix)]
fn yield_to_others(child: &Child, niceness: i32) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid
        && let Err(error) = rustix::process::setpriority_process(Some(pid), niceness)
    {
        debug!(%error, "the worker keeps its priority");
    }
}

#[cfg(not(unix))]
fn yield_to_others(_child: &Child, _niceness: i32) {}

#[cfg(test)]
mod tests;
