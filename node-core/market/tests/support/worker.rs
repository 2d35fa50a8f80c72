//! A worker whose work is simple arithmetic: honest by default, or a liar of some kind.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use edge_jobs::{
    ChatFinish, ChatOrder, CheckTask, ContentHash, Event, FrameDifference, JobError, JobErrorCode, JobId,
    Ladder, MediaInfo, Rendition, RenditionCheck, Role, SegmentInfo, Task, Thumbnail, TranscodeTask,
    segment_file, thumbnail_file,
};
use edge_market::provider::{RunningTask, Worker};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How a worker lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// Vectors of other texts.
    Vectors,
    /// Three tokens claimed for each.
    Tokens,
    /// Many tokens without any text.
    EmptyTokens,
    /// Vectors of one number.
    OneNumber,
    /// Never a token, and always something to say.
    Chatter,
    /// A long text that no tokens are claimed for.
    FreeText,
    /// Pictures of another video, from a unit on.
    Frames { from_segment: u32 },
    /// Dies in the middle.
    Dies { after: u32 },
    /// Its node stops it in the middle.
    IsStopped { after: u32 },
    /// Names its files as it likes.
    Names,
    /// Still pictures of something else.
    Thumbnails,
    /// Finds fault with the order in the middle.
    BadInput { after: u32 },
}

/// A worker for both kinds of work.
#[derive(Debug)]
pub struct TestWorker {
    pub lie: Mutex<Lie>,
    /// Time between two tokens or segments.
    pub pace: Mutex<Duration>,
    /// Tasks that run now.
    pub running: Arc<AtomicUsize>,
    /// Models that it has; `None` for any.
    pub without_models: bool,
    /// So many checks of ladders kill it.
    pub deadly_checks: AtomicUsize,
    /// News of progress after each segment. Whoever lets them pile up loses the job, as in a node.
    pub chatter: AtomicUsize,
}

impl TestWorker {
    pub fn honest() -> Arc<Self> {
        Self::with(Lie::None)
    }

    pub fn with(lie: Lie) -> Arc<Self> {
        Arc::new(Self {
            lie: Mutex::new(lie),
            pace: Mutex::new(Duration::from_millis(1)),
            running: Arc::default(),
            without_models: false,
            deadly_checks: AtomicUsize::new(0),
            chatter: AtomicUsize::new(0),
        })
    }

    /// One that can look at video, and has no models.
    pub fn without_models() -> Arc<Self> {
        Arc::new(Self {
            lie: Mutex::default(),
            pace: Mutex::new(Duration::from_millis(1)),
            running: Arc::default(),
            without_models: true,
            deadly_checks: AtomicUsize::new(0),
            chatter: AtomicUsize::new(0),
        })
    }

    fn takes_a_deadly_check(&self) -> bool {
        let fewer = |left: usize| left.checked_sub(1);
        self.deadly_checks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok()
    }

