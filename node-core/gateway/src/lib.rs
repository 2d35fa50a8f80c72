//! HTTP APIs for creators and developers, served by the nodes of the market.
//!
//! Two doors on one loopback address: OpenAI's `/v1/models`, `/v1/embeddings` and `/v1/chat/completions`, and the Theta
//! Video API's `/upload` and `/video`. This crate owns what those APIs look like, who may call them (API keys), how much
//! a key may spend, how many calls run and wait at once, and the files that are uploaded. It does not find providers,
//! pay them or keep a database: the work is done behind [`AiBackend`] and [`VideoBackend`], and what must be kept goes
//! through [`KeyStore`], [`SpendingStore`] and [`VideoStore`]. The node provides all five.
#![warn(missing_docs)]

mod admission;
mod authentication;
mod backend;
mod clock;
mod gateway;
mod identifiers;
mod keys;
mod limits;
mod openai;
mod spending;
mod store;
mod video;

pub use admission::{Admission, Place, QueueFull, QueueLimits};
pub use backend::{
    AiBackend, BackendError, ChatEvent, ChatStream, Cost, Embeddings, MAX_INPUTS_PER_ORDER, Model, Playback,
    SourceFile, VideoBackend, VideoEvent, VideoPhase, VideoRequest, VideoStream,
};
pub use clock::Clock;
pub use gateway::{Gateway, GatewayConfig, GatewayError, GatewayStores};
pub use identifiers::{KeyId, UploadId, VideoId};
pub use keys::{KeyRecord, KeySecretHash, KeyStore, Keys, NewKey};
pub use limits::{
    Counted, Day, Reservation, ReservationId, SpendingLimit, SpendingLimits, SpendingRefused, Spent, Sums,
};
pub use spending::{Bill, OverLimit, Spending, SpendingError, SpendingStore};
pub use store::StoreError;
pub use video::{UploadRecord, UploadState, VideoFilter, VideoRecord, VideoState, VideoStore};
