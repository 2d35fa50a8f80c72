//! The requester: finds providers, opens sessions, checks what comes, and pays unit by unit.

mod arriving_ladder;
mod attempts;
mod begun_units;
mod buyer;
mod chat;
mod dialer;
mod embeddings;
mod error;
mod handle;
mod kept_ladder;
mod purse;
mod received_file;
mod relay_session;
mod segments;
mod track;
mod transcode;

pub use chat::{ChatEvent, ChatRun};
pub use dialer::{BoxedStream, DialError, Dialer, MeshIo};
pub use embeddings::EmbeddingsResult;
pub use error::RequestError;
pub use handle::{ModelLimits, Quote, Requester, RequesterConfig, RequesterSettings};
pub use purse::{OpenPurse, Purse, PurseEmpty};
pub use segments::{Fetched, SegmentClient, SegmentError, SegmentWish};
pub use transcode::{TranscodeEvent, TranscodeJob, TranscodeResult, TranscodeRun};
