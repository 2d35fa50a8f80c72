//! Providers that lie, before a judge that does a part of their work again with the real worker programs.
//!
//! A liar asks less than the honest node, so that it is tried first; both work with the real programs, and the liar's
//! lies look like the truth: vectors of other texts, pictures of another video, three tokens claimed for each.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../market/tests/support/chain.rs"]
#[allow(dead_code, reason = "the market's own tests use more of it")]
mod chain;
#[path = "../../market/tests/support/journal.rs"]
#[allow(dead_code, reason = "the market's own tests use the rest")]
mod journal;
#[path = "liars/market.rs"]
mod market;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chain::{Running, TestChain};
use edge_jobs::{
    ChatFinish, ChatMessage, ChatOrder, ContentHash, EmbeddingsOrder, Event, JobError, JobId, JobKind,
    Ladder, Rendition, Role, Sampling, SegmentInfo, Task, TranscodeOrder, TranscodeTask, WorkerCapabilities,
};
use edge_market::{
    provider::{RunningTask, Worker},
    requester::{ChatEvent, OpenPurse, TranscodeJob},
    standing::{Fault, FaultRecord},
};
use market::{Asking, Offering};
use theta_types::{SecretKey, Wei};
use theta_wallet::Wallet;
use thetis::{
    governor::Governor,
    node::CrewDoor,
    settings::Settings,
    workers::{Crew, WorkerState},
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

const EMBEDDINGS: &str = "all-minilm-l6-v2";
const CHAT: &str = "smollm2-135m-instruct";
const BLOCK: Duration = Duration::from_millis(200);

/// A wallet from a number, as the chain of these tests wants it.
fn wallet(number: u8) -> Wallet {
    Wallet::unlocked(SecretKey::from_bytes(&[number; 32]).unwrap())
}

/// The fee of every transaction but sends, as the chain of these tests wants it.
fn fee() -> Wei {
    milli(300)
}

fn milli(amount: u64) -> Wei {
    Wei::from(1_000_000_000_000_000u64) * amount
}

/// The worker programs of this build.
struct Programs {
    door: Arc<CrewDoor>,
    can: Vec<WorkerCapabilities>,
}

impl Programs {
    /// Starts both. When one is not built, or the models are not installed, the test is skipped by name; in CI that is a
    /// failure.
    async fn start(test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let models = std::env::var_os("THETIS_MODELS").map_or_else(|| root.join("models"), PathBuf::from);
        let beside = Path::new(env!("CARGO_BIN_EXE_thetis")).parent().unwrap();
        let (media, compute) = (beside.join("thetis-media"), beside.join("thetis-compute"));
        for (needed, how) in [
            (&media, "cargo build --workspace --bins"),
            (&compute, "cargo build --workspace --bins"),
            (&models, "make models"),
        ] {
            if !needed.exists() {
                assert!(std::env::var_os("CI").is_none(), "{test}: {} is missing", needed.display());
                println!("skipped: {test}: {} is missing ({how})", needed.display());
                return None;
            }
        }
        let mut settings = Settings::default();
        settings.offer.places =
            [JobKind::Transcode, JobKind::Embeddings, JobKind::Chat].map(|kind| (kind, 4)).into();
        settings.workers.media = Some(media);
        settings.workers.compute = Some(compute);
        settings.workers.device = edge_jobs::ComputeDevice::Cpu;
        let crew = Crew::start(&settings, &models, &Governor::new(&settings.places()));
        let mut can = Vec::new();
        for worker in crew.media.iter().chain(&crew.compute) {
            let mut state = worker.state();
            let ready = state.wait_for(|state| matches!(state, WorkerState::Ready(_)));
            let ready = tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap().unwrap();
            let WorkerState::Ready(capabilities) = &*ready else { panic!("{ready:?}") };
            can.push(capabilities.clone());
        }
        assert!(can.iter().any(|can| can.models.iter().any(|model| model == CHAT)), "{can:?}");
        Some(Self { door: Arc::new(CrewDoor(crew)), can })
    }
}

/// How a provider lies about what the real programs did for it.
#[derive(Clone, Debug)]
enum Lie {
    /// The vectors are those of other texts.
    Vectors,
    /// Each token is claimed three times.
    Tokens,
    /// The ladder is made of this file instead of the source.
    OtherVideo(PathBuf),
    /// No segment can be decoded.
    Noise,
}

/// A worker that lies.
struct Liar {
    honest: Arc<CrewDoor>,
    lie: Lie,
}

#[async_trait]
impl Worker for Liar {
    async fn start(&self, job: JobId, task: Task) -> Result<RunningTask, JobError> {
        let mut output = PathBuf::new();
        let task = match (&self.lie, task) {
            (Lie::Vectors, Task::Embeddings(order)) => {
                let inputs = order.inputs.iter().map(|text| format!("Not {text}")).collect();
                Task::Embeddings(EmbeddingsOrder { inputs, ..order })
            }
            (Lie::Tokens, Task::Chat(order)) => {
                // A third of the text, so that no more is claimed than was wanted.
                Task::Chat(ChatOrder { max_tokens: order.max_tokens.map(|most| most / 3), ..order })
            }
            (Lie::OtherVideo(source), Task::Transcode(task)) => {
                Task::Transcode(TranscodeTask { source: source.clone(), ..task })
            }
            (Lie::Noise, Task::Transcode(task)) => {
                output = task.output.clone();
                Task::Transcode(task)
            }
            (_, task) => task,
        };
        let mut running = self.honest.start(job, task).await?;
        let (events, receiver) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let (stopped, lie) = (stop.clone(), self.lie.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            let mut told = Told::default();
            while let Some(event) = running.next().await {
                let event = match lie {
                    Lie::Tokens => three_for_each(event),
                    Lie::Noise => told.noise(event, &output),
                    Lie::Vectors | Lie::OtherVideo(_) => event,
                };
                if events.send(event).await.is_err() {
                    return;
                }
            }
        }));
        Ok(RunningTask::new(receiver, stop))
    }
}

