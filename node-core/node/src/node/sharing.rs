//! Streams on the overlay: who has which, their manifests, and the creator's own copy as the last resort.
//!
//! A manifest costs nothing and anybody may pass it on: its signature is checked by who gets it. The segments of a stream
//! that was published here are given to whoever asks, free of charge and as far as the upload limit goes: to edge nodes that
//! want to offer them, and to viewers whom no edge node could serve. An edge node that offers relay takes announced
//! streams into its segment store, says then that it has them, and sells them: to viewers, and to other edge nodes once the
//! creator is gone.

mod announcement;
mod copying;
mod heard;
mod serving;
mod wire;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use edge_jobs::{ContentHash, JobKind};
use edge_market::requester::SegmentClient;
use edge_mesh::{MeshHandle, PeerId, Protocol};
use edge_streams::{SegmentStore, SignedManifest, SourceError, StreamId};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::edge::EdgeParts;
use crate::database::Database;

/// The creator's own copy of segments, free of charge.
pub(super) const SOURCE: Protocol = Protocol::named("/thetis/source/1");
/// Peers that are asked for a manifest when the hash table knows nobody, or not enough.
const MOST_ASKED: usize = 12;
/// How long one peer gets to send a manifest.
const ONE_ANSWER: Duration = Duration::from_secs(15);
/// How long a newer revision is waited for once one manifest is there.
const NEWER_WITHIN: Duration = Duration::from_millis(400);
/// Manifests of other people's streams that are kept in memory.
const MOST_KNOWN: usize = 256;
/// How long an answer of the hash table is used before it is asked again.
const HOLDERS_FOR: Duration = Duration::from_secs(10);
/// How long the hash table is waited for: connected peers can be asked all the same.
const HOLDERS_WITHIN: Duration = Duration::from_secs(2);
/// Streams whose holders are remembered.
const MOST_HOLDERS: usize = 256;

/// Streams on the overlay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    mesh: MeshHandle,
    database: Database,
    segments: SegmentStore,
    known: Arc<Mutex<HashMap<StreamId, Arc<SignedManifest>>>>,
    /// Streams whose segments are here, which others are told.
    held: Arc<Mutex<BTreeMap<StreamId, Held>>>,
    /// Who said that they have a stream, and when they were asked.
    holders: Arc<Mutex<HashMap<StreamId, Holders>>>,
}

/// When it was asked who has a stream, and who said so.
type Holders = (Instant, Vec<PeerId>);

/// A stream that is here as a whole.
#[derive(Clone, Debug)]
struct Held {
    stream: Arc<SignedManifest>,
    /// It was published here, and stays.
    own: bool,
}

impl Sharing {
    /// Serves what is here, announces it, and copies announced streams if this node offers relay; `client` buys what their
    /// creators do not give any more.
    pub async fn start(
        parts: &EdgeParts,
        mesh: &MeshHandle,
        client: &SegmentClient,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let sharing = Self {
            mesh: mesh.clone(),
            database: parts.database.clone(),
            segments: parts.segments.clone(),
            known: Arc::default(),
            held: Arc::default(),
            holders: Arc::default(),
        };
        let own = parts.database.published_streams().await?;
        let relayed = parts.database.relayed_streams().await?;
        let (whole, evicted): (Vec<_>, Vec<_>) =
            relayed.into_iter().partition(|stream| sharing.has_all_of(stream));
        for stream in &evicted {
            parts.database.forget_relayed(stream.id()).await?;
        }
        let (holder, stopped) = (sharing.clone(), stop.clone());
        tasks.spawn(async move {
            let own = own.into_iter().map(|stream| (stream, true));
            for (stream, own) in own.chain(whole.into_iter().map(|stream| (stream, false))) {
                let held = holder.hold(Arc::new(stream), own);
                if stopped.run_until_cancelled(held).await.is_none() {
                    return;
                }
            }
        });
        serving::start(&sharing, tasks, stop).await?;
        announcement::start(&sharing, tasks, stop);
        if parts.settings.offer.places.get(&JobKind::Relay).is_some_and(|places| *places > 0) {
            let evicted = evicted.iter().map(SignedManifest::id).collect();
            copying::start(&sharing, parts, client.clone(), evicted, tasks, stop).await?;
        } else {
            // Heard only to be passed on.
            let mut heard = mesh.subscribe(edge_mesh::Topic::STREAMS).await?;
            tasks.spawn(async move { while heard.recv().await.is_some() {} });
        }
        Ok(sharing)
    }

    /// Takes up a stream that was published here: pins its segments, and tells others.
    pub async fn publish(&self, stream: SignedManifest) -> Result<(), crate::database::DatabaseError> {
        self.segments.pin(&stream);
        self.database.publish_stream(&stream).await?;
        let stream = Arc::new(stream);
        let id = stream.id();
        self.hold(stream, true).await;
        announcement::announce(self, id).await;
        Ok(())
    }

