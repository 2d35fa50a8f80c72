//! The loopback origin: where a player of this machine gets a stream.
//!
//! Design journey 2: a player asks here; the answer comes from the segment store, or from a [`StreamSource`], which knows the other
//! nodes. Bytes are compared with the hash in the signed manifest before any is passed on.

mod fetch;
mod host;
mod routes;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use edge_jobs::ContentHash;

use self::fetch::Fetch;
use crate::{SegmentStore, SignedManifest, StreamId};

pub use routes::player_is_built;

/// Where manifests and segments come from that this node does not hold.
#[async_trait]
pub trait StreamSource: Send + Sync + 'static {
    /// The newest manifest of a stream that can be found.
    async fn manifest(&self, stream: StreamId) -> Result<Arc<SignedManifest>, SourceError>;

    /// The bytes of a segment or still picture. The origin checks their hash; asked again, the source tries another node.
    async fn segment(&self, stream: &SignedManifest, hash: ContentHash) -> Result<Bytes, SourceError>;
}

/// Why a stream, or a part of it, cannot be had. The text is for the person who watches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nobody who is online knows the stream.
    #[error("no node that is online has this stream")]
    Unknown,
    /// It is known, but nobody gave the part in time.
    #[error("no node could deliver this part of the stream: {0}")]
    Unavailable(String),
    /// This node may not fetch now: it is paused, or a spending limit is reached.
    #[error("this node cannot fetch the stream now: {0}")]
    Refused(String),
}

/// The loopback origin. Cheap to clone.
#[derive(Clone)]
pub struct Origin {
    source: Arc<dyn StreamSource>,
    fetch: Fetch,
}

impl Origin {
    /// An origin that keeps what it fetches in `store`.
    pub fn new(store: SegmentStore, source: Arc<dyn StreamSource>) -> Self {
        Self { fetch: Fetch::new(store, source.clone()), source }
    }

    /// With another patience: how long the source gets for a segment before it is asked again, besides the time for the
    /// segment's bytes.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.fetch.patience = patience;
        self
    }

    /// `/watch/{id}` is the player page, `/hls/{id}/master.m3u8` the stream. Answers to loopback names alone, so that no website can
    /// reach it by pointing a name of its own at this machine.
    pub fn router(self) -> Router {
        routes::router(self).layer(axum::middleware::from_fn(host::loopback_names_alone))
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("fetch", &self.fetch).finish_non_exhaustive()
    }
}