fn three_for_each(event: Event) -> Event {
    match event {
        Event::Tokens { job, text, count } => Event::Tokens { job, text, count: count * 3 },
        Event::Chatted { job, prompt_tokens, completion_tokens, .. } => Event::Chatted {
            job,
            finish: ChatFinish::Length,
            prompt_tokens,
            completion_tokens: completion_tokens * 3,
        },
        other => other,
    }
}

/// The segments that were told of, as they were told.
#[derive(Default)]
struct Told(Vec<(String, SegmentInfo)>);

impl Told {
    /// Puts noise in the place of each segment, with the hash of the noise.
    fn noise(&mut self, event: Event, output: &Path) -> Event {
        match event {
            Event::Segment { job, rendition, mut segment } => {
                let mut noise = vec![0; usize::try_from(segment.bytes).unwrap()];
                blake3::Hasher::new().update(segment.hash.as_bytes()).finalize_xof().fill(&mut noise);
                std::fs::write(output.join(&segment.file), &noise).unwrap();
                segment.hash = ContentHash::of(&noise);
                self.0.push((rendition.clone(), segment.clone()));
                Event::Segment { job, rendition, segment }
            }
            Event::Transcoded { job, source, renditions, thumbnails } => {
                let as_told = |rendition: Rendition| {
                    let of_it = self.0.iter().filter(|(name, _)| *name == rendition.name);
                    Rendition { segments: of_it.map(|(_, segment)| segment.clone()).collect(), ..rendition }
                };
                let renditions = renditions.into_iter().map(as_told).collect();
                Event::Transcoded { job, source, renditions, thumbnails }
            }
            other => other,
        }
    }
}

/// A requester, a liar that is asked first, and an honest provider.
struct Scene {
    asking: Asking,
    faults: broadcast::Receiver<FaultRecord>,
    liar: Offering,
    honest: Offering,
    work: tempfile::TempDir,
    _blocks: Running,
}