    /// The newest manifest of a stream that can be found: here, else at peers.
    pub async fn manifest(&self, id: StreamId) -> Result<Arc<SignedManifest>, SourceError> {
        if let Some(known) = self.manifest_here(id).await {
            return Ok(known);
        }
        let peers = self.peers_with(id).await;
        let mut answers: FuturesUnordered<_> =
            peers.into_iter().take(MOST_ASKED).map(|peer| wire::get_manifest(&self.mesh, peer, id)).collect();
        let mut best: Option<SignedManifest> = None;
        loop {
            let wait = if best.is_some() { NEWER_WITHIN } else { ONE_ANSWER };
            match tokio::time::timeout(wait, answers.next()).await {
                Ok(Some(Some(found))) => {
                    let newer =
                        best.as_ref().is_none_or(|b| found.manifest().revision > b.manifest().revision);
                    if newer {
                        best = Some(found);
                    }
                }
                Ok(Some(None)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let found = Arc::new(best.ok_or(SourceError::Unknown)?);
        self.remember(found.clone());
        Ok(found)
    }

    /// A segment from those who published the stream, free of charge.
    pub async fn segment_of_source(&self, stream: &SignedManifest, hash: ContentHash) -> Option<Bytes> {
        let size = stream.contents().find(|(content, _)| *content == hash).map(|(_, bytes)| bytes)?;
        for peer in self.sources_of(stream).await {
            if let Some(bytes) = wire::get_segment(&self.mesh, peer, stream.id(), hash, size).await {
                return Some(bytes);
            }
        }
        None
    }

    /// Peers that may have the stream: first those that said so, then all that are connected.
    pub async fn peers_with(&self, id: StreamId) -> Vec<PeerId> {
        let mut peers = self.holders_of(id).await;
        let known: HashSet<PeerId> = peers.iter().copied().collect();
        peers
            .extend(self.mesh.peers().into_iter().map(|info| info.peer).filter(|peer| !known.contains(peer)));
        peers
    }

    /// Peers that said they have the stream.
    async fn holders_of(&self, id: StreamId) -> Vec<PeerId> {
        let known = lock(&self.holders).get(&id).cloned();
        if let Some((asked, holders)) = &known
            && asked.elapsed() < HOLDERS_FOR
        {
            return holders.clone();
        }
        let asked = tokio::time::timeout(HOLDERS_WITHIN, self.mesh.providers(id.as_bytes())).await;
        let Ok(Ok(mut found)) = asked else { return known.map(|(_, holders)| holders).unwrap_or_default() };
        found.retain(|peer| *peer != self.mesh.local_peer());
        // Nobody yet may be somebody in a moment.
        if !found.is_empty() {
            let mut holders = lock(&self.holders);
            if holders.len() >= MOST_HOLDERS {
                holders.clear();
            }
            holders.insert(id, (Instant::now(), found.clone()));
        }
        found
    }

    /// Peers that act for the stream's creator; failing that, peers that have the stream and are not connected, so that it
    /// is not known for whom they act.
    async fn sources_of(&self, stream: &SignedManifest) -> Vec<PeerId> {
        let connected = self.mesh.peers();
        let mut sources: Vec<PeerId> = connected
            .iter()
            .filter(|info| info.wallet == stream.manifest().creator)
            .map(|info| info.peer)
            .collect();
        if sources.is_empty() {
            let said = self.holders_of(stream.id()).await;
            let strangers = said.into_iter().filter(|peer| !connected.iter().any(|info| info.peer == *peer));
            sources.extend(strangers.take(MOST_ASKED));
        }
        sources
    }

    /// Whether the stream's creator is connected to this node.
    fn sees_creator_of(&self, stream: &SignedManifest) -> bool {
        self.mesh.peers().iter().any(|info| info.wallet == stream.manifest().creator)
    }

    async fn manifest_here(&self, id: StreamId) -> Option<Arc<SignedManifest>> {
        if let Some(held) = lock(&self.held).get(&id) {
            return Some(held.stream.clone());
        }
        let known = lock(&self.known).get(&id).cloned();
        if known.is_some() {
            return known;
        }
        match self.database.published_stream(id).await {
            Ok(found) => found.map(Arc::new),
            Err(error) => {
                tracing::warn!(%error, "the published streams cannot be read");
                None
            }
        }
    }

    fn remember(&self, stream: Arc<SignedManifest>) {
        let mut known = lock(&self.known);
        if known.len() >= MOST_KNOWN
            && let Some(other) = known.keys().find(|id| **id != stream.id()).copied()
        {
            known.remove(&other);
        }
        known.insert(stream.id(), stream);
    }

    /// Says to others that the stream is here.
    async fn hold(&self, stream: Arc<SignedManifest>, own: bool) {
        let id = stream.id();
        lock(&self.held).insert(id, Held { stream, own });
        if let Err(error) = self.mesh.provide(id.as_bytes()).await {
            tracing::debug!(%error, %id, "others could not be told of a stream");
        }
    }

    /// Says no more that streams are here of which something was evicted. What was published here stays.
    async fn withdraw_evicted(&self) {
        let held: Vec<Held> = lock(&self.held).values().filter(|held| !held.own).cloned().collect();
        for Held { stream, .. } in held {
            if self.has_all_of(&stream) {
                continue;
            }
            let id = stream.id();
            tracing::info!(%id, "a stream is not relayed any more: a part of it made room for others");
            lock(&self.held).remove(&id);
            if let Err(error) = self.mesh.stop_providing(id.as_bytes()).await {
                tracing::debug!(%error, %id, "a stream could not be withdrawn");
            }
        }
    }

    fn has_all_of(&self, stream: &SignedManifest) -> bool {
        stream.contents().all(|(hash, _)| self.segments.contains(&hash))
    }

    fn holds(&self, id: StreamId) -> bool {
        lock(&self.held).contains_key(&id)
    }

    /// The streams that are here, in the order of their ids.
    fn held_streams(&self) -> Vec<StreamId> {
        lock(&self.held).keys().copied().collect()
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
