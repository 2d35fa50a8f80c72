//! How a requester reaches a provider.

use async_trait::async_trait;
use edge_mesh::{MeshError, MeshHandle, PeerId, Protocol};
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of any kind.
pub trait MeshIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> MeshIo for T {}

/// A stream to a provider.
pub type BoxedStream = Box<dyn MeshIo>;

/// The provider cannot be reached now. Another one may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider cannot be reached: {0}")]
pub struct DialError(pub String);

/// Opens streams to providers.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// A stream to a peer that speaks the protocol.
    async fn open(&self, peer: PeerId, protocol: Protocol) -> Result<BoxedStream, DialError>;
}

#[async_trait]
impl Dialer for MeshHandle {
    async fn open(&self, peer: PeerId, protocol: Protocol) -> Result<BoxedStream, DialError> {
        match MeshHandle::open(self, peer, protocol).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(dial_error(&error)),
        }
    }
}

fn dial_error(error: &MeshError) -> DialError {
    DialError(error.to_string())
}
