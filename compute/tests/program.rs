//! The program itself, through its pipes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod installed;

use std::{
    io::Write,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio},
};

use edge_jobs::{
    ChatMessage, ChatOrder, Command, EmbeddingsOrder, Event, JobId, Role, Sampling, Task, encode_frame,
    read_frame,
};

struct Worker {
    child: Child,
    commands: Option<ChildStdin>,
    events: ChildStdout,
}

impl Worker {
    fn start(models: &Path) -> Self {
        let mut child = Program::new(env!("CARGO_BIN_EXE_thetis-compute"))
            .args(["--device", "cpu", "--models"])
            .arg(models)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, events) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, commands, events }
    }

    fn send(&mut self, command: &Command) {
        self.commands.as_mut().unwrap().write_all(&encode_frame(command).unwrap()).unwrap();
    }

    fn next(&mut self) -> Option<Event> {
        read_frame(&mut self.events).unwrap()
    }

    fn until_done(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            let last = event.is_last();
            events.push(event);
            if last {
                break;
            }
        }
        events
    }

    fn end(mut self) {
        self.commands = None;
        assert!(self.next().is_none());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_worker_without_models_says_so_and_ends_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::start(folder.path());
    let Some(Event::Ready { capabilities }) = worker.next() else { panic!("no Ready") };
    assert_eq!((capabilities.models.len(), capabilities.gpu), (0, false));
    assert!(capabilities.device.unwrap().contains("processor"));
    worker.end();
}

#[test]
fn both_models_answer_through_the_pipes() {
    let test = "both_models_answer_through_the_pipes";
    let (chat, embeddings) = ("smollm2-135m-instruct", "all-minilm-l6-v2");
    let (Some((store, _)), Some(_)) = (installed::model(test, chat), installed::model(test, embeddings))
    else {
        return;
    };
    let mut worker = Worker::start(store.folder());
    let Some(Event::Ready { capabilities }) = worker.next() else { panic!("no Ready") };
    assert_eq!(capabilities.models, [embeddings, chat]);

    let job = JobId([1; 16]);
    let inputs = vec!["The cat sits on the mat.".to_owned(), "A cat is on a rug.".into(), "Tax law".into()];
    let task = Task::Embeddings(EmbeddingsOrder { model: embeddings.into(), inputs });
    worker.send(&Command::Start { job, task });
    let events = worker.until_done();
    let Some(Event::Embedded { vectors, .. }) = events.last() else { panic!("{events:?}") };
    let likeness = |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f32>();
    assert!(likeness(0, 1) > 0.6 && likeness(0, 2) < 0.3, "{} {}", likeness(0, 1), likeness(0, 2));

    let job = JobId([2; 16]);
    let messages = vec![
        ChatMessage { role: Role::System, content: "You answer in one short sentence.".into() },
        ChatMessage { role: Role::User, content: "Why is the sky blue?".into() },
    ];
    let sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: None };
    let task = Task::Chat(ChatOrder {
        model: chat.into(),
        messages,
        continues: false,
        max_tokens: Some(12),
        sampling,
        stop: vec![],
    });
    worker.send(&Command::Start { job, task });
    let events = worker.until_done();
    let text: String = events
        .iter()
        .map(|event| if let Event::Tokens { text, .. } = event { text.as_str() } else { "" })
        .collect();
    assert_eq!(text, "The sky blue is a result of the Earth's atmosphere scattering");
    worker.end();
}

#[test]
fn a_probe_reports_as_json() {
    let output =
        Program::new(env!("CARGO_BIN_EXE_thetis-compute")).args(["probe", "--api", "flex"]).output().unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["passed"], &report["software"]), (&true.into(), &true.into()));
}
