//! What can go wrong with a media task.

use std::path::PathBuf;

use edge_jobs::{JobError, JobErrorCode, VideoEncoder};

/// Why a task ended without its result. Each variant says whose fault it is, and so what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file holds no moving picture that can be read. Ask for another file.
    #[error("This file cannot be used as a video: {0}. Please send a video file, such as MP4, WebM or MKV.")]
    NotAVideo(String),
    /// The file stops before the end that it states. Ask for the file again.
    #[error(
        "The video ends early: it should last {stated_ms} ms, but its data stops at {found_ms} ms. The upload was \
         probably cut off; please send the file again."
    )]
    Truncated {
        /// The duration that the container states, in milliseconds.
        stated_ms: u64,
        /// Where the last data was found, in milliseconds.
        found_ms: u64,
    },
    /// The file's data cannot be decoded. Ask for the file again, or for another encoding of it.
    #[error("The video's data is damaged: {0}. Please export or upload the file again.")]
    Damaged(String),
    /// A limit of this worker is exceeded by the file or the order. Ask for less.
    #[error("{0}")]
    TooMuch(String),
    /// This machine lacks a decoder for the file. Another machine may have it.
    #[error("This machine has no decoder for the file: {0}.")]
    MissingDecoder(String),
    /// This machine lacks the encoder. Choose the other, or another machine.
    #[error("The encoder {0:?} does not work on this machine.")]
    MissingEncoder(VideoEncoder),
    /// The task belongs to another worker.
    #[error("The media worker does not do this kind of task.")]
    NotAMediaTask,
    /// As many tasks run as the worker was started for. Wait for one to end.
    #[error("The media worker already runs {0} tasks, which is its limit. Try again when one has ended.")]
    Busy(usize),
    /// The caller asked for the stop.
    #[error("The task was stopped as asked.")]
    Cancelled,
    /// Nothing moved for a while. Try again, here or elsewhere.
    #[error("The work stood still for {0} seconds and was given up. Try again.")]
    Stalled(u64),
    /// The output folder's disk is full. Free room.
    #[error("The disk is full. Free some room, or lower what Thetis may keep on disk.")]
    DiskFull,
    /// A file of the task cannot be read or written.
    #[error("The file {} cannot be used: {reason}.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: std::io::Error,
    },
    /// GStreamer failed in a way that is not the file's fault.
    #[error("The media pipeline failed: {0}.")]
    Pipeline(String),
}

impl MediaError {
    /// A failure to use the file at `path`; a full disk is told apart.
    pub(crate) fn file(path: impl Into<PathBuf>, reason: std::io::Error) -> Self {
        match reason.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::File { path: path.into(), reason },
        }
    }

    /// The kind of failure as nodes tell each other.
    pub fn code(&self) -> JobErrorCode {
        match self {
            Self::NotAVideo(_) | Self::Truncated { .. } | Self::Damaged(_) | Self::TooMuch(_) => {
                JobErrorCode::BadInput
            }
            Self::MissingDecoder(_) | Self::MissingEncoder(_) | Self::NotAMediaTask => {
                JobErrorCode::Unsupported
            }
            Self::Busy(_) => JobErrorCode::Busy,
            Self::Cancelled => JobErrorCode::Cancelled,
            Self::DiskFull => JobErrorCode::DiskFull,
            Self::Stalled(_) | Self::File { .. } | Self::Pipeline(_) => JobErrorCode::Internal,
        }
    }
}

impl From<MediaError> for JobError {
    fn from(error: MediaError) -> Self {
        JobError::new(error.code(), error.to_string())
    }
}

// A pipeline that cannot be built or linked is this machine's fault, never the file's.
impl From<gstreamer::glib::BoolError> for MediaError {
    fn from(error: gstreamer::glib::BoolError) -> Self {
        Self::Pipeline(error.message.to_string())
    }
}

impl From<gstreamer::glib::Error> for MediaError {
    fn from(error: gstreamer::glib::Error) -> Self {
        Self::Pipeline(error.message().to_owned())
    }
}
