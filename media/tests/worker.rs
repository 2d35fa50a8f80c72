//! The program as its node sees it: commands in, events out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Command as Program, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use edge_jobs::{
    ChatOrder, Command, Event, JobErrorCode, JobId, Sampling, Task, TranscodeTask, VideoEncoder, read_frame,
    write_frame,
};
use support::{H264, bunny, ffmpeg, task, video};
use tempfile::tempdir;

/// A running `thetis-media`; killed when the test ends.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<(Instant, Event)>,
}

impl Worker {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Program::new(env!("CARGO_BIN_EXE_thetis-media"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let (tell, events) = channel();
        thread::spawn(move || {
            while let Ok(Some(event)) = read_frame::<Event>(&mut output) {
                if tell.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        let mut worker = Self { input: child.stdin.take(), child, events };
        assert!(matches!(worker.next(), Event::Ready { .. }), "the first event is Ready");
        worker
    }

    fn send(&mut self, command: &Command) {
        write_frame(self.input.as_mut().unwrap(), command).unwrap();
    }

    fn begin(&mut self, task: Task) -> JobId {
        let job = JobId::random();
        self.send(&Command::Start { job, task });
        job
    }

    fn next(&mut self) -> Event {
        self.events.recv_timeout(Duration::from_secs(60)).expect("an event").1
    }

    /// Events of `job` up to its last, with their times.
    fn events_of(&mut self, job: JobId) -> Vec<(Instant, Event)> {
        let mut events = Vec::new();
        loop {
            let (at, event) = self.events.recv_timeout(Duration::from_secs(60)).expect("an event");
            if event.job() == Some(job) {
                let is_last = event.is_last();
                events.push((at, event));
                if is_last {
                    return events;
                }
            }
        }
    }

    fn failure_of(&mut self, job: JobId) -> JobErrorCode {
        match self.events_of(job).pop() {
            Some((_, Event::Failed { error, .. })) => error.code,
            other => panic!("{other:?}"),
        }
    }

    /// Closes the commands; how long it takes until the program ends.
    fn close(mut self) -> Duration {
        let started = Instant::now();
        self.input = None;
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(10), "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(self.child.wait().unwrap().success());
        started.elapsed()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A video that takes a while.
fn long_video(folder: &Path) -> std::path::PathBuf {
    let short = video(folder, "short.mp4", 4.0, "640x360", "30", H264);
    ffmpeg(folder, "long.mp4", &["-stream_loop", "20", "-i", short.to_str().unwrap(), "-c", "copy"])
}

#[test]
fn it_says_what_it_can_do() {
    let mut child = Program::new(env!("CARGO_BIN_EXE_thetis-media"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let event = read_frame::<Event>(child.stdout.as_mut().unwrap()).unwrap().unwrap();
    let Event::Ready { capabilities } = event else { panic!("{event:?}") };
    assert_eq!(capabilities.encoders, [VideoEncoder::X264, VideoEncoder::Openh264]);
    assert_eq!(capabilities.version, env!("CARGO_PKG_VERSION"));
    assert!(child.wait().unwrap().success(), "it ends with its input");
}

#[test]
fn a_ladder_is_told_as_it_grows() {
    let folder = tempdir().unwrap();
    let mut worker = Worker::start(&[]);
    let task = task(&bunny(), folder.path());
    let order = task.ladder.clone();
    let job = worker.begin(Task::Transcode(task));
    let started = Instant::now();
    let events = worker.events_of(job);

    let mut last = started;
    for (at, _) in &events {
        // Told each 0.7 s; the rest is for a busy machine.
        assert!(
            at.duration_since(last) < Duration::from_millis(1700),
            "{:?} of silence",
            at.duration_since(last)
        );
        last = *at;
    }
    let position = |wanted: fn(&Event) -> bool| events.iter().position(|(_, event)| wanted(event)).unwrap();
    assert!(
        position(|event| matches!(event, Event::Segment { .. })) + 1 < events.len(),
        "segments come before the end"
    );
    let Some((_, Event::Transcoded { source, renditions, .. })) = events.last() else { panic!("{events:?}") };
    assert_eq!((source.width, source.height), (1280, 720));
    let told: usize = events.iter().filter(|(_, event)| matches!(event, Event::Segment { .. })).count();
    assert_eq!(told, renditions.iter().map(|rendition| rendition.segments.len()).sum::<usize>());

    let job = worker.begin(Task::Check(edge_jobs::CheckTask {
        source: bunny(),
        output: folder.path().to_owned(),
        renditions: renditions.clone(),
        ladder: order,
        frames_per_rendition: 2,
        seed: 1,
        unfinished: false,
        from_segment: 0,
        thumbnails: vec![],
        thumbnail_order: None,
    }));
    let Some((_, Event::Checked { renditions, .. })) = worker.events_of(job).pop() else { panic!() };
    assert!(renditions.len() == 2 && renditions.iter().all(|verdict| verdict.passed), "{renditions:?}");

    let job = worker.begin(Task::Inspect { file: bunny() });
    let Some((_, Event::Inspected { media, .. })) = worker.events_of(job).pop() else { panic!() };
    assert_eq!(media.duration_ms, 5280);
    worker.close();
}

#[test]
fn it_runs_a_bounded_number_of_tasks_and_stops_them_when_told() {
    let folder = tempdir().unwrap();
    let source = long_video(folder.path());
    let mut worker = Worker::start(&["--max-tasks", "2"]);
    let begin = |worker: &mut Worker| -> (JobId, TranscodeTask) {
        let output = folder.path().join(JobId::random().to_string());
        std::fs::create_dir(&output).unwrap();
        let task = task(&source, &output);
        (worker.begin(Task::Transcode(task.clone())), task)
    };
    let (first, task) = begin(&mut worker);
    let (second, _) = begin(&mut worker);
    let (third, _) = begin(&mut worker);
    assert_eq!(worker.failure_of(third), JobErrorCode::Busy);

    // The same id again is left out: its answer would look like the first one's.
    worker.send(&Command::Start { job: first, task: Task::Transcode(task) });
    thread::sleep(Duration::from_millis(500));
    for job in [first, second] {
        let asked = Instant::now();
        worker.send(&Command::Cancel { job });
        assert_eq!(worker.failure_of(job), JobErrorCode::Cancelled);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    // Both places are free again.
    let job = worker.begin(Task::Inspect { file: bunny() });
    assert!(matches!(worker.events_of(job).pop(), Some((_, Event::Inspected { .. }))));
    worker.close();
}

#[test]
fn it_ends_with_its_input_even_in_the_middle_of_work() {
    let folder = tempdir().unwrap();
    let source = long_video(folder.path());
    let output = folder.path().join("out");
    std::fs::create_dir(&output).unwrap();
    let mut worker = Worker::start(&[]);
    worker.begin(Task::Transcode(task(&source, &output)));
    thread::sleep(Duration::from_millis(700));
    let took = worker.close();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_shutdown_ends_it_and_a_bad_command_does_not() {
    let mut worker = Worker::start(&[]);
    let garbage = b"{\"command\":\"dance\"}";
    let input = worker.input.as_mut().unwrap();
    input.write_all(&(garbage.len() as u32).to_be_bytes()).unwrap();
    input.write_all(garbage).unwrap();

    let chat = ChatOrder {
        model: "any".into(),
        messages: vec![],
        continues: false,
        max_tokens: None,
        sampling: Sampling::default(),
        stop: vec![],
    };
    let job = worker.begin(Task::Chat(chat));
    assert_eq!(worker.failure_of(job), JobErrorCode::Unsupported);
    let job = worker.begin(Task::Inspect { file: "/nonexistent.mp4".into() });
    assert_eq!(worker.failure_of(job), JobErrorCode::Internal);

    worker.send(&Command::Shutdown);
    assert!(matches!(
        worker.events.recv_timeout(Duration::from_secs(5)),
        Err(RecvTimeoutError::Disconnected)
    ));
    worker.close();
}