    pub fn slow(&self, pace: Duration) {
        *self.pace.lock().unwrap() = pace;
    }
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Worker for TestWorker {
    async fn start(&self, job: JobId, task: Task) -> Result<RunningTask, JobError> {
        let is_model = matches!(task, Task::Chat(_) | Task::Embeddings(_));
        if is_model && self.without_models {
            return Err(JobError::new(JobErrorCode::Unsupported, "no models here"));
        }
        if matches!(task, Task::Check(_)) && self.takes_a_deadly_check() {
            let (_, nothing) = mpsc::channel(1);
            return Ok(RunningTask::new(nothing, CancellationToken::new()));
        }
        let chatter = self.chatter.load(Ordering::SeqCst);
        let (events, receiver) = mpsc::channel(1_024);
        let stop = CancellationToken::new();
        let (lie, pace) = (*self.lie.lock().unwrap(), *self.pace.lock().unwrap());
        self.running.fetch_add(1, Ordering::SeqCst);
        let count = Count(self.running.clone());
        let stopped = stop.clone();
        tokio::spawn(async move {
            let _count = count;
            let work = work(job, task, lie, pace, chatter, events.clone());
            tokio::select! {
                () = stopped.cancelled() => {
                    let error = JobError::new(JobErrorCode::Cancelled, "stopped");
                    let _ = events.send(Event::Failed { job, error }).await;
                }
                done = work => if let Err(error) = done {
                    let _ = events.send(Event::Failed { job, error }).await;
                }
            }
        });
        Ok(RunningTask::new(receiver, stop))
    }
}

type Events = mpsc::Sender<Event>;

async fn work(
    job: JobId,
    task: Task,
    lie: Lie,
    pace: Duration,
    chatter: usize,
    events: Events,
) -> Result<(), JobError> {
    match task {
        Task::Chat(order) => chat(job, order, lie, pace, events).await,
        Task::Embeddings(order) => {
            tokio::time::sleep(pace).await;
            let salt = if lie == Lie::Vectors { "another text " } else { "" };
            let one = |text: &String| match lie {
                Lie::OneNumber => vec![1.0],
                _ => vector(&format!("{salt}{text}")),
            };
            let vectors = order.inputs.iter().map(one).collect();
            let prompt_tokens = order.inputs.iter().map(|text| words(text)).sum::<usize>() as u32;
            let _ = events.send(Event::Embedded { job, vectors, prompt_tokens }).await;
            Ok(())
        }
        Task::Inspect { file } => {
            let _ = events.send(Event::Inspected { job, media: inspect(&file)? }).await;
            Ok(())
        }
        Task::Transcode(task) => transcode(job, task, lie, pace, chatter, events).await,
        Task::Check(task) => {
            let _ = events.send(Event::Checked { job, renditions: check(&task)? }).await;
            Ok(())
        }
    }
}

/// What the "model" says: the words count on from those of an unfinished answer.
async fn chat(
    job: JobId,
    order: ChatOrder,
    lie: Lie,
    pace: Duration,
    events: Events,
) -> Result<(), JobError> {
    let so_far = match order.messages.last() {
        Some(last) if order.continues && last.role == Role::Assistant => words(&last.content),
        _ => 0,
    };
    let most = order.max_tokens.unwrap_or(1_000) as usize;
    let mut claimed = 0;
    for index in 0..most {
        if lie == (Lie::Dies { after: index as u32 }) {
            // As a process that is killed: nothing is said.
            std::future::pending::<()>().await;
        }
        if lie == (Lie::IsStopped { after: index as u32 }) {
            return Err(JobError::new(JobErrorCode::Cancelled, "the node stopped its worker"));
        }
        if lie == (Lie::BadInput { after: index as u32 }) {
            return Err(JobError::new(JobErrorCode::BadInput, "no such words"));
        }
        tokio::time::sleep(pace).await;
        if let Lie::Chatter | Lie::FreeText = lie {
            let text = if lie == Lie::FreeText { "blah ".repeat(2_000) } else { String::new() };
            if events.send(Event::Tokens { job, text, count: 0 }).await.is_err() {
                return Ok(());
            }
            continue;
        }
        let text = if lie == Lie::EmptyTokens && index > 0 {
            String::new()
        } else {
            format!("word{} ", so_far + index)
        };
        let count = if lie == Lie::Tokens { 3 } else { 1 };
        claimed += count;
        if claimed > most as u32 {
            break;
        }
        if events.send(Event::Tokens { job, text, count }).await.is_err() {
            return Ok(());
        }
    }
    let finish = ChatFinish::Length;
    let prompt_tokens =
        5 + order.messages.iter().map(|message| words(&message.content)).sum::<usize>() as u32;
    let completion_tokens = claimed.min(most as u32);
    let _ = events.send(Event::Chatted { job, finish, prompt_tokens, completion_tokens }).await;
    Ok(())
}

pub fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// A unit vector that depends on every byte of the text.
pub fn vector(text: &str) -> Vec<f32> {
    let hash = ContentHash::of(text.as_bytes());
    let numbers: Vec<f32> = hash.as_bytes().iter().map(|byte| f32::from(*byte) - 128.0).collect();
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.into_iter().map(|x| x / length).collect()
}

/// A "video": its properties in a line of text, then bytes.
pub fn video(width: u32, height: u32, duration_ms: u64) -> Vec<u8> {
    let mut bytes = format!("video {width} {height} {duration_ms}\n").into_bytes();
    bytes.extend((0..200_000u32).map(|i| (i % 251) as u8));
    bytes
}

fn inspect(file: &Path) -> Result<MediaInfo, JobError> {
    let bytes =
        std::fs::read(file).map_err(|error| JobError::new(JobErrorCode::Internal, error.to_string()))?;
    let not_a_video = || JobError::new(JobErrorCode::BadInput, "not a video");
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).map_err(|_| not_a_video())?;
    let fields: Vec<&str> = text.split(' ').collect();
    let ["video", width, height, duration] = fields.as_slice() else { return Err(not_a_video()) };
    Ok(MediaInfo {
        duration_ms: duration.parse().map_err(|_| not_a_video())?,
        width: width.parse().map_err(|_| not_a_video())?,
        height: height.parse().map_err(|_| not_a_video())?,
        frame_rate: (25, 1),
        audio: true,
        video_codec: "test".into(),
    })
}

