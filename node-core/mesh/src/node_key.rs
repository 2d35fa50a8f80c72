//! The node's own identity on the overlay.

use std::fmt;

use libp2p::{
    PeerId,
    identity::{Keypair, ed25519},
};
use zeroize::Zeroizing;

use crate::MeshError;

/// An ed25519 key: who the node is on the overlay. The caller keeps its 32 bytes; losing them costs the node its
/// place in other nodes' routing tables and standing, never money, since money belongs to the wallet's key.
#[derive(Clone)]
pub struct NodeKey(Keypair);

impl NodeKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The key whose secret is these 32 bytes.
    ///
    /// # Errors
    /// [`MeshError::NodeKey`] for another length.
    pub fn from_bytes(secret: &[u8]) -> Result<Self, MeshError> {
        let mut copy = Zeroizing::new(secret.to_vec());
        let secret =
            ed25519::SecretKey::try_from_bytes(copy.as_mut_slice()).map_err(|_| MeshError::NodeKey)?;
        Ok(Self(Keypair::from(ed25519::Keypair::from(secret))))
    }

    /// The 32 secret bytes, to be kept in a file that only the user can read. Wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        if let Ok(pair) = self.0.clone().try_into_ed25519() {
            bytes.copy_from_slice(pair.secret().as_ref());
        }
        bytes
    }

    /// The id that follows from the public key.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey(of {})", self.peer_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_kept_names_the_same_peer() {
        let key = NodeKey::generate();
        let again = NodeKey::from_bytes(key.to_bytes().as_slice()).unwrap();
        assert_eq!(key.peer_id(), again.peer_id());
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for length in [0, 31, 33, 64] {
            assert!(matches!(NodeKey::from_bytes(&vec![7; length]), Err(MeshError::NodeKey)), "{length}");
        }
    }
}
