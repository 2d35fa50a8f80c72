//! One worker process and the task that owns it.

use std::{
    collections::HashMap,
    process::Stdio,
    time::{Duration, Instant},
};

use edge_jobs::{
    Command, Event, JobError, JobErrorCode, JobId, Task, WorkerCapabilities, read_frame_async,
    write_frame_async,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin},
    sync::{mpsc, watch},
};
use tracing::{debug, info, warn};

use super::{BackOff, WorkerProgram};

/// Events of one job that may wait for their reader. A reader that falls further behind loses the job, not the worker.
const EVENTS_PER_JOB: usize = 1_024;
/// Requests to the owner task that may wait.
const REQUESTS: usize = 64;
/// Frames from the worker that may wait.
const FRAMES: usize = 64;
/// Longest line of a worker's log that is kept.
const LOG_LINE: usize = 2_000;

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
    events: mpsc::Receiver<Event>,
    requests: mpsc::Sender<Request>,
    ended: bool,
}

impl Running {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await.unwrap_or_else(|| Event::Failed {
            job: self.job,
            error: JobError::new(JobErrorCode::Internal, "the worker ended before the job did"),
        });
        self.ended = event.is_last();
        Some(event)
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
    Start { job: JobId, task: Task, events: mpsc::Sender<Event> },
    Cancel(JobId),
}

impl Worker {
    /// Starts the owner task; the process follows at once. It ends when the last clone is gone.
    pub fn start(program: WorkerProgram) -> Self {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (state_sender, state) = watch::channel(WorkerState::Starting);
        let wanted = watch::Sender::new(true);
        let owner =
            Owner { program, inbox, wanted: wanted.subscribe(), state: state_sender, jobs: HashMap::new() };
        tokio::spawn(owner.run());
        Self { requests, wanted, state }
    }

    /// What the worker is doing, and its changes.
    pub fn state(&self) -> watch::Receiver<WorkerState> {
        self.state.clone()
    }

