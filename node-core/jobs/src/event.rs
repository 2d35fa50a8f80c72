//! What a worker tells its node.

use serde::{Deserialize, Serialize};

use crate::{ContentHash, JobId};

/// A message from a worker to its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first message of a worker: what it can do here.
    Ready {
        /// What it can do.
        capabilities: WorkerCapabilities,
    },
    /// How far a task is.
    Progress {
        /// The job's id.
        job: JobId,
        /// From 0 to 1000.
        permille: u16,
    },
    /// A segment is complete on disk.
    Segment {
        /// The job's id.
        job: JobId,
        /// The rendition's name.
        rendition: String,
        /// The segment.
        segment: SegmentInfo,
    },
    /// A still picture is complete on disk.
    Thumbnail {
        /// The job's id.
        job: JobId,
        /// The picture.
        thumbnail: Thumbnail,
    },
    /// More text of a chat.
    Tokens {
        /// The job's id.
        job: JobId,
        /// The text; may be empty while a character is incomplete.
        text: String,
        /// How many completion tokens it stands for.
        count: u32,
    },
    /// What an `Inspect` task found.
    Inspected {
        /// The job's id.
        job: JobId,
        /// What the file holds.
        media: MediaInfo,
    },
    /// A ladder is complete.
    Transcoded {
        /// The job's id.
        job: JobId,
        /// What the source held.
        source: MediaInfo,
        /// The renditions, smallest first.
        renditions: Vec<Rendition>,
        /// The still pictures, in order.
        thumbnails: Vec<Thumbnail>,
    },
    /// What a `Check` task found.
    Checked {
        /// The job's id.
        job: JobId,
        /// One entry for each rendition that was ordered, and one named `thumbnails` where there are any or ought to be.
        renditions: Vec<RenditionCheck>,
    },
    /// The vectors of an `Embeddings` task, in the order of the inputs.
    Embedded {
        /// The job's id.
        job: JobId,
        /// One vector of unit length for each input.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs, special tokens included.
        prompt_tokens: u32,
    },
    /// A chat is complete.
    Chatted {
        /// The job's id.
        job: JobId,
        /// Why it ended.
        finish: ChatFinish,
        /// Tokens of the rendered conversation.
        prompt_tokens: u32,
        /// Completion tokens.
        completion_tokens: u32,
    },
    /// The task ended without its result.
    Failed {
        /// The job's id.
        job: JobId,
        /// Why.
        error: JobError,
    },
}

impl Event {
    /// The job that the event is about; `None` for [`Event::Ready`].
    pub fn job(&self) -> Option<JobId> {
        match self {
            Event::Ready { .. } => None,
            Event::Progress { job, .. }
            | Event::Segment { job, .. }
            | Event::Thumbnail { job, .. }
            | Event::Tokens { job, .. }
            | Event::Inspected { job, .. }
            | Event::Transcoded { job, .. }
            | Event::Checked { job, .. }
            | Event::Embedded { job, .. }
            | Event::Chatted { job, .. }
            | Event::Failed { job, .. } => Some(*job),
        }
    }

    /// Whether no more events about the job follow.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Event::Inspected { .. }
                | Event::Transcoded { .. }
                | Event::Checked { .. }
                | Event::Embedded { .. }
                | Event::Chatted { .. }
                | Event::Failed { .. }
        )
    }
}

/// What a worker can do on this machine, found by trying it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCapabilities {
    /// The worker's version.
    pub version: String,
    /// Encoders that work, for a media worker.
    pub encoders: Vec<crate::VideoEncoder>,
    /// Model ids that are installed with the right hash, for a compute worker.
    pub models: Vec<String>,
    /// The device that models run on, in words, for a compute worker.
    pub device: Option<String>,
    /// Whether that device is a real GPU.
    pub gpu: bool,
}

/// What a media file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// Width in pixels as displayed: after rotation, with square pixels.
    pub width: u32,
    /// Height in pixels as displayed.
    pub height: u32,
    /// Frames per second as a fraction; `(0, 1)` means variable.
    pub frame_rate: (u32, u32),
    /// Whether there is sound.
    pub audio: bool,
    /// The video codec in words, e.g. `H.264`.
    pub video_codec: String,
}

/// One rung of a finished ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// Its name and folder, e.g. `360p`.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Peak bits per second over segments.
    pub bandwidth: u64,
    /// Mean bits per second.
    pub average_bandwidth: u64,
    /// RFC 6381 codecs, e.g. `avc1.64001f,mp4a.40.2`.
    pub codecs: String,
    /// Frames per second as a fraction.
    pub frame_rate: (u32, u32),
    /// Its segments in order.
    pub segments: Vec<SegmentInfo>,
}

/// One segment of a rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Its place in the rendition, from 0.
    pub index: u32,
    /// Its file, relative to the output folder, with `/`.
    pub file: String,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub hash: ContentHash,
}

/// A still picture (JPEG).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// Its time in the video in milliseconds.
    pub at_ms: u64,
    /// Its file, relative to the output folder, with `/`.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub hash: ContentHash,
}

/// The verdict on one rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionCheck {
    /// The rendition's name.
    pub rendition: String,
    /// Whether it is what was ordered.
    pub passed: bool,
    /// What is wrong, in words; empty when it passed.
    pub problems: Vec<String>,
    /// The frames that were compared.
    pub frames: Vec<FrameDifference>,
}

/// How far one frame of a rendition is from the source's frame at that time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameDifference {
    /// Time of the frame in milliseconds.
    pub at_ms: u64,
    /// Peak signal-to-noise ratio of the luma at the rendition's size, in dB; larger is closer.
    pub psnr_db: f32,
}

/// Why a chat ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatFinish {
    /// The model ended it, or a stop text was met.
    Stop,
    /// The token limit or the context limit was reached.
    Length,
}

/// Why a task failed, for the program and for the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// What a program can act on.
    pub code: JobErrorCode,
    /// What happened and what to do, in one sentence.
    pub message: String,
}

impl JobError {
    /// An error with a code and a sentence.
    pub fn new(code: JobErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobErrorCode {
    /// The input cannot be worked on (not a video, truncated, too long a prompt): another provider would fail too.
    BadInput,
    /// The model or the encoder is not there: another provider may have it.
    Unsupported,
    /// The node asked for the stop.
    Cancelled,
    /// The worker, its driver or its machine failed: another provider may do it.
    Internal,
    /// No room on disk.
    DiskFull,
    /// The provider is paused or has no free place.
    Busy,
}

impl JobErrorCode {
    /// Whether the same order may succeed at another provider.
    pub fn worth_another_provider(self) -> bool {
        !matches!(self, JobErrorCode::BadInput | JobErrorCode::Cancelled)
    }
}
