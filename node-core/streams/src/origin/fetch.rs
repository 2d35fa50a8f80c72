//! Getting a segment once, however many ask for it, and the next ones ahead of time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use edge_jobs::ContentHash;
use futures::{FutureExt, future::BoxFuture, future::Shared};
use tracing::{debug, warn};

use super::{SourceError, StreamSource};
use crate::{SegmentStore, SignedManifest};

/// How often the source is asked for a segment, each time from another node, before playback fails.
const ATTEMPTS: usize = 4;
/// How long the source gets for one attempt, besides the time for the bytes.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes a second that a segment has to come with, at least.
const SLOWEST: u64 = 50_000;
/// Segments fetched ahead of the one that was asked for.
pub const AHEAD: usize = 2;

type Outcome = Shared<BoxFuture<'static, Result<Bytes, SourceError>>>;

#[derive(Clone)]
pub struct Fetch {
    store: SegmentStore,
    source: Arc<dyn StreamSource>,
    /// How long the source gets, besides the time for the bytes.
    pub patience: Duration,
    // Held for moments, never across an await.
    under_way: Arc<Mutex<HashMap<ContentHash, Outcome>>>,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("store", &self.store)
            .field("under_way", &self.under_way().len())
            .finish_non_exhaustive()
    }
}

impl Fetch {
    pub fn new(store: SegmentStore, source: Arc<dyn StreamSource>) -> Self {
        Self { store, source, patience: PATIENCE, under_way: Arc::default() }
    }

    /// The bytes of a part of the stream, from the store or the source, with the right hash.
    pub async fn segment(
        &self,
        stream: Arc<SignedManifest>,
        hash: ContentHash,
    ) -> Result<Bytes, SourceError> {
        match self.store.get(hash).await {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) => {}
            Err(error) => warn!(%error, "the segment store cannot be read; fetching instead"),
        }
        self.start(stream, hash).await
    }

    /// Starts to fetch what is not here yet, without waiting for it.
    pub fn ahead(&self, stream: &Arc<SignedManifest>, hashes: impl Iterator<Item = ContentHash>) {
        for hash in hashes.take(AHEAD) {
            if !self.store.contains(&hash) {
                drop(self.start(stream.clone(), hash));
            }
        }
    }

    fn start(&self, stream: Arc<SignedManifest>, hash: ContentHash) -> Outcome {
        let mut under_way = self.under_way();
        if let Some(outcome) = under_way.get(&hash) {
            return outcome.clone();
        }
        let this = self.clone();
        // A task of its own: a player that turns away does not waste what is half here and already paid for.
        let task = tokio::spawn(async move {
            let result = this.ask_source(&stream, hash).await;
            this.under_way().remove(&hash);
            result
        });
        let outcome = task
            .map(|joined| joined.unwrap_or_else(|error| Err(SourceError::Unavailable(error.to_string()))))
            .boxed()
            .shared();
        under_way.insert(hash, outcome.clone());
        outcome
    }

    async fn ask_source(&self, stream: &SignedManifest, hash: ContentHash) -> Result<Bytes, SourceError> {
        let mut last = SourceError::Unavailable("the bytes that came were wrong".into());
        let bytes = stream.contents().find(|(content, _)| *content == hash).map_or(0, |(_, bytes)| bytes);
        let within = self.patience + Duration::from_millis(bytes.saturating_mul(1_000) / SLOWEST);
        for attempt in 1..=ATTEMPTS {
            // A source that never answers must not hold up the player's next question for the same segment.
            let asked = tokio::time::timeout(within, self.source.segment(stream, hash));
            let late = |_| Err(SourceError::Unavailable("it did not come in time".into()));
            match asked.await.unwrap_or_else(late) {
                Ok(bytes) if ContentHash::of(&bytes) == hash => {
                    if let Err(error) = self.store.put(hash, bytes.clone()).await {
                        debug!(%hash, %error, "a segment is played but not kept");
                    }
                    return Ok(bytes);
                }
                Ok(_) => warn!(%hash, attempt, "a segment with wrong bytes was dropped"),
                Err(error @ (SourceError::Refused(_) | SourceError::Unknown)) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<ContentHash, Outcome>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