/// What segment `index` of a rendition holds.
fn segment_bytes(source: &Path, rendition: &str, index: u32) -> Vec<u8> {
    let source = std::fs::read(source).unwrap();
    let seed = ContentHash::of(&source);
    let mut bytes = format!("{rendition} {index} {seed} ").into_bytes();
    bytes.resize(20_000 + index as usize, b'.');
    bytes
}

/// The short sides that a ladder has.
fn sides(ladder: &Ladder, media: &MediaInfo) -> Vec<u32> {
    let short = media.width.min(media.height);
    let mut sides: Vec<u32> = ladder.short_sides.iter().copied().filter(|side| *side <= short).collect();
    if ladder.source_size {
        sides.push(short);
    }
    sides.sort_unstable();
    sides.dedup();
    sides
}

async fn transcode(
    job: JobId,
    task: TranscodeTask,
    lie: Lie,
    pace: Duration,
    chatter: usize,
    events: Events,
) -> Result<(), JobError> {
    let media = inspect(&task.source)?;
    let mut renditions: Vec<Rendition> = sides(&task.ladder, &media)
        .iter()
        .map(|side| Rendition {
            name: format!("{side}p"),
            width: side * 16 / 9,
            height: *side,
            bandwidth: 1_000_000,
            average_bandwidth: 900_000,
            codecs: "avc1.64001f".into(),
            frame_rate: (25, 1),
            segments: vec![],
        })
        .collect();
    let mut thumbnails = Vec::new();
    if let Some(order) = &task.thumbnails {
        std::fs::create_dir_all(task.output.join("thumbnails")).unwrap();
        for number in task.from_thumbnail..=(media.duration_ms - 1) / order.every_ms {
            let what = if lie == Lie::Thumbnails { "an advertisement" } else { "picture" };
            let bytes = format!("{what} {number}").into_bytes();
            let file = thumbnail_file(number);
            std::fs::write(task.output.join(&file), &bytes).unwrap();
            let (hash, bytes) = (ContentHash::of(&bytes), bytes.len() as u64);
            let thumbnail = Thumbnail { at_ms: number * order.every_ms, file, bytes, hash };
            thumbnails.push(thumbnail.clone());
            let _ = events.send(Event::Thumbnail { job, thumbnail }).await;
        }
    }
    let mut index = task.from_segment;
    let mut start = u64::from(index) * 2_000;
    while start < media.duration_ms {
        let duration_ms = (media.duration_ms - start).min(2_000);
        // The largest rendition is behind the others, as it is in life.
        for rendition in &mut renditions {
            if lie == (Lie::Dies { after: index }) {
                std::future::pending::<()>().await;
            }
            if lie == (Lie::IsStopped { after: index }) {
                return Err(JobError::new(JobErrorCode::Cancelled, "the node stopped its worker"));
            }
            tokio::time::sleep(pace).await;
            let mut bytes = segment_bytes(&task.source, &rendition.name, index);
            if let Lie::Frames { from_segment } = lie
                && index >= from_segment
            {
                bytes = vec![b'x'; bytes.len()];
            }
            let file = match lie {
                Lie::Names => format!("{}/part{index}.ts", rendition.name),
                _ => segment_file(&rendition.name, index),
            };
            std::fs::create_dir_all(task.output.join(&rendition.name)).unwrap();
            std::fs::write(task.output.join(&file), &bytes).unwrap();
            let hash = ContentHash::of(&bytes);
            let segment = SegmentInfo { index, file, duration_ms, bytes: bytes.len() as u64, hash };
            rendition.segments.push(segment.clone());
            let name = rendition.name.clone();
            if events.send(Event::Segment { job, rendition: name, segment }).await.is_err() {
                return Ok(());
            }
            for number in 0..chatter {
                // Who reads at all gets the time to.
                if number % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if events.try_send(Event::Progress { job, permille: 1 }).is_err() {
                    return Err(JobError::new(JobErrorCode::Cancelled, "nobody reads its events"));
                }
            }
        }
        start += duration_ms;
        index += 1;
        let permille = (start * 1_000 / media.duration_ms) as u16;
        let _ = events.send(Event::Progress { job, permille }).await;
    }
    let _ = events.send(Event::Transcoded { job, source: media, renditions, thumbnails }).await;
    Ok(())
}

