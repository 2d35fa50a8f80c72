//! The messages between a node, its workers and other nodes about a job.
//!
//! Three parties talk about the same work: the requester's node, the provider's node, and the worker program that
//! does it. This crate owns what they say to each other and how it is framed, and nothing else: no network, no
//! storage, no GPU, no chain. An [`Order`] travels between nodes and names content by hash; a [`Task`] travels to a
//! worker on the same machine and names files; an [`Event`] travels back.

mod bandwidth;
mod content;
mod event;
mod framing;
mod id;
mod ladder_files;
mod order;
mod task;

pub use bandwidth::{bandwidth, target_seconds};
pub use content::{ContentHash, ContentHashError};
pub use event::{
    ChatFinish, Event, FrameDifference, JobError, JobErrorCode, MediaInfo, Rendition, RenditionCheck,
    SegmentInfo, Thumbnail, WorkerCapabilities,
};
pub use framing::{
    FrameError, MAX_FRAME_BYTES, decode_frame, encode_frame, read_frame, read_frame_async, write_frame,
    write_frame_async,
};
pub use id::{JobId, JobIdError};
pub use ladder_files::{segment_file, thumbnail_file};
pub use order::{
    ChatMessage, ChatOrder, EmbeddingsOrder, JobKind, Ladder, LadderStart, MAX_EMBEDDING_INPUTS, Order, Role,
    Sampling, TOKENS_PER_UNIT, TRANSCODE_UNIT_MS, ThumbnailOrder, TranscodeOrder,
};
pub use task::{CheckTask, Command, ComputeDevice, Task, TranscodeTask, VideoEncoder};
