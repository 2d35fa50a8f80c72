use std::io::{PipeReader, PipeWriter, pipe};

use edge_jobs::ChatFinish;

use super::*;
use crate::{burn_runtime::BurnRuntime, loaded::MemoryLimits, tiny_llama};

/// A worker in a thread of its own, and the node's ends of its pipes.
struct Running {
    commands: PipeWriter,
    events: PipeReader,
    thread: thread::JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    fn start(limits: JobLimits) -> Self {
        let (input, commands) = pipe().unwrap();
        let (events, output) = pipe().unwrap();
        let thread = thread::spawn(move || {
            let (_folder, store, registry) = tiny_llama::installed(&["tiny"]);
            let memory = MemoryLimits { bytes: u64::MAX, idle: Duration::from_secs(60) };
            let models = LoadedModels::new(registry, store, Box::new(BurnRuntime::processor()), memory);
            Worker::new(models, limits, output).run(input)
        });
        let mut running = Self { commands, events, thread };
        match running.next() {
            Event::Ready { capabilities } => {
                assert_eq!((capabilities.models, capabilities.gpu), (vec!["tiny".to_owned()], false));
            }
            other => panic!("{other:?} came before Ready"),
        }
        running
    }

    fn send(&mut self, command: &Command) {
        write_frame(&mut self.commands, command).unwrap();
    }

    fn chat(&mut self, number: u8, max_tokens: u32) -> JobId {
        let job = JobId([number; 16]);
        let task = Task::Chat(tiny_llama::order("tiny", "Hello", max_tokens));
        self.send(&Command::Start { job, task });
        job
    }

    fn next(&mut self) -> Event {
        read_frame(&mut self.events).unwrap().unwrap()
    }

    /// Every event up to the last one of that job.
    fn until_done(&mut self, job: JobId) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            events.push(self.next());
            let last = &events[events.len() - 1];
            if last.job() == Some(job) && last.is_last() {
                return events;
            }
        }
    }

    fn end(mut self) -> Result<(), WorkerError> {
        self.send(&Command::Shutdown);
        self.thread.join().unwrap()
    }
}

/// While nobody reads its events the worker soon waits to write one, and its commands are read meanwhile, however busy
/// the machine is.
fn fill_the_pipe() {
    std::thread::sleep(std::time::Duration::from_millis(300));
}

fn code(event: &Event) -> Option<JobErrorCode> {
    match event {
        Event::Failed { error, .. } => Some(error.code),
        _ => None,
    }
}

#[test]
fn a_chat_streams_its_tokens_and_counts_them() {
    let mut worker = Running::start(JobLimits::default());
    let job = worker.chat(1, 30);
    let events = worker.until_done(job);
    let told: u32 =
        events.iter().map(|event| if let Event::Tokens { count, .. } = event { *count } else { 0 }).sum();
    let Some(Event::Chatted { finish, completion_tokens, prompt_tokens, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!((*finish, *completion_tokens, told), (ChatFinish::Length, 30, 30));
    assert!(*prompt_tokens > 0 && events.len() == 31);
    worker.end().unwrap();
}

#[test]
fn a_cancelled_chat_ends_at_once() {
    let mut worker = Running::start(JobLimits::default());
    // It would go on for thousands of tokens.
    let job = worker.chat(1, u32::MAX);
    worker.next();
    worker.send(&Command::Cancel { job });
    fill_the_pipe();
    let events = worker.until_done(job);
    assert_eq!(code(&events[events.len() - 1]), Some(JobErrorCode::Cancelled));
    // The next job finds a free worker.
    let next = worker.chat(2, 3);
    let events = worker.until_done(next);
    assert!(events.iter().all(|event| event.job() == Some(next)));
    worker.end().unwrap();
}

#[test]
fn chats_take_turns() {
    let mut worker = Running::start(JobLimits::default());
    let long = worker.chat(1, 400);
    let short = worker.chat(2, 5);
    let events = worker.until_done(short);
    assert!(events.iter().all(|event| event.job() != Some(long) || !event.is_last()));
    worker.until_done(long);
    worker.end().unwrap();
}

#[test]
fn more_jobs_than_may_wait_are_refused_as_busy() {
    let mut worker = Running::start(JobLimits { running: 1, waiting: 1 });
    let first = worker.chat(1, u32::MAX);
    worker.next();
    let waiting = worker.chat(2, 1);
    let refused = worker.chat(3, 1);
    let events = worker.until_done(refused);
    assert_eq!(code(&events[events.len() - 1]), Some(JobErrorCode::Busy));
    worker.send(&Command::Cancel { job: first });
    worker.until_done(first);
    assert!(matches!(worker.until_done(waiting).last(), Some(Event::Chatted { .. })));
    worker.end().unwrap();
}

#[test]
fn an_unknown_model_and_a_media_task_are_unsupported() {
    let mut worker = Running::start(JobLimits::default());
    let tasks =
        [Task::Chat(tiny_llama::order("gpt-4", "Hello", 1)), Task::Inspect { file: "video.mp4".into() }];
    for (number, task) in (1..).zip(tasks) {
        let job = JobId([number; 16]);
        worker.send(&Command::Start { job, task });
        assert_eq!(code(&worker.next()), Some(JobErrorCode::Unsupported));
    }
    worker.end().unwrap();
}

#[test]
fn shutdown_and_the_end_of_input_cancel_what_runs() {
    for shutdown in [true, false] {
        let mut worker = Running::start(JobLimits::default());
        let job = worker.chat(1, u32::MAX);
        worker.next();
        if shutdown {
            worker.send(&Command::Shutdown);
        }
        let Running { commands, events, thread } = worker;
        drop(commands);
        fill_the_pipe();
        let mut events = std::iter::from_fn(|| read_frame::<Event>(&mut &events).unwrap());
        let last = events.by_ref().last().unwrap();
        assert_eq!((last.job(), code(&last)), (Some(job), Some(JobErrorCode::Cancelled)));
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn bytes_that_are_no_command_end_the_worker_with_an_error() {
    let mut worker = Running::start(JobLimits::default());
    worker.commands.write_all(&[0, 0, 0, 2, b'{', b'}']).unwrap();
    assert!(matches!(worker.thread.join().unwrap(), Err(WorkerError::Connection(_))));
}
