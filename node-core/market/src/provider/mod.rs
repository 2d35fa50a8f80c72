//! The provider: admits sessions, does the work through its workers, and is paid unit by unit.

mod collect;
mod governor;
mod read_ahead;
mod seats;
mod serve;
mod serve_chat;
mod serve_embeddings;
mod serve_segments;
mod serve_transcode;
mod shelf;
mod work_folder;
mod worker;

pub use collect::Ended;
pub use governor::{Governor, Place};
pub use serve::{Provider, ProviderConfig, ProviderSettings, ServicePrice};
pub use shelf::SegmentShelf;
pub(crate) use work_folder::path_below;
pub use worker::{RunningTask, Worker};
