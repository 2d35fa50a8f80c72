//! How a requester reaches a provider.

use async_trait::async_trait;
use edge_mesh::{MeshHandle, PeerId, Protocol};
use theta_types::Address;
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
    /// A stream to a peer that speaks the protocol and has proven that it acts for `wallet`.
    ///
    /// An offer names a peer, and whoever signs one may name another's. Vouchers that are made out to the signer would then
    /// go to somebody who cannot use them, and work would be asked of somebody who never offered it.
    async fn open(&self, peer: PeerId, wallet: Address, protocol: Protocol)
    -> Result<BoxedStream, DialError>;
}

#[async_trait]
impl Dialer for MeshHandle {
    async fn open(
        &self,
        peer: PeerId,
        wallet: Address,
        protocol: Protocol,
    ) -> Result<BoxedStream, DialError> {
        let stream = MeshHandle::open(self, peer, protocol).await;
        let stream = stream.map_err(|error| DialError(error.to_string()))?;
        match self.wallet_of(peer) {
            Some(proven) if proven == wallet => Ok(Box::new(stream)),
            Some(_) => Err(DialError("the peer of its offer acts for another wallet".into())),
            None => Err(DialError("the connection closed".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use edge_mesh::{Mesh, MeshConfig, NodeKey};
    use theta_types::SecretKey;

    use super::*;

    async fn node() -> MeshHandle {
        let config = MeshConfig::loopback(NodeKey::generate(), "thetislocal");
        Mesh::start(config, &SecretKey::random().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_peer_that_acts_for_another_wallet_than_its_offer_says_is_not_used() {
        let (requester, provider) = (node().await, node().await);
        let mut incoming = provider.accept(Protocol::JOBS).await.unwrap();
        let peer = requester.dial(provider.listen_addresses()[0].clone()).await.unwrap();
        let dialer: &dyn Dialer = &requester;
        dialer.open(peer, provider.wallet(), Protocol::JOBS).await.unwrap();
        assert_eq!(incoming.next().await.unwrap().1, requester.wallet());
        let another = Address::repeat_byte(7);
        let refused = dialer.open(peer, another, Protocol::JOBS).await.err().unwrap();
        assert_eq!(refused, DialError("the peer of its offer acts for another wallet".into()));
    }
}