const LIARS_PRICE: u64 = 50;
const HONEST_PRICE: u64 = 51;

impl Scene {
    async fn start(programs: &Programs, lie: Lie) -> Self {
        let chain = TestChain::new(&[1, 2, 3].map(|number| wallet(number).address()));
        let blocks = chain.run(BLOCK);
        let work = tempfile::tempdir().unwrap();
        let asking = Asking::start(&chain, wallet(1), programs.door.clone());
        let faults = asking.standing.faults();
        let liar = Arc::new(Liar { honest: programs.door.clone(), lie });
        let (liar_work, honest_work) = (work.path().join("liar"), work.path().join("honest"));
        let liar = asking.meet(wallet(2), milli(LIARS_PRICE), &programs.can, liar, &liar_work).await;
        let honest = programs.door.clone();
        let honest = asking.meet(wallet(3), milli(HONEST_PRICE), &programs.can, honest, &honest_work).await;
        Self { asking, faults, liar, honest, work, _blocks: blocks }
    }

    /// The liar was found out for this, once; it is not asked again, and the honest node's standing is spotless.
    async fn found(&mut self, fault: Fault, most_units: u64) {
        let found = self.faults.try_recv().expect("nobody was found out");
        assert_eq!((found.node, found.fault), (self.liar.address, fault), "{}", found.detail);
        println!("found out: {}", found.detail);
        let more = self.faults.try_recv();
        assert!(more.is_err(), "one fault is counted once, and no other: {more:?}");
        assert!(self.asking.standing.is_excluded(&self.liar.address));
        assert_eq!(self.asking.standing.penalty(&self.honest.address), 0);
        let (earned, most) = (self.liar.earned().await, milli(LIARS_PRICE) * most_units);
        assert!(earned <= most, "the liar has {earned} for its lies, more than {most_units} units");
    }
}

