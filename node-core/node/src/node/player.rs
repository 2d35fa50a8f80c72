//! Streams on this machine: the origin that players ask, and where it takes segments from.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::ContentHash;
use edge_market::requester::SegmentWish;
use edge_streams::{Origin, SignedManifest, SourceError, StreamId, StreamSource};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    edge::{Edge, EdgeParts, EdgeState},
    serve_http,
};

/// Serves the origin; gives its address, e.g. `http://127.0.0.1:8089`.
pub(super) async fn start(
    parts: &EdgeParts,
    edge: watch::Receiver<EdgeState>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<String> {
    let viewer = Viewer { wallet: parts.wallet.clone(), edge };
    let origin = Origin::new(parts.segments.clone(), Arc::new(viewer));
    let listen = parts.settings.player.listen;
    let address = serve_http("the player", listen, |_| origin.router(), tasks, stop).await?;
    Ok(format!("http://{address}"))
}

/// Takes segments from edge nodes, who are paid for each, and from the stream's creator when none delivers in time.
struct Viewer {
    wallet: theta_wallet::Wallet,
    edge: watch::Receiver<EdgeState>,
}

impl Viewer {
    fn edge(&self) -> Result<Edge, SourceError> {
        match &*self.edge.borrow() {
            EdgeState::Running(edge) => Ok(edge.clone()),
            EdgeState::Failed(why) => {
                Err(SourceError::Refused(format!("it could not join the overlay: {why}")))
            }
            EdgeState::Off if self.wallet.is_locked() => {
                Err(SourceError::Refused("its wallet is locked".into()))
            }
            EdgeState::Off => Err(SourceError::Refused("it has not joined the overlay".into())),
        }
    }
}

#[async_trait]
impl StreamSource for Viewer {
    async fn manifest(&self, stream: StreamId) -> Result<Arc<SignedManifest>, SourceError> {
        self.edge()?.manifest(stream).await
    }

    async fn segment(&self, stream: &SignedManifest, hash: ContentHash) -> Result<Bytes, SourceError> {
        let edge = self.edge()?;
        let size = stream.contents().find(|(content, _)| *content == hash).map(|(_, bytes)| bytes);
        let size = size.ok_or_else(|| SourceError::Unavailable("it is no part of the stream".into()))?;
        let peers = edge.sharing.peers_with(stream.id()).await;
        let wish = SegmentWish { hash, bytes: size, peers: &peers, highest_price: None };
        match edge.segments.fetch_or(&wish, edge.sharing.segment_of_source(stream, hash)).await {
            Ok(fetched) => Ok(fetched.bytes),
            Err(why) => Err(SourceError::Unavailable(why.to_string())),
        }
    }
}
