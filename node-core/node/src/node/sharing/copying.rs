//! Takes announced streams into the segment store of a node that offers relay.

use std::sync::Arc;

use edge_mesh::{PeerId, Topic};
use edge_streams::{SignedManifest, StoreError};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Sharing, announcement::Announcement, wire};
use crate::governor::Governor;

/// Announcements that wait to be looked at; more are dropped, and come again.
const MOST_WAITING: usize = 64;
/// Segments that are fetched at a time.
const AT_ONCE: usize = 4;

/// Listens for announcements, and copies one stream at a time while the governor lets this node work.
pub(super) async fn start(
    sharing: &Sharing,
    governor: Governor,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut heard = sharing.mesh.subscribe(Topic::STREAMS).await?;
    let (sender, mut waiting) = mpsc::channel(MOST_WAITING);
    tasks.spawn(async move {
        while let Some((peer, _, bytes)) = heard.recv().await {
            if let Ok(Announcement { stream }) = serde_json::from_slice(&bytes)
                && let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send((peer, stream))
            {
                return;
            }
        }
    });
    let (sharing, stop) = (sharing.clone(), stop.clone());
    tasks.spawn(async move {
        while let Some(Some((peer, stream))) = stop.run_until_cancelled(waiting.recv()).await {
            if governor.halted().borrow().is_some() || sharing.is_whole(stream).await {
                continue;
            }
            let Some(manifest) = wire::get_manifest(&sharing.mesh, peer, stream).await else { continue };
            let mut halted = governor.halted();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = halted.wait_for(Option::is_some) => {}
                () = sharing.copy(peer, manifest) => {}
            }
        }
    });
    Ok(())
}

impl Sharing {
    /// Whether the stream is known, and nothing of it is missing here.
    async fn is_whole(&self, id: edge_streams::StreamId) -> bool {
        let Some(known) = self.manifest_here(id).await else { return false };
        self.holds(id) && known.contents().all(|(hash, _)| self.segments.contains(&hash))
    }

    /// Fetches what is missing from the node that announced the stream, and says then that it is here.
    async fn copy(&self, peer: PeerId, stream: SignedManifest) {
        let (id, size) = (stream.id(), stream.contents().map(|(_, bytes)| bytes).sum::<u64>());
        let cap = self.segments.usage().cap;
        if size > cap {
            return tracing::debug!(%id, size, cap, "a stream is larger than the whole cache");
        }
        let missing: Vec<_> = stream.contents().filter(|(hash, _)| !self.segments.contains(hash)).collect();
        let fetched = futures::stream::iter(missing)
            .map(|(hash, bytes)| async move {
                let content = wire::get_segment(&self.mesh, peer, id, hash, bytes).await?;
                match self.segments.put(hash, content).await {
                    Ok(()) => Some(()),
                    Err(error @ (StoreError::DiskFull | StoreError::AboveCap { .. })) => {
                        tracing::warn!(%error, %id, "a segment is not kept");
                        None
                    }
                    Err(error) => {
                        tracing::warn!(%error, %id, "a segment could not be kept");
                        None
                    }
                }
            })
            .buffer_unordered(AT_ONCE);
        let got = fetched.filter(|kept| std::future::ready(kept.is_some())).count().await;
        let stream = Arc::new(stream);
        let complete = stream.contents().all(|(hash, _)| self.segments.contains(&hash));
        if !complete {
            return tracing::debug!(%id, got, "a stream could not be copied whole; it is tried again");
        }
        if let Err(error) = self.database.relay_stream(&stream).await {
            tracing::warn!(%error, "a relayed stream could not be recorded");
        }
        tracing::info!(%id, size, "a stream is here to be relayed");
        self.remember(stream);
        self.hold(id).await;
    }
}
