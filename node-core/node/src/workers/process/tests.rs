//! Against small programs in Python, so that the protocol is spoken by another program than ours.

use std::path::PathBuf;

use edge_jobs::EmbeddingsOrder;

use super::*;

/// Does what its jobs' texts say.
const PROGRAM: &str = r#"
import json, os, struct, sys, time
deaf = "deaf" in sys.argv
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
        if text == "close": os.close(1); time.sleep(60)
        if text == "chatter":
            for _ in range(5000): send({"event": "progress", "job": job, "permille": 1})
        send({"event": "embedded", "job": job, "vectors": [[float(os.nice(0))]], "prompt_tokens": 1})
    elif command["command"] == "cancel" and not deaf:
        send({"event": "failed", "job": command["job"], "error": {"code": "cancelled", "message": "cancelled"}})
"#;

/// Says that it is ready, and then neither reads nor ends.
const HUNG: &str = r#"
import json, struct, sys, time
body = json.dumps({"event": "ready", "capabilities": {"version": "1", "encoders": [], "models": [], "device": None, "gpu": False}}).encode()
sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
sys.stdout.buffer.flush()
while True: time.sleep(60)
"#;

fn worker_of(program: &str, arguments: &[&str]) -> Worker {
    let arguments =
        ["python3", "-c", program].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
    let program = WorkerProgram {
        name: "test",
        path: PathBuf::from("/usr/bin/env"),
        arguments,
        niceness: 7,
        processors: None,
    };
    Worker::start(program, true)
}

fn worker() -> Worker {
    worker_of(PROGRAM, &[])
}

async fn ready(worker: &Worker) {
    worker.ready(Duration::from_secs(20)).await.unwrap();
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
        processors: None,
    };
    let worker = Worker::start(program, true);
    let mut state = worker.state();
    let state = state.wait_for(|state| matches!(state, WorkerState::Restarting { .. })).await.unwrap();
    let WorkerState::Restarting { why } = &*state else { panic!("{state:?}") };
    assert!(why.contains("/nonexistent/worker"), "{why}");
}

#[tokio::test]
async fn a_worker_that_is_not_wanted_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("started");
    let arguments = vec!["-c".into(), format!("touch {}; sleep 60", mark.display())];
    let program =
        WorkerProgram { name: "test", path: "/bin/sh".into(), arguments, niceness: 0, processors: None };
    let worker = Worker::start(program, false);
    assert_eq!(worker.ready(Duration::from_millis(300)).await, Err(WorkerError::NotRunning));
    assert_eq!(*worker.state().borrow(), WorkerState::Stopped);
    assert!(!mark.exists());
    worker.resume();
    let mut state = worker.state();
    state.wait_for(|state| *state == WorkerState::Starting).await.unwrap();
}

/// More than a pipe holds, so that writing it waits for a reader.
fn large_task() -> Task {
    task(&"x".repeat(1 << 20))
}

#[tokio::test]
async fn a_stop_kills_a_worker_that_does_not_read_its_commands() {
    let worker = worker_of(HUNG, &[]);
    ready(&worker).await;
    let mut running = worker.run(JobId::random(), large_task()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = Instant::now();
    worker.stop();
    let Event::Failed { error, .. } = last_event(&mut running).await else { panic!("no failure") };
    assert_eq!((error.code, running.process_ended()), (JobErrorCode::Cancelled, true));
    worker.state().wait_for(|state| *state == WorkerState::Stopped).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_worker_that_does_not_read_its_commands_is_killed_and_started_again() {
    let worker = worker_of(HUNG, &[]);
    ready(&worker).await;
    let mut running = worker.run(JobId::random(), large_task()).await.unwrap();
    let asked = Instant::now();
    let Event::Failed { error, .. } = last_event(&mut running).await else { panic!("no failure") };
    assert!(error.message.contains("does not read"), "{error}");
    assert!(asked.elapsed() < PROMPTLY * 2, "took {:?}", asked.elapsed());
    ready(&worker).await;
}

#[tokio::test]
async fn a_stop_kills_a_worker_that_closed_its_output() {
    let worker = worker();
    ready(&worker).await;
    let mut running = worker.run(JobId::random(), task("close")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = Instant::now();
    worker.stop();
    assert!(matches!(last_event(&mut running).await, Event::Failed { .. }));
    worker.state().wait_for(|state| *state == WorkerState::Stopped).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_worker_that_ignores_a_cancelled_job_is_killed_and_started_again() {
    let worker = worker_of(PROGRAM, &["deaf"]);
    ready(&worker).await;
    let mut other = worker.run(JobId::random(), task("wait")).await.unwrap();
    let asked = Instant::now();
    drop(worker.run(JobId::random(), task("wait")).await.unwrap());
    let Event::Failed { error, .. } = last_event(&mut other).await else { panic!("no failure") };
    assert!(error.message.contains("cancelled"), "{error}");
    let took = asked.elapsed();
    assert!((PROMPTLY..PROMPTLY * 2).contains(&took), "took {took:?}");
    ready(&worker).await;
    let mut running = worker.run(JobId::random(), task("again")).await.unwrap();
    assert!(matches!(last_event(&mut running).await, Event::Embedded { .. }));
}

#[tokio::test]
async fn a_cancelled_job_that_ends_in_time_leaves_its_worker_alone() {
    let worker = worker();
    ready(&worker).await;
    let mut other = worker.run(JobId::random(), task("wait")).await.unwrap();
    drop(worker.run(JobId::random(), task("wait")).await.unwrap());
    let later = tokio::time::timeout(PROMPTLY + Duration::from_secs(1), other.next()).await;
    assert!(later.is_err(), "the other job goes on, but said {later:?}");
}

#[tokio::test]
async fn a_reader_that_is_slow_misses_news_of_progress_and_not_the_result() {
    let worker = worker();
    ready(&worker).await;
    let mut running = worker.run(JobId::random(), task("chatter")).await.unwrap();
    // All of it is said, and nothing read.
    let mut after = worker.run(JobId::random(), task("hello")).await.unwrap();
    assert!(matches!(last_event(&mut after).await, Event::Embedded { .. }));
    let mut progress = 0;
    let last = loop {
        match running.next().await {
            Some(Event::Progress { .. }) => progress += 1,
            last => break last,
        }
    };
    assert!(matches!(last, Some(Event::Embedded { .. })), "{last:?}");
    assert!((100..=EVENTS_PER_JOB).contains(&progress), "{progress}");
}
