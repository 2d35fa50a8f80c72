//! The loop of the program `thetis-media`: commands in, events out.
//!
//! One thread owns the table of running tasks; each task has a thread of its own, one thread reads commands, one writes
//! events. A bounded number of tasks runs at once and a further one is refused with
//! [`JobErrorCode::Busy`](edge_jobs::JobErrorCode::Busy): the node queues, as it knows what matters more. The process's
//! priority is its parent's to set.

use std::{
    collections::HashMap,
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use edge_jobs::{
    Command, Event, FrameError, JobError, JobErrorCode, JobId, Task, WorkerCapabilities, encode_frame,
    read_frame,
};

use crate::{Ladder, MediaError, Stop, Update, check, init, inspect, transcode, working_encoders};

/// How the worker is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tasks that run at once.
    pub max_tasks: usize,
    /// How long a ladder may stand still.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tasks: 4, patience: Duration::from_secs(30) }
    }
}

/// Events that wait for a slow reader. A full queue holds the tasks up, not the memory.
const WAITING_EVENTS: usize = 256;
/// How long running tasks get to end when the worker ends.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Progress is told at least as often, changed or not.
const HEARTBEAT: Duration = Duration::from_millis(700);

/// Reads commands from `input` and writes events to `output` until the input ends, a shutdown is asked for, or nobody
/// reads the events. Running tasks are stopped before it returns.
pub fn run(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    settings: Settings,
) -> Result<(), MediaError> {
    init()?;
    let (tell, notices) = channel();
    let (events, waiting) = sync_channel(WAITING_EVENTS);
    let (reader, writer) = (tell.clone(), tell.clone());
    thread::spawn(move || read_commands(input, &reader));
    let written = thread::spawn(move || write_events(output, &waiting, &writer));

    let capabilities = WorkerCapabilities {
        version: env!("CARGO_PKG_VERSION").into(),
        encoders: working_encoders(),
        ..WorkerCapabilities::default()
    };
    let mut worker = Worker { settings, running: HashMap::new(), events, tell };
    worker.send(Event::Ready { capabilities });
    worker.serve(&notices);
    drop(worker);
    // The queue is closed now: what is in it still goes out, to a reader that reads.
    let deadline = Instant::now() + END_LIMIT;
    while !written.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

enum Notice {
    Command(Command),
    InputEnded,
    OutputEnded,
    TaskEnded(JobId),
}

fn read_commands(mut input: impl Read, tell: &Sender<Notice>) {
    loop {
        let notice = match read_frame::<Command>(&mut input) {
            Ok(Some(command)) => Notice::Command(command),
            Ok(None) => Notice::InputEnded,
            Err(FrameError::Malformed(error)) => {
                tracing::warn!(%error, "a command is not understood and left out");
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the commands cannot be read any more");
                Notice::InputEnded
            }
        };
        let is_last = matches!(notice, Notice::InputEnded);
        if tell.send(notice).is_err() || is_last {
            return;
        }
    }
}

fn write_events(mut output: impl Write, waiting: &Receiver<Event>, tell: &Sender<Notice>) {
    for event in waiting {
        let bytes = encode_frame(&event).or_else(|error| {
            tracing::error!(%error, "an event is left out");
            let error = JobError::new(JobErrorCode::Internal, "The result is too large to be told.");
            encode_frame(&event.job().map(|job| Event::Failed { job, error }))
        });
        let Ok(bytes) = bytes else { continue };
        if let Err(error) = output.write_all(&bytes).and_then(|()| output.flush()) {
            tracing::error!(%error, "nobody reads the events");
            let _ = tell.send(Notice::OutputEnded);
            return;
        }
    }
}

struct Worker {
    settings: Settings,
    running: HashMap<JobId, Stop>,
    events: SyncSender<Event>,
    tell: Sender<Notice>,
}

impl Worker {
    fn serve(&mut self, notices: &Receiver<Notice>) {
        for notice in notices {
            match notice {
                Notice::Command(Command::Start { job, task }) => self.start(job, task),
                Notice::Command(Command::Cancel { job }) => {
                    if let Some(stop) = self.running.get(&job) {
                        stop.throw();
                    }
                }
                Notice::TaskEnded(job) => {
                    self.running.remove(&job);
                }
                Notice::Command(Command::Shutdown) | Notice::InputEnded | Notice::OutputEnded => break,
            }
        }
        self.running.values().for_each(Stop::throw);
        let deadline = Instant::now() + END_LIMIT;
        while !self.running.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match notices.recv_timeout(left) {
                Ok(Notice::TaskEnded(job)) => {
                    self.running.remove(&job);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn start(&mut self, job: JobId, task: Task) {
        if self.running.contains_key(&job) {
            // An answer would look like the running task's own.
            tracing::warn!(%job, "the job runs already; its second start is left out");
            return;
        }
        if self.running.len() >= self.settings.max_tasks {
            self.send(Event::Failed { job, error: MediaError::Busy(self.settings.max_tasks).into() });
            return;
        }
        let stop = Stop::new();
        self.running.insert(job, stop.clone());
        let (events, tell, patience) = (self.events.clone(), self.tell.clone(), self.settings.patience);
        thread::spawn(move || {
            let work = AssertUnwindSafe(|| perform(job, task, patience, &stop, &events));
            let last = match catch_unwind(work) {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => Event::Failed { job, error: error.into() },
                Err(_) => {
                    let error =
                        JobError::new(JobErrorCode::Internal, "The media worker made an error. Try again.");
                    Event::Failed { job, error }
                }
            };
            // The place is free before the node hears the end, so that it can send the next task at once.
            let _ = tell.send(Notice::TaskEnded(job));
            let _ = events.send(last);
        });
    }

    fn send(&self, event: Event) {
        // A writer that has gone has told so by a notice.
        let _ = self.events.send(event);
    }
}

fn perform(
    job: JobId,
    task: Task,
    patience: Duration,
    stop: &Stop,
    events: &SyncSender<Event>,
) -> Result<Event, MediaError> {
    let reached = AtomicU16::new(0);
    let tell = &mut |update| {
        let _ = events.send(match update {
            Update::Progress(permille) => {
                reached.store(permille, Ordering::Relaxed);
                Event::Progress { job, permille }
            }
            Update::Segment { rendition, segment } => Event::Segment { job, rendition, segment },
            Update::Thumbnail(thumbnail) => Event::Thumbnail { job, thumbnail },
        });
    };
    let beat = || {
        let _ = events.send(Event::Progress { job, permille: reached.load(Ordering::Relaxed) });
    };
    match task {
        Task::Inspect { file } => {
            let source = with_heartbeat(beat, || inspect(&file, stop))?;
            Ok(Event::Inspected { job, media: source.media })
        }
        Task::Check(task) => {
            let renditions = with_heartbeat(beat, || check(&task, stop))?;
            Ok(Event::Checked { job, renditions })
        }
        Task::Transcode(task) => {
            let ladder = with_heartbeat(beat, || transcode(&task, patience, stop, tell))?;
            let Ladder { source, renditions, thumbnails } = ladder;
            Ok(Event::Transcoded { job, source, renditions, thumbnails })
        }
        Task::Embeddings(_) | Task::Chat(_) => Err(MediaError::NotAMediaTask),
    }
}

/// Calls `beat` again and again while `work` lasts, so that the node sees that its worker lives even where progress cannot
/// be measured.
fn with_heartbeat<T>(beat: impl Fn() + Send, work: impl FnOnce() -> T) -> T {
    let (done, end) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while end.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                beat();
            }
        });
        let result = work();
        drop(done);
        result
    })
}
