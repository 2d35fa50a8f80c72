//! Blocks and proposals.

use alloy_primitives::Address;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::chain_rules::ForkHeights;
use crate::hash::BlockHash;
use crate::header::{BlockHeader, serialize_fields};
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_list, encode_string};
use crate::vote::VoteSet;

/// A header with its transactions, raw as they were signed (spec 01 section 7.9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: BlockHeader,
    /// Raw transactions in order; the first is the proposer's coinbase.
    pub transactions: Vec<Vec<u8>>,
}

impl Block {
    /// The block's hash, which is its header's.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// Reads a buffer that holds exactly one block.
    ///
    /// # Errors
    /// Not RLP of a block, or a header that does not have the form of its height.
    pub fn from_rlp(bytes: &[u8], forks: &ForkHeights) -> Result<Self, RlpError> {
        let mut reader = Reader::new(bytes);
        let block = Self::decode_from(&mut reader, forks)?;
        reader.finish()?;
        Ok(block)
    }

    /// Reads the next item.
    ///
    /// # Errors
    /// As [`Block::from_rlp`].
    pub fn decode_from(reader: &mut Reader<'_>, forks: &ForkHeights) -> Result<Self, RlpError> {
        let mut list = reader.list()?;
        let header = BlockHeader::decode_from(&mut list, forks)?;
        let mut raw = list.list()?;
        list.finish()?;
        let mut transactions = Vec::new();
        while !raw.is_empty() {
            transactions.push(raw.string()?.to_vec());
        }
        Ok(Self { header, transactions })
    }
}

impl Encode for Block {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.header.encode_to(out);
            encode_list(out, |out| {
                for raw in &self.transactions {
                    encode_string(raw, out);
                }
            });
        });
    }
}

impl Serialize for Block {
    /// The header's fields, then `transactions` as base64.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Block", 13)?;
        serialize_fields(&self.header, &mut fields)?;
        let transactions: Vec<_> = self.transactions.iter().map(|raw| STANDARD.encode(raw)).collect();
        fields.serialize_field("transactions", &transactions)?;
        fields.end()
    }
}

/// A block on offer, with the votes that its proposer holds (spec 01 section 7.6). The proposal itself is not signed, its block is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    /// The block. One that is all default stands for none.
    pub block: Block,
    /// Who proposes.
    pub proposer: Address,
    /// Votes for earlier blocks.
    pub votes: VoteSet,
}

impl Proposal {
    /// Reads a buffer that holds exactly one proposal.
    ///
    /// # Errors
    /// Not RLP of a proposal.
    pub fn from_rlp(bytes: &[u8], forks: &ForkHeights) -> Result<Self, RlpError> {
        let mut reader = Reader::new(bytes);
        let mut list = reader.list()?;
        reader.finish()?;
        let proposal = Self {
            block: Block::decode_from(&mut list, forks)?,
            proposer: Decode::decode_from(&mut list)?,
            votes: Decode::decode_from(&mut list)?,
        };
        list.finish()?;
        Ok(proposal)
    }
}

impl Encode for Proposal {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.block.encode_to(out);
            self.proposer.encode_to(out);
            self.votes.encode_to(out);
        });
    }
}
