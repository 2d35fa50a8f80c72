//! Block headers.

use alloy_primitives::{Address, B256, Bloom};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::aggregated_votes::{EdgeNodeVotes, GuardianVotes};
use crate::chain_rules::ForkHeights;
use crate::hash::{BlockHash, keccak256};
use crate::height::{Epoch, Height, Timestamp};
use crate::keys::SecretKey;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_list};
use crate::signature::Signature;
use crate::vote::CommitCertificate;

/// How many items a header has on the wire. The network's rules say it by height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderForm {
    /// Twelve items.
    #[default]
    Plain,
    /// Thirteen: guardian votes, too.
    WithGuardians,
    /// Fourteen: guardian and edge node votes, too.
    WithEdgeNodes,
}

impl HeaderForm {
    /// The form of headers at this height.
    pub fn at(height: Height, forks: &ForkHeights) -> Self {
        if height < forks.theta2 {
            Self::Plain
        } else if height < forks.theta3 {
            Self::WithGuardians
        } else {
            Self::WithEdgeNodes
        }
    }
}

/// A block's header (spec 01 section 7.9). Fields in the order of the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// Which items the header has; [`HeaderForm::at`] its height.
    pub form: HeaderForm,
    /// The chain.
    pub chain_id: String,
    /// Epoch in which it was proposed.
    pub epoch: Epoch,
    /// Its height.
    pub height: Height,
    /// The block before it.
    pub parent: BlockHash,
    /// Votes that commit the highest block that the proposer knew as committed.
    pub hcc: CommitCertificate,
    /// Root of the trie over its transactions.
    pub tx_root: B256,
    /// Root over receipts: that of an empty trie, and nobody checks it.
    pub receipt_root: B256,
    /// All zero.
    pub bloom: Bloom,
    /// Root of the state after it.
    pub state_hash: B256,
    /// When it was proposed, by the proposer's clock.
    pub timestamp: Timestamp,
    /// Who proposed it.
    pub proposer: Address,
    /// By the proposer over [`BlockHeader::sign_bytes`].
    pub signature: Signature,
    /// Item 13: votes for an earlier checkpoint.
    pub guardian_votes: Option<GuardianVotes>,
    /// Item 14: votes for an earlier checkpoint.
    pub edge_node_votes: Option<EdgeNodeVotes>,
}

/// Why a header is refused, whatever chain it belongs to. Its sender made it up or is of another network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Of another chain.
    #[error("ChainID mismatch")]
    ChainId,
    /// It has no parent.
    #[error("Parent is empty")]
    NoParent,
    /// It commits nothing.
    #[error("HCC is empty")]
    NoCommit,
    /// Nobody proposed it.
    #[error("Proposer is not specified")]
    NoProposer,
    /// Nobody signed it.
    #[error("Block is not signed")]
    NotSigned,
    /// Somebody else signed it, or something else was signed.
    #[error("Signature verification failed")]
    Signature,
}

impl BlockHeader {
    /// The block's hash: keccak256 of the header's RLP, signature included.
    pub fn hash(&self) -> BlockHash {
        BlockHash(keccak256(self.to_rlp()))
    }

