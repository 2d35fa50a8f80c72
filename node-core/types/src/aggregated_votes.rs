//! Votes of guardians and elite edge nodes, added up, as headers carry them.
//!
//! Here they are values that keep a header's bytes. Their signatures are BLS points, which nothing in this crate checks.

use alloy_primitives::{Address, B256};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::hash::BlockHash;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_string, rlp_structure};

/// Bytes of a compressed BLS signature.
const BLS_SIGNATURE_LENGTH: usize = 96;

/// A BLS signature as bytes: 96 of them, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlsSignature(Vec<u8>);

impl BlsSignature {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Encode for BlsSignature {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_string(&self.0, out);
    }
}

impl Decode for BlsSignature {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let bytes = reader.string()?;
        // Bytes after the 96th are ignored, and not written again (spec 01 section 4.4).
        match bytes.get(..BLS_SIGNATURE_LENGTH) {
            Some(used) => Ok(Self(used.to_vec())),
            None if bytes.is_empty() => Ok(Self::default()),
            None => Err(RlpError::WrongSize { expected: BLS_SIGNATURE_LENGTH, found: bytes.len() }),
        }
    }
}

impl Serialize for BlsSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The reference has no JSON form for BLS values: it shows an empty object.
        serializer.serialize_map(Some(0))?.end()
    }
}

/// Guardian votes for a checkpoint (spec 01 section 7.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuardianVotes {
    /// The block voted for.
    #[serde(rename = "Block")]
    pub block: BlockHash,
    /// Hash of the guardian pool that the multiplicities count.
    #[serde(rename = "Gcp")]
    pub pool_hash: B256,
    /// How often each guardian's signature is in the sum.
    #[serde(rename = "Multiplies")]
    pub multiplies: Vec<u32>,
    /// The sum.
    #[serde(rename = "Signature")]
    pub signature: BlsSignature,
}

rlp_structure!(GuardianVotes { block, pool_hash, multiplies, signature });

/// Elite edge node votes for a checkpoint (spec 01 section 7.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EdgeNodeVotes {
    /// The block voted for.
    #[serde(rename = "Block")]
    pub block: BlockHash,
    /// How often each node's signature is in the sum.
    #[serde(rename = "Multiplies")]
    pub multiplies: Vec<u32>,
    /// The nodes.
    #[serde(rename = "Addresses")]
    pub addresses: Vec<Address>,
    /// The sum.
    #[serde(rename = "Signature")]
    pub signature: BlsSignature,
}

rlp_structure!(EdgeNodeVotes { block, multiplies, addresses, signature });
