//! Tells other nodes of the streams that were published here.

use std::time::Duration;

use edge_mesh::{MeshError, Topic};
use edge_streams::StreamId;
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Sharing;

/// How often, so that edge nodes that come later hear of them too.
const EVERY: Duration = Duration::from_secs(15);
/// Streams that are announced in one round, the newest first.
const MOST: usize = 64;

/// That a stream exists, and the node that says so has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Announcement {
    pub stream: StreamId,
}

/// Announces one stream.
pub(super) async fn announce(sharing: &Sharing, stream: StreamId) {
    let Ok(bytes) = serde_json::to_vec(&Announcement { stream }) else { return };
    match sharing.mesh.publish(Topic::STREAMS, bytes).await {
        Ok(()) | Err(MeshError::NobodyListens) => {}
        Err(error) => tracing::debug!(%error, %stream, "a stream could not be announced"),
    }
}

pub(super) fn start(sharing: &Sharing, tasks: &TaskTracker, stop: &CancellationToken) {
    let (sharing, stop) = (sharing.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            match sharing.database.published_streams().await {
                Ok(streams) => {
                    for stream in streams.into_iter().take(MOST) {
                        if !sharing.holds(stream.id()) {
                            sharing.hold(stream.id()).await;
                        }
                        announce(&sharing, stream.id()).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "the published streams cannot be read"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    });
}