    /// What the proposer signs: the header's RLP without the signature.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_with(&Signature::empty(), &mut out);
        out
    }

    /// Signs as the proposer.
    pub fn sign(&mut self, key: &SecretKey) {
        self.signature = key.sign(&self.sign_bytes());
    }

    /// Checks what can be checked without the chain, in the reference's order.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn validate(&self, chain_id: &str) -> Result<(), HeaderError> {
        if self.chain_id != chain_id {
            return Err(HeaderError::ChainId);
        }
        if self.parent.is_zero() {
            return Err(HeaderError::NoParent);
        }
        if self.hcc.block_hash.is_zero() {
            return Err(HeaderError::NoCommit);
        }
        if self.proposer.is_zero() {
            return Err(HeaderError::NoProposer);
        }
        if self.signature.is_empty() {
            return Err(HeaderError::NotSigned);
        }
        if !self.signature.verify(&self.sign_bytes(), &self.proposer) {
            return Err(HeaderError::Signature);
        }
        Ok(())
    }

    /// Reads a buffer that holds exactly one header.
    ///
    /// # Errors
    /// Not RLP of a header, or not of the form that its height has.
    pub fn from_rlp(bytes: &[u8], forks: &ForkHeights) -> Result<Self, RlpError> {
        let mut reader = Reader::new(bytes);
        let header = Self::decode_from(&mut reader, forks)?;
        reader.finish()?;
        Ok(header)
    }

    /// Reads the next item.
    ///
    /// # Errors
    /// As [`BlockHeader::from_rlp`].
    pub fn decode_from(reader: &mut Reader<'_>, forks: &ForkHeights) -> Result<Self, RlpError> {
        let mut list = reader.list()?;
        let chain_id = std::str::from_utf8(list.string()?)
            .map_err(|_| RlpError::Refused("a chain id is text"))?
            .to_owned();
        let epoch = Decode::decode_from(&mut list)?;
        let height = Decode::decode_from(&mut list)?;
        let form = HeaderForm::at(height, forks);
        let header = Self {
            form,
            chain_id,
            epoch,
            height,
            parent: Decode::decode_from(&mut list)?,
            hcc: Decode::decode_from(&mut list)?,
            tx_root: Decode::decode_from(&mut list)?,
            receipt_root: Decode::decode_from(&mut list)?,
            bloom: Bloom::from(list.fixed::<256>()?),
            state_hash: Decode::decode_from(&mut list)?,
            timestamp: Decode::decode_from(&mut list)?,
            proposer: Decode::decode_from(&mut list)?,
            signature: Decode::decode_from(&mut list)?,
            guardian_votes: if form >= HeaderForm::WithGuardians { optional(&mut list)? } else { None },
            edge_node_votes: if form >= HeaderForm::WithEdgeNodes { optional(&mut list)? } else { None },
        };
        list.finish()?;
        Ok(header)
    }

    fn encode_with(&self, signature: &Signature, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            crate::rlp::encode_string(self.chain_id.as_bytes(), out);
            self.epoch.encode_to(out);
            self.height.encode_to(out);
            self.parent.encode_to(out);
            self.hcc.encode_to(out);
            self.tx_root.encode_to(out);
            self.receipt_root.encode_to(out);
            crate::rlp::encode_string(self.bloom.as_slice(), out);
            self.state_hash.encode_to(out);
            self.timestamp.encode_to(out);
            self.proposer.encode_to(out);
            signature.encode_to(out);
            if self.form >= HeaderForm::WithGuardians {
                encode_optional(self.guardian_votes.as_ref(), out);
            }
            if self.form >= HeaderForm::WithEdgeNodes {
                encode_optional(self.edge_node_votes.as_ref(), out);
            }
        });
    }
}

impl Encode for BlockHeader {
    fn encode_to(&self, out: &mut Vec<u8>) {
        self.encode_with(&self.signature, out);
    }
}

/// An absent item is an empty list.
fn encode_optional<T: Encode>(item: Option<&T>, out: &mut Vec<u8>) {
    match item {
        Some(item) => item.encode_to(out),
        None => out.push(0xc0),
    }
}

fn optional<T: Decode>(list: &mut Reader<'_>) -> Result<Option<T>, RlpError> {
    let item = list.raw_item()?;
    if item == [0xc0] { Ok(None) } else { T::from_rlp(item).map(Some) }
}

impl Serialize for BlockHeader {
    /// The reference's names; receipt root and bloom are left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("BlockHeader", 12)?;
        serialize_fields(self, &mut fields)?;
        fields.end()
    }
}

pub(crate) fn serialize_fields<S: SerializeStruct>(
    header: &BlockHeader,
    fields: &mut S,
) -> Result<(), S::Error> {
    fields.serialize_field("ChainID", &header.chain_id)?;
    fields.serialize_field("Epoch", &header.epoch)?;
    fields.serialize_field("Height", &header.height)?;
    fields.serialize_field("Parent", &header.parent)?;
    fields.serialize_field("HCC", &header.hcc)?;
    fields.serialize_field("GuardianVotes", &header.guardian_votes)?;
    fields.serialize_field("EliteEdgeNodeVotes", &header.edge_node_votes)?;
    fields.serialize_field("TxHash", &header.tx_root)?;
    fields.serialize_field("StateHash", &header.state_hash)?;
    // A JSON number, of any size.
    let timestamp = serde_json::value::RawValue::from_string(header.timestamp.to_string());
    fields.serialize_field("Timestamp", &timestamp.map_err(serde::ser::Error::custom)?)?;
    fields.serialize_field("Proposer", &header.proposer)?;
    fields.serialize_field("Signature", &header.signature)
}
