//! Streams on the overlay: who has which, their manifests, and the creator's own copy as the last resort.
//!
//! A manifest costs nothing and anybody may pass it on: its signature is checked by who gets it. The segments of a stream
//! that was published here are given to whoever asks, free of charge and as far as the upload limit goes: to edge nodes that
//! want to offer them, and to viewers whom no edge node could serve. An edge node that offers relay takes announced
//! streams into its segment store, and says then that it has them.

mod announcement;
mod copying;
mod serving;
mod wire;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use edge_jobs::{ContentHash, JobKind};
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
/// How long one peer gets to send a manifest or a segment.
const ONE_ANSWER: Duration = Duration::from_secs(15);
/// How long a newer revision is waited for once one manifest is there.
const NEWER_WITHIN: Duration = Duration::from_millis(400);
/// Manifests of other people's streams that are kept in memory.
const MOST_KNOWN: usize = 256;

/// Streams on the overlay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sharing {
    mesh: MeshHandle,
    database: Database,
    segments: SegmentStore,
    known: Arc<Mutex<HashMap<StreamId, Arc<SignedManifest>>>>,
    /// Streams whose segments are here, which others are told.
    held: Arc<Mutex<BTreeSet<StreamId>>>,
}

impl Sharing {
    /// Serves what is here, announces own streams, and copies announced ones if this node offers relay.
    pub async fn start(
        parts: &EdgeParts,
        mesh: &MeshHandle,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let sharing = Self {
            mesh: mesh.clone(),
            database: parts.database.clone(),
            segments: parts.segments.clone(),
            known: Arc::default(),
            held: Arc::default(),
        };
        let relayed = parts.database.relayed_streams().await?;
        for stream in relayed.iter().rev() {
            sharing.remember(Arc::new(stream.clone()));
        }
        let (holder, stopped) = (sharing.clone(), stop.clone());
        tasks.spawn(async move {
            let still_here =
                |stream: &&SignedManifest| stream.contents().all(|(hash, _)| holder.segments.contains(&hash));
            for stream in relayed.iter().filter(still_here) {
                if stopped.run_until_cancelled(holder.hold(stream.id())).await.is_none() {
                    return;
                }
            }
        });
        serving::start(&sharing, tasks, stop).await?;
        announcement::start(&sharing, tasks, stop);
        if parts.settings.offer.places.get(&JobKind::Relay).is_some_and(|places| *places > 0) {
            copying::start(&sharing, parts.governor.clone(), tasks, stop).await?;
        }
        Ok(sharing)
    }

    /// Takes up a stream that was published here: pins its segments, and tells others.
    pub async fn publish(&self, stream: SignedManifest) -> Result<(), crate::database::DatabaseError> {
        self.segments.pin(&stream);
        self.database.publish_stream(&stream).await?;
        let stream = Arc::new(stream);
        self.remember(stream.clone());
        self.hold(stream.id()).await;
        announcement::announce(self, stream.id()).await;
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

    /// Peers that said they have the stream; failing that, all that are connected.
    pub async fn peers_with(&self, id: StreamId) -> Vec<PeerId> {
        let said = self.mesh.providers(id.as_bytes()).await.unwrap_or_default();
        let mut peers: Vec<PeerId> =
            said.into_iter().filter(|peer| *peer != self.mesh.local_peer()).collect();
        let known: HashSet<PeerId> = peers.iter().copied().collect();
        peers
            .extend(self.mesh.peers().into_iter().map(|info| info.peer).filter(|peer| !known.contains(peer)));
        peers
    }

    /// Peers that act for the stream's creator.
    async fn sources_of(&self, stream: &SignedManifest) -> Vec<PeerId> {
        let creator = stream.manifest().creator;
        let connected = self.mesh.peers();
        let mut sources: Vec<PeerId> =
            connected.iter().filter(|info| info.wallet == creator).map(|info| info.peer).collect();
        if sources.is_empty() {
            let said = self.mesh.providers(stream.id().as_bytes()).await.unwrap_or_default();
            let strangers = said.into_iter().filter(|peer| !connected.iter().any(|info| info.peer == *peer));
            sources.extend(strangers.take(MOST_ASKED));
        }
        sources
    }

    async fn manifest_here(&self, id: StreamId) -> Option<Arc<SignedManifest>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
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
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN
            && let Some(other) = known.keys().find(|id| **id != stream.id()).copied()
        {
            known.remove(&other);
        }
        known.insert(stream.id(), stream);
    }

    /// Says to others that the stream is here.
    async fn hold(&self, id: StreamId) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        if let Err(error) = self.mesh.provide(id.as_bytes()).await {
            tracing::debug!(%error, %id, "others could not be told of a stream");
        }
    }

    fn holds(&self, id: StreamId) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}