    /// Starts a job.
    pub async fn run(&self, job: JobId, task: Task) -> Result<Running, WorkerError> {
        if !matches!(*self.state.borrow(), WorkerState::Ready(_)) {
            return Err(WorkerError::NotRunning);
        }
        let (events, receiver) = mpsc::channel(EVENTS_PER_JOB);
        self.requests.send(Request::Start { job, task, events }).await.map_err(|_| WorkerError::Ended)?;
        Ok(Running { job, events: receiver, requests: self.requests.clone(), ended: false })
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

struct Owner {
    program: WorkerProgram,
    inbox: mpsc::Receiver<Request>,
    wanted: watch::Receiver<bool>,
    state: watch::Sender<WorkerState>,
    jobs: HashMap<JobId, mpsc::Sender<Event>>,
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
            let end = self.live().await;
            self.fail_all(match &end {
                End::Died(why) => JobError::new(
                    JobErrorCode::Internal,
                    format!("the {} worker died: {why}", self.program.name),
                ),
                _ => JobError::new(JobErrorCode::Cancelled, "the node stopped its worker"),
            });
            match end {
                End::Abandoned => return,
                End::Unwanted => {}
                End::Died(why) => {
                    let pause = back_off.after(born.elapsed());
                    warn!(worker = self.program.name, %why, pause_s = pause.as_secs(), "worker died; it is started again");
                    self.state.send_replace(WorkerState::Restarting { why });
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
        let (mut child, mut input, mut frames) = match self.spawn() {
            Ok(parts) => parts,
            Err(error) => {
                return End::Died(format!("{} cannot be started: {error}", self.program.path.display()));
            }
        };
        let end = loop {
            tokio::select! {
                biased;
                changed = self.wanted.changed() => match changed {
                    Err(_) => break End::Abandoned,
                    Ok(()) if !*self.wanted.borrow() => break End::Unwanted,
                    Ok(()) => {}
                },
                frame = frames.recv() => match frame {
                    Some(Ok(event)) => if let Some(cancel) = self.deliver(event)
                        && let Err(error) = write_frame_async(&mut input, &cancel).await {
                            break End::Died(error.to_string());
                        },
                    Some(Err(why)) => break End::Died(why),
                    None => break End::Died(match child.wait().await {
                        Ok(status) => status.to_string(),
                        Err(error) => error.to_string(),
                    }),
                },
                request = self.inbox.recv() => {
                    let command = match request {
                        None => break End::Abandoned,
                        Some(Request::Cancel(job)) if self.jobs.remove(&job).is_none() => continue,
                        Some(Request::Cancel(job)) => Command::Cancel { job },
                        Some(Request::Start { job, task, events }) => {
                            self.jobs.insert(job, events);
                            Command::Start { job, task }
                        }
                    };
                    if let Err(error) = write_frame_async(&mut input, &command).await {
                        break End::Died(error.to_string());
                    }
                }
            }
        };
        // Killing is right even in good order: a driver that hangs would not listen.
        let _ = child.start_kill();
        let _ = child.wait().await;
        end
    }

    fn spawn(&self) -> std::io::Result<(Child, ChildStdin, mpsc::Receiver<Result<Event, String>>)> {
        let mut child = tokio::process::Command::new(&self.program.path)
            .args(&self.program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("the worker has no standard streams");
        let input = child.stdin.take().ok_or_else(missing)?;
        let mut output = child.stdout.take().ok_or_else(missing)?;
        let log = child.stderr.take().ok_or_else(missing)?;
        yield_to_others(&child, self.program.niceness);
        info!(worker = self.program.name, pid = child.id(), "worker started");
        let name = self.program.name;
        tokio::spawn(async move {
            let mut lines = BufReader::new(log).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                debug!(worker = name, "{}", line.chars().take(LOG_LINE).collect::<String>());
            }
        });
        // Reading a frame is not safe to cancel, so a task of its own does it.
        let (sender, frames) = mpsc::channel(FRAMES);
        tokio::spawn(async move {
            loop {
                let frame = match read_frame_async::<Event>(&mut output).await {
                    Ok(Some(event)) => Ok(event),
                    Ok(None) => return,
                    Err(error) => Err(error.to_string()),
                };
                let broken = frame.is_err();
                if sender.send(frame).await.is_err() || broken {
                    return;
                }
            }
        });
        Ok((child, input, frames))
    }

    /// Hands an event to its job. A job whose reader is gone or stuck is cancelled: the command to send is returned.
    fn deliver(&mut self, event: Event) -> Option<Command> {
        if let Event::Ready { capabilities } = event {
            info!(worker = self.program.name, ?capabilities, "worker ready");
            self.state.send_replace(WorkerState::Ready(capabilities));
            return None;
        }
        let job = event.job()?;
        let last = event.is_last();
        let events = self.jobs.get(&job)?;
        let delivered = events.try_send(event).is_ok();
        if last || !delivered {
            self.jobs.remove(&job);
        }
        (!delivered && !last).then_some(Command::Cancel { job })
    }

    fn fail_all(&mut self, error: JobError) {
        for (job, events) in self.jobs.drain() {
            let _ = events.try_send(Event::Failed { job, error: error.clone() });
        }
        // What was asked while the process went down fails alike.
        while let Ok(request) = self.inbox.try_recv() {
            fail(request, error.clone());
        }
    }
}

fn refuse(request: Request) {
    fail(request, JobError::new(JobErrorCode::Busy, "the worker does not run"));
}

fn fail(request: Request, error: JobError) {
    if let Request::Start { job, events, .. } = request {
        let _ = events.try_send(Event::Failed { job, error });
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
mod tests {
    use std::path::PathBuf;

    use edge_jobs::EmbeddingsOrder;

    use super::*;

    /// A worker in a few lines of Python, so that the protocol is spoken by another program than ours.
    const PROGRAM: &str = r#"
import json, os, struct, sys, time
def send(event):
    body = json.dumps(event).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
    sys.stdout.buffer.flush()
send({"event": "ready", "capabilities": {"version": "1", "encoders": [], "models": ["m"], "device": None, "gpu": False}})
while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4: break
    command = json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
    if command["command"] == "start":
        job, text = command["job"], command["task"]["inputs"][0]
        if text == "die": os._exit(3)
        if text == "garbage": sys.stdout.buffer.write(b"\xff\xff\xff\xff"); sys.stdout.buffer.flush(); time.sleep(60)
        if text == "wait": continue
        send({"event": "embedded", "job": job, "vectors": [[float(os.nice(0))]], "prompt_tokens": 1})
    elif command["command"] == "cancel":
        send({"event": "failed", "job": command["job"], "error": {"code": "cancelled", "message": "cancelled"}})
"#;

    fn worker() -> Worker {
        Worker::start(WorkerProgram {
            name: "test",
            path: PathBuf::from("/usr/bin/env"),
            arguments: vec!["python3".into(), "-c".into(), PROGRAM.into()],
            niceness: 7,
        })
    }

    async fn ready(worker: &Worker) {
        let mut state = worker.state();
        let ready = state.wait_for(|state| matches!(state, WorkerState::Ready(_)));
        tokio::time::timeout(Duration::from_secs(20), ready).await.unwrap().unwrap();
    }

    fn task(text: &str) -> Task {
        Task::Embeddings(EmbeddingsOrder { model: "m".into(), inputs: vec![text.into()] })
    }

    async fn last_event(running: &mut Running) -> Event {
        let mut last = None;
        while let Some(event) = running.next().await {
            last = Some(event);
        }
        last.unwrap()
    }

    #[tokio::test]
    async fn a_job_runs_at_low_priority_and_ends_with_its_result() {
        let worker = worker();
        ready(&worker).await;
        let mut running = worker.run(JobId::random(), task("hello")).await.unwrap();
        let Event::Embedded { vectors, .. } = last_event(&mut running).await else { panic!("no result") };
        assert_eq!(vectors, [[7.0]], "the nice value that the worker sees");
    }

    #[tokio::test]
    async fn a_worker_that_dies_fails_its_jobs_and_comes_back() {
        let worker = worker();
        for deadly in ["die", "garbage"] {
            ready(&worker).await;
            let mut waiting = worker.run(JobId::random(), task("wait")).await.unwrap();
            let _deadly = worker.run(JobId::random(), task(deadly)).await.unwrap();
            let Event::Failed { error, .. } = last_event(&mut waiting).await else { panic!("no failure") };
            assert_eq!(error.code, JobErrorCode::Internal, "{deadly}");
            let mut state = worker.state();
            state.wait_for(|state| !matches!(state, WorkerState::Ready(_))).await.unwrap();
        }
        ready(&worker).await;
        let mut running = worker.run(JobId::random(), task("again")).await.unwrap();
        assert!(matches!(last_event(&mut running).await, Event::Embedded { .. }));
    }

    #[tokio::test]
    async fn a_stop_kills_within_a_second_and_jobs_are_refused_until_resumed() {
        let worker = worker();
        ready(&worker).await;
        let mut running = worker.run(JobId::random(), task("wait")).await.unwrap();
        let asked = Instant::now();
        worker.stop();
        let Event::Failed { error, .. } = last_event(&mut running).await else { panic!("no failure") };
        assert_eq!(error.code, JobErrorCode::Cancelled);
        let mut state = worker.state();
        state.wait_for(|state| *state == WorkerState::Stopped).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
        assert_eq!(worker.run(JobId::random(), task("no")).await.unwrap_err(), WorkerError::NotRunning);
        worker.resume();
        ready(&worker).await;
    }

    #[tokio::test]
    async fn a_dropped_job_is_cancelled_and_others_go_on() {
        let worker = worker();
        ready(&worker).await;
        drop(worker.run(JobId::random(), task("wait")).await.unwrap());
        let mut running = worker.run(JobId::random(), task("hello")).await.unwrap();
        assert!(matches!(last_event(&mut running).await, Event::Embedded { .. }));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said_so() {
        let program = WorkerProgram {
            name: "test",
            path: "/nonexistent/worker".into(),
            arguments: vec![],
            niceness: 0,
        };
        let worker = Worker::start(program);
        let mut state = worker.state();
        let state = state.wait_for(|state| matches!(state, WorkerState::Restarting { .. })).await.unwrap();
        let WorkerState::Restarting { why } = &*state else { panic!("{state:?}") };
        assert!(why.contains("/nonexistent/worker"), "{why}");
    }
}
