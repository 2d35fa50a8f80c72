//! The proof that a node acts for a wallet.

use libp2p::PeerId;
use theta_types::{Address, SecretKey, Signature};

/// The signature of a wallet's key over the id of a node: whoever holds the node's key acts for the wallet, on one
/// chain. Nodes exchange it when they connect, before anything else is asked or paid.
///
/// The signed message is the domain text, the chain's id and the bytes of the peer id, with a zero byte between
/// them; a chain's id holds no zero byte, so no two triples share a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletBinding {
    chain_id: String,
    wallet: Address,
    signature: Signature,
}

/// Why a binding proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The bytes are no binding.
    #[error("the bytes are no wallet binding")]
    Malformed,
    /// More bytes than a binding has.
    #[error("a wallet binding has at most {MAX_BINDING_BYTES} bytes")]
    TooLong,
    /// It is for another chain: an honest peer of another network.
    #[error("the peer is of chain {0}")]
    OtherChain(String),
    /// The wallet did not sign this peer's id.
    #[error("the signature is not of that wallet over this peer")]
    WrongSignature,
    /// None came in time.
    #[error("no wallet binding came in time")]
    Missing,
}

/// The largest encoded binding.
pub const MAX_BINDING_BYTES: usize = 2 + MAX_CHAIN_ID_BYTES + 20 + Signature::LENGTH;

/// The longest chain id.
pub const MAX_CHAIN_ID_BYTES: usize = 64;

const DOMAIN: &[u8] = b"thetis mesh wallet binding";
const VERSION: u8 = 1;

impl WalletBinding {
    /// Signs that `peer` acts for the wallet of `key` on the chain.
    pub fn sign(key: &SecretKey, chain_id: &str, peer: &PeerId) -> Self {
        Self {
            chain_id: chain_id.to_owned(),
            wallet: key.address(),
            signature: key.sign(&message(chain_id, peer)),
        }
    }

    /// The wallet, when it signed that `peer` acts for it on the chain.
    ///
    /// # Errors
    /// [`BindingError::OtherChain`] and [`BindingError::WrongSignature`].
    pub fn verify(&self, chain_id: &str, peer: &PeerId) -> Result<Address, BindingError> {
        if self.chain_id != chain_id {
            return Err(BindingError::OtherChain(self.chain_id.clone()));
        }
        if !self.signature.verify(&message(chain_id, peer), &self.wallet) {
            return Err(BindingError::WrongSignature);
        }
        Ok(self.wallet)
    }

    /// The wallet it claims.
    pub fn wallet(&self) -> Address {
        self.wallet
    }

    /// The bytes: version, length of the chain id, chain id, address, signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_BINDING_BYTES);
        bytes.push(VERSION);
        bytes.push(self.chain_id.len().min(MAX_CHAIN_ID_BYTES) as u8);
        bytes.extend_from_slice(self.chain_id.as_bytes());
        bytes.extend_from_slice(self.wallet.as_slice());
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`BindingError::TooLong`] and [`BindingError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BindingError> {
        if bytes.len() > MAX_BINDING_BYTES {
            return Err(BindingError::TooLong);
        }
        let malformed = BindingError::Malformed;
        let [VERSION, length, rest @ ..] = bytes else { return Err(malformed) };
        let length = usize::from(*length);
        if rest.len() != length + 20 + Signature::LENGTH {
            return Err(malformed);
        }
        let (chain_id, rest) = rest.split_at(length);
        let (wallet, signature) = rest.split_at(20);
        let chain_id = std::str::from_utf8(chain_id).map_err(|_| BindingError::Malformed)?;
        if !is_chain_id(chain_id) {
            return Err(malformed);
        }
        Ok(Self {
            chain_id: chain_id.to_owned(),
            wallet: Address::from_slice(wallet),
            signature: Signature::from(signature),
        })
    }
}

/// Chain ids that can be part of protocol names: 1 to 64 letters, digits, `-`, `_` and `.`.
pub(crate) fn is_chain_id(text: &str) -> bool {
    (1..=MAX_CHAIN_ID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn message(chain_id: &str, peer: &PeerId) -> Vec<u8> {
    [DOMAIN, chain_id.as_bytes(), &peer.to_bytes()].join(&0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::NodeKey;

    fn wallet() -> SecretKey {
        SecretKey::from_bytes(&[9; 32]).unwrap()
    }

    #[test]
    fn a_binding_survives_its_bytes_and_names_the_wallet() {
        let peer = NodeKey::generate().peer_id();
        let binding = WalletBinding::sign(&wallet(), "thetislocal", &peer);
        let read = WalletBinding::decode(&binding.encode()).unwrap();
        assert_eq!(read.verify("thetislocal", &peer), Ok(wallet().address()));
    }

    #[test]
    fn a_binding_of_another_peer_or_chain_proves_nothing() {
        let (peer, other) = (NodeKey::generate().peer_id(), NodeKey::generate().peer_id());
        let binding = WalletBinding::sign(&wallet(), "thetislocal", &peer);
        assert_eq!(binding.verify("thetislocal", &other), Err(BindingError::WrongSignature));
        assert_eq!(binding.verify("privatenet", &peer), Err(BindingError::OtherChain("thetislocal".into())));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let peer = NodeKey::generate().peer_id();
        let bytes = WalletBinding::sign(&wallet(), "c", &peer).encode();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let verdict = WalletBinding::decode(&changed).and_then(|binding| binding.verify("c", &peer));
            assert!(verdict.is_err(), "byte {index}: {verdict:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_binding_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(binding) = WalletBinding::decode(&bytes) {
                prop_assert_eq!(binding.encode(), bytes);
            }
        }
    }
}
