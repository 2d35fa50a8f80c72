//! What a node tells a worker on the same machine: files by path.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ChatOrder, EmbeddingsOrder, JobId, Ladder, Rendition, Thumbnail, ThumbnailOrder};

/// A message from the node to its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Start a task. Events about it carry the same id; the last is `Done` or `Failed`.
    Start {
        /// The job's id.
        job: JobId,
        /// What to do.
        task: Task,
    },
    /// Stop a task at once; it answers with `Failed` and the code `Cancelled`.
    Cancel {
        /// The job's id.
        job: JobId,
    },
    /// End the program in good order. The end of standard input means the same.
    Shutdown,
}

/// A task of a worker. The first three are the media worker's, the others the compute worker's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Say what a media file holds.
    Inspect {
        /// The file.
        file: PathBuf,
    },
    /// Make an HLS ladder.
    Transcode(TranscodeTask),
    /// Compare a finished ladder with its source.
    Check(CheckTask),
    /// Turn texts into vectors.
    Embeddings(EmbeddingsOrder),
    /// Continue a conversation.
    Chat(ChatOrder),
}

/// Makes an HLS ladder of `source` in `output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscodeTask {
    /// The source file.
    pub source: PathBuf,
    /// An existing, empty folder for segments, playlists and thumbnails.
    pub output: PathBuf,
    /// The renditions wanted.
    pub ladder: Ladder,
    /// Still pictures wanted, if any.
    pub thumbnails: Option<ThumbnailOrder>,
    /// The H.264 encoder.
    pub encoder: VideoEncoder,
    /// The most threads the encoder may use; absent means as many as it likes.
    pub threads: Option<u32>,
    /// The first segment wanted of each rendition: the ladder is the tail of the whole one, numbers and time stamps
    /// included. 0 makes all of it.
    #[serde(default)]
    pub from_segment: u32,
    /// The first still picture wanted: the one at so many times their distance.
    #[serde(default)]
    pub from_thumbnail: u64,
}

/// Decodes random frames of every rendition and compares them with the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckTask {
    /// The source file.
    pub source: PathBuf,
    /// The folder that holds the renditions' segments.
    pub output: PathBuf,
    /// The renditions as the provider reported them.
    pub renditions: Vec<Rendition>,
    /// The ladder that was ordered: each rung that fits the source must be there.
    pub ladder: Ladder,
    /// How many random frames of each rendition are compared.
    pub frames_per_rendition: u32,
    /// Seed of the random choice, so that a dispute can be replayed.
    pub seed: u64,
    /// The ladder is still being made. Nothing is said about what only a whole one has: its length, its sound, and what
    /// the report at the end states of a rendition.
    #[serde(default)]
    pub unfinished: bool,
    /// Frames are chosen from this segment on; the ones before were looked at.
    #[serde(default)]
    pub from_segment: u32,
    /// The still pictures as the provider reported them. All of them are compared, unless the ladder is unfinished.
    #[serde(default)]
    pub thumbnails: Vec<Thumbnail>,
    /// The still pictures that were ordered, if any.
    #[serde(default)]
    pub thumbnail_order: Option<ThumbnailOrder>,
}

/// An H.264 encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoEncoder {
    /// x264, licensed under the GPL.
    #[default]
    X264,
    /// OpenH264, licensed under BSD terms.
    Openh264,
}

/// Where models run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDevice {
    /// The best that passes its probe: a GPU, else the processor.
    #[default]
    Auto,
    /// The first GPU, and no fallback.
    Gpu,
    /// wgpu even on a software adapter (slow; for tests).
    SoftwareGpu,
    /// The processor.
    Cpu,
}
