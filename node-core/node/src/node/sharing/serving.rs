//! Gives manifests to whoever asks, and segments of own streams.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edge_jobs::read_frame_async;
use edge_mesh::{MeshStream, Protocol};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    SOURCE, Sharing,
    wire::{ManifestRequest, SegmentRequest, answer},
};

/// Requests of each kind that are served at a time; one more is dropped.
const MOST_AT_ONCE: usize = 32;
/// How long one request may take, its bytes included.
const ONE_REQUEST: Duration = Duration::from_secs(60);

pub(super) async fn start(
    sharing: &Sharing,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    serve(sharing, Protocol::MANIFESTS, Sharing::answer_manifest, tasks, stop).await?;
    serve(sharing, SOURCE, Sharing::answer_segment, tasks, stop).await
}

async fn serve<F>(
    sharing: &Sharing,
    protocol: Protocol,
    one: impl Fn(Sharing, MeshStream) -> F + Copy + Send + 'static,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), edge_jobs::FrameError>> + Send,
{
    let mut incoming = sharing.mesh.accept(protocol).await?;
    let (places, stop) = (Arc::new(Semaphore::new(MOST_AT_ONCE)), stop.clone());
    let (sharing, their_tasks) = (sharing.clone(), tasks.clone());
    tasks.spawn(async move {
        while let Some((peer, _, stream)) = incoming.next().await {
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (sharing, stop) = (sharing.clone(), stop.clone());
            their_tasks.spawn(async move {
                let served = tokio::time::timeout(ONE_REQUEST, one(sharing, stream));
                if let Some(Ok(Err(error))) = stop.run_until_cancelled(served).await {
                    tracing::debug!(%peer, %error, "a request for a stream broke off");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

impl Sharing {
    async fn answer_manifest(self, mut stream: MeshStream) -> Result<(), edge_jobs::FrameError> {
        let Some(ManifestRequest { stream: id }) = read_frame_async(&mut stream).await? else {
            return Ok(());
        };
        let found = self.manifest_here(id).await;
        answer(&mut stream, found.as_ref().map(|found| found.bytes())).await
    }

    /// Only what was published here is free; what this node relays for others is sold.
    async fn answer_segment(self, mut stream: MeshStream) -> Result<(), edge_jobs::FrameError> {
        while let Some(SegmentRequest { stream: id, hash }) = read_frame_async(&mut stream).await? {
            let content = self.own_segment(id, hash).await;
            answer(&mut stream, content.as_deref()).await?;
        }
        Ok(())
    }

    async fn own_segment(&self, id: edge_streams::StreamId, hash: edge_jobs::ContentHash) -> Option<Bytes> {
        let published = self.database.published_stream(id).await.ok()??;
        if !published.contents().any(|(content, _)| content == hash) {
            return None;
        }
        self.segments.get(hash).await.ok()?
    }
}
