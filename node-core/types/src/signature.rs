//! Signatures as the chain carries them.

use std::fmt;

use alloy_primitives::Address;
use k256::ecdsa::{RecoveryId, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::keccak256;
use crate::keys::PublicKey;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_string};

/// A signature as raw bytes: R, S, V for one that can verify; empty for none; anything else is carried, and never verifies.
///
/// RLP is a string of any length, JSON `"0x…"`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// Bytes of a signature that can verify.
    pub const LENGTH: usize = 65;

    /// No signature.
    pub fn empty() -> Self {
        Self::default()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the holder of `address` signed `message` (spec 01 section 3.3). High s is fine, V is 0 to 3.
    pub fn verify(&self, message: &[u8], address: &Address) -> bool {
        self.recover(message).is_some_and(|signer| signer == *address)
    }

    /// The address that signed `message`, if any could have.
    pub fn recover(&self, message: &[u8]) -> Option<Address> {
        Some(self.recover_key(&keccak256(message).0)?.address())
    }

    /// The public key that signed the 32-byte hash, if any could have.
    pub fn recover_key(&self, hash: &[u8; 32]) -> Option<PublicKey> {
        let [rs @ .., v] = self.0.as_slice() else { return None };
        if rs.len() != 64 {
            return None;
        }
        let recovery = RecoveryId::from_byte(*v)?;
        let signature = k256::ecdsa::Signature::from_slice(rs).ok()?;
        // Recovery, unlike k256's verification, asks nothing of s but its range: high s is as good as low.
        VerifyingKey::recover_from_prehash(hash, &signature, recovery).ok().map(PublicKey)
    }
}

impl From<&[u8]> for Signature {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Signature {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature(0x{})", hex::encode(&self.0))
    }
}

impl Encode for Signature {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_string(&self.0, out);
    }
}

impl Decode for Signature {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(Self(reader.string()?.to_vec()))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::json::hex_bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::hex_bytes::deserialize(deserializer).map(Self)
    }
}