/// Waits until a provider has so much: its last voucher may be on the way when the requester has its result.
async fn earns(provider: &Offering, amount: Wei) {
    let begun = Instant::now();
    while provider.earned().await != amount {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} instead of {amount}", provider.earned().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_other_texts_are_found_and_the_honest_node_gets_the_job() {
    let test = "vectors_of_other_texts_are_found_and_the_honest_node_gets_the_job";
    let Some(programs) = Programs::start(test).await else { return };
    let mut scene = Scene::start(&programs, Lie::Vectors).await;
    let inputs = ["The cat sits on the mat.", "Taxes are due in April."].map(String::from).to_vec();
    let order = EmbeddingsOrder { model: EMBEDDINGS.into(), inputs };
    let done = scene.asking.requester.embed(order.clone(), Arc::new(OpenPurse)).await.unwrap();
    assert_eq!(done.provider, scene.honest.address);
    let own = programs.door.start(JobId::random(), Task::Embeddings(order)).await.unwrap().last().await;
    let Some(Event::Embedded { vectors, .. }) = own else { panic!("{own:?}") };
    assert_eq!(done.vectors, vectors);
    scene.found(Fault::WrongVectors, 0).await;
    earns(&scene.honest, milli(HONEST_PRICE)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_claimed_three_times_are_found_and_the_honest_node_goes_on() {
    let test = "tokens_that_are_claimed_three_times_are_found_and_the_honest_node_goes_on";
    let Some(programs) = Programs::start(test).await else { return };
    let mut scene = Scene::start(&programs, Lie::Tokens).await;
    let say = |role, content: &str| ChatMessage { role, content: content.into() };
    let order = ChatOrder {
        model: CHAT.into(),
        messages: vec![say(Role::User, "Tell me a long story about the sea and a lighthouse.")],
        max_tokens: Some(96),
        sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: Some(1) },
        stop: vec![],
        continues: false,
    };
    let mut run = scene.asking.requester.chat(order, Arc::new(OpenPurse));
    let (mut providers, mut text, mut tokens) = (Vec::new(), String::new(), None);
    while let Some(event) = run.next().await {
        match event.unwrap() {
            ChatEvent::Provider { address } => providers.push(address),
            ChatEvent::Text { text: more, .. } => text.push_str(&more),
            ChatEvent::Finished { completion_tokens, .. } => tokens = Some(completion_tokens),
        }
    }
    assert_eq!(providers, [scene.liar.address, scene.honest.address]);
    assert!(text.len() > 100, "{text}");
    assert!(tokens.is_some_and(|tokens| (1..=96).contains(&tokens)), "{tokens:?}");
    scene.found(Fault::Inflated, 0).await;
    let units = tokens.unwrap().div_ceil(edge_jobs::TOKENS_PER_UNIT);
    earns(&scene.honest, milli(HONEST_PRICE) * units).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_of_black_pictures_is_found_and_the_honest_node_makes_another() {
    let test = "a_ladder_of_black_pictures_is_found_and_the_honest_node_makes_another";
    let Some(programs) = Programs::start(test).await else { return };
    let work = tempfile::tempdir().unwrap();
    let black = work.path().join("black.mp4");
    let pictures = "geq=lum=16:cb=128:cr=128";
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(film())
        .args(["-vf", pictures, "-c:a", "copy", "-c:v", "libx264", "-preset", "ultrafast"])
        .arg(&black)
        .status();
    match made {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{test}: {error}");
            return println!("skipped: {test}: ffmpeg makes the black video: {error}");
        }
    }
    let mut scene = Scene::start(&programs, Lie::OtherVideo(black)).await;
    transcode(&programs, &scene).await;
    scene.found(Fault::WrongFrames, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_that_cannot_be_decoded_are_found_and_the_honest_node_makes_others() {
    let test = "segments_that_cannot_be_decoded_are_found_and_the_honest_node_makes_others";
    let Some(programs) = Programs::start(test).await else { return };
    let mut scene = Scene::start(&programs, Lie::Noise).await;
    let units = transcode(&programs, &scene).await;
    // A look in the middle compares pictures, and there are none; the check of the whole counts them. Until then the units
    // before the last are paid.
    scene.found(Fault::WrongFrames, units - 1).await;
}

fn film() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bigbuckbunny.mp4")
}

/// Has the film transcoded, and sees that the honest node's ladder is the one that is taken and paid; its units.
async fn transcode(programs: &Programs, scene: &Scene) -> u64 {
    let task = programs.door.start(JobId::random(), Task::Inspect { file: film() }).await.unwrap();
    let Some(Event::Inspected { media, .. }) = task.last().await else { panic!("not inspected") };
    let bytes = std::fs::read(film()).unwrap();
    let output = scene.work.path().join("output");
    std::fs::create_dir_all(&output).unwrap();
    let job = TranscodeJob {
        order: TranscodeOrder {
            source: ContentHash::of(&bytes),
            source_bytes: bytes.len() as u64,
            source_duration_ms: media.duration_ms,
            ladder: Ladder { short_sides: vec![180, 240], source_size: false },
            thumbnails: None,
            from: None,
        },
        source: film(),
        output,
    };
    let done = scene.asking.requester.transcode(job, Arc::new(OpenPurse)).finish().await.unwrap();
    assert_eq!(done.provider, scene.honest.address);
    let sizes: Vec<u32> = done.renditions.iter().map(|rendition| rendition.height).collect();
    assert_eq!(sizes, [180, 240]);
    for segment in done.renditions.iter().flat_map(|rendition| &rendition.segments) {
        assert_eq!(ContentHash::of(&std::fs::read(done.folder.join(&segment.file)).unwrap()), segment.hash);
    }
    let units = media.duration_ms.div_ceil(edge_jobs::TRANSCODE_UNIT_MS);
    earns(&scene.honest, milli(HONEST_PRICE) * units).await;
    units
}
