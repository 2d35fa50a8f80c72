//! The worker: commands come in, jobs take turns step by step, events go out.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use edge_jobs::{
    Command, Event, FrameError, JobError, JobErrorCode, JobId, Task, WorkerCapabilities, read_frame,
    write_frame,
};

use crate::{ComputeError, loaded::LoadedModels, work::Work};

/// How often an idle worker looks for models to unload.
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// Commands that were read and not yet looked at; the node waits when it sends more.
const COMMANDS: usize = 64;

/// How many jobs a worker takes.
#[derive(Clone, Copy, Debug)]
pub struct JobLimits {
    /// Jobs that take turns.
    pub running: usize,
    /// Jobs that wait for a turn; more are refused with `Busy`.
    pub waiting: usize,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self { running: 4, waiting: 16 }
    }
}

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The node does not listen any more, or sends what is no command.
    #[error("the connection with the node broke: {0}")]
    Connection(#[from] FrameError),
    /// The device or its driver failed in a way that leaves it in doubt; a fresh process is needed.
    #[error("the device failed, and the worker must be started again")]
    DeviceInDoubt,
}

/// A worker that writes events to `output`.
#[derive(Debug)]
pub struct Worker<W> {
    models: LoadedModels,
    limits: JobLimits,
    output: W,
    running: VecDeque<Work>,
    waiting: VecDeque<(JobId, Task)>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl<W: Write> Worker<W> {
    /// A worker without jobs.
    pub fn new(models: LoadedModels, limits: JobLimits, output: W) -> Self {
        Self { models, limits, output, running: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// Says what it can do, then works until it is told to end or `input` ends.
    pub fn run(mut self, input: impl Read + Send + 'static) -> Result<(), WorkerError> {
        let capabilities = WorkerCapabilities {
            version: env!("CARGO_PKG_VERSION").into(),
            models: self.models.installed(),
            device: Some(self.models.runtime().device().words.clone()),
            gpu: self.models.runtime().device().gpu,
            ..WorkerCapabilities::default()
        };
        tracing::info!(?capabilities, "ready");
        self.tell(&Event::Ready { capabilities })?;
        let (sender, commands) = sync_channel(COMMANDS);
        thread::spawn(move || read_commands(input, &sender));
        while self.listen(&commands)? == Next::GoOn {
            self.start_waiting()?;
            self.take_turn()?;
        }
        self.cancel_all()
    }

    /// Takes the commands that are there; waits for one when there is nothing else to do.
    fn listen(&mut self, commands: &Receiver<Result<Command, FrameError>>) -> Result<Next, WorkerError> {
        loop {
            let command = if self.running.is_empty() && self.waiting.is_empty() {
                match commands.recv_timeout(IDLE_LOOK) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        self.models.unload_idle(Instant::now());
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
                }
            } else {
                match commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => return Ok(Next::GoOn),
                    Err(TryRecvError::Disconnected) => return Ok(Next::End),
                }
            };
            match command? {
                Command::Start { job, task } => self.admit(job, task)?,
                Command::Cancel { job } => self.cancel(job)?,
                Command::Shutdown => return Ok(Next::End),
            }
        }
    }

    fn admit(&mut self, job: JobId, task: Task) -> Result<(), WorkerError> {
        let known = self.running.iter().map(Work::job).chain(self.waiting.iter().map(|(job, _)| *job));
        if known.into_iter().any(|known| known == job) {
            // An answer would end the first job of that id in the node's eyes.
            tracing::error!(%job, "a job that is already here was started again");
            return Ok(());
        }
        if self.waiting.len() >= self.limits.waiting {
            let error = JobError::new(JobErrorCode::Busy, "too many jobs wait for this worker");
            return self.tell(&Event::Failed { job, error });
        }
        self.waiting.push_back((job, task));
        Ok(())
    }

    fn start_waiting(&mut self) -> Result<(), WorkerError> {
        while self.running.len() < self.limits.running {
            let Some((job, task)) = self.waiting.pop_front() else { return Ok(()) };
            let models = &mut self.models;
            let begun = guarded(|| Work::begin(job, &task, models, Instant::now(), rand::random()));
            match begun {
                Some(Ok(work)) => self.running.push_back(work),
                Some(Err(error)) => self.fail(job, error)?,
                None => return self.give_up(job),
            }
        }
        Ok(())
    }

    /// One step of the job whose turn it is.
    fn take_turn(&mut self) -> Result<(), WorkerError> {
        let Some(mut work) = self.running.pop_front() else { return Ok(()) };
        let job = work.job();
        match guarded(|| work.step()) {
            Some(Ok(events)) => {
                let done = events.last().is_some_and(Event::is_last);
                for event in events {
                    self.tell(&event)?;
                }
                if !done {
                    self.running.push_back(work);
                }
                Ok(())
            }
            Some(Err(error)) => self.fail(job, error),
            None => self.give_up(job),
        }
    }

    fn fail(&mut self, job: JobId, error: ComputeError) -> Result<(), WorkerError> {
        tracing::warn!(%job, %error, "failed");
        let in_doubt = matches!(error, ComputeError::Device(_));
        self.tell(&Event::Failed { job, error: error.into() })?;
        if in_doubt { self.end_in_doubt() } else { Ok(()) }
    }

    /// A driver's failure comes as a panic out of burn. What is on the device cannot be trusted afterwards.
    fn give_up(&mut self, job: JobId) -> Result<(), WorkerError> {
        let error = JobError::new(JobErrorCode::Internal, "the device or its driver failed");
        self.tell(&Event::Failed { job, error })?;
        self.end_in_doubt()
    }

    fn end_in_doubt(&mut self) -> Result<(), WorkerError> {
        let jobs: Vec<JobId> = self.jobs();
        for job in jobs {
            let error = JobError::new(JobErrorCode::Internal, "the device failed in another job");
            self.tell(&Event::Failed { job, error })?;
        }
        Err(WorkerError::DeviceInDoubt)
    }

    fn cancel(&mut self, job: JobId) -> Result<(), WorkerError> {
        let before = self.running.len() + self.waiting.len();
        self.running.retain(|work| work.job() != job);
        self.waiting.retain(|(waiting, _)| *waiting != job);
        if self.running.len() + self.waiting.len() == before {
            // It was done when the command was on its way.
            return Ok(());
        }
        self.tell_cancelled(job)
    }

    fn cancel_all(&mut self) -> Result<(), WorkerError> {
        let jobs = self.jobs();
        self.running.clear();
        self.waiting.clear();
        jobs.into_iter().try_for_each(|job| self.tell_cancelled(job))
    }

    fn jobs(&self) -> Vec<JobId> {
        self.running.iter().map(Work::job).chain(self.waiting.iter().map(|(job, _)| *job)).collect()
    }

    fn tell_cancelled(&mut self, job: JobId) -> Result<(), WorkerError> {
        let error = JobError::new(JobErrorCode::Cancelled, "the node stopped the job");
        self.tell(&Event::Failed { job, error })
    }

    fn tell(&mut self, event: &Event) -> Result<(), WorkerError> {
        match (write_frame(&mut self.output, event), event.job()) {
            (Err(FrameError::TooLarge(_)), Some(job)) => {
                let error = JobError::new(JobErrorCode::BadInput, "the result is too large for one message");
                Ok(write_frame(&mut self.output, &Event::Failed { job, error })?)
            }
            (result, _) => Ok(result?),
        }
    }
}

/// `None` when burn panicked; the panic's text is on standard error.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Ends when the input does, when it breaks, or when the worker is gone.
fn read_commands(mut input: impl Read, commands: &SyncSender<Result<Command, FrameError>>) {
    while let Some(command) = read_frame(&mut input).transpose() {
        let broken = command.is_err();
        if commands.send(command).is_err() || broken {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