fn check(task: &CheckTask) -> Result<Vec<RenditionCheck>, JobError> {
    let media = inspect(&task.source)?;
    let ordered: Vec<String> = sides(&task.ladder, &media).iter().map(|side| format!("{side}p")).collect();
    let mut checks = Vec::new();
    for name in ordered.iter().filter(|name| task.renditions.iter().all(|other| other.name != **name)) {
        let problems = vec!["it was ordered and is missing".to_owned()];
        checks.push(RenditionCheck { rendition: name.clone(), passed: false, problems, frames: vec![] });
    }
    for rendition in &task.renditions {
        let mut problems = Vec::new();
        let mut frames = Vec::new();
        let mut at_ms = 0;
        if !ordered.contains(&rendition.name) {
            problems.push("it was not ordered".to_owned());
        }
        for (place, segment) in rendition.segments.iter().enumerate() {
            if segment.index as usize != place {
                problems.push(format!("segment {} in place of {place}", segment.index));
            }
            if segment.index >= task.from_segment {
                let path: PathBuf = task.output.join(&segment.file);
                let same = std::fs::read(path).ok()
                    == Some(segment_bytes(&task.source, &rendition.name, segment.index));
                frames.push(FrameDifference { at_ms, psnr_db: if same { 38.0 } else { 6.0 } });
                if !same {
                    problems.push(format!("the picture at {at_ms} ms is another one"));
                }
            }
            at_ms += segment.duration_ms;
        }
        if !task.unfinished && at_ms != media.duration_ms {
            problems.push(format!("{at_ms} ms instead of {}", media.duration_ms));
        }
        let passed = problems.is_empty();
        checks.push(RenditionCheck { rendition: rendition.name.clone(), passed, problems, frames });
    }
    for picture in &task.thumbnails {
        let bytes = std::fs::read(task.output.join(&picture.file)).ok();
        let order = task.thumbnail_order.as_ref().unwrap();
        if bytes != Some(format!("picture {}", picture.at_ms / order.every_ms).into_bytes()) {
            let problems = vec![format!("the picture at {} ms is another one", picture.at_ms)];
            checks.push(RenditionCheck {
                rendition: "thumbnails".into(),
                passed: false,
                problems,
                frames: vec![],
            });
        }
    }
    Ok(checks)
}
