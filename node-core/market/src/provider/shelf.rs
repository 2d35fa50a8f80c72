//! Where segments come from.

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::ContentHash;

/// The segments that this node has.
#[async_trait]
pub trait SegmentShelf: Send + Sync + 'static {
    /// A whole segment, verified against its hash; `None` when it is not here.
    async fn segment(&self, hash: ContentHash) -> std::io::Result<Option<Bytes>>;
}
