//! Votes of validators, sets of them, and the certificates that they make up.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::{BlockHash, keccak256};
use crate::height::{Epoch, Height};
use crate::keys::SecretKey;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_list, rlp_structure};
use crate::signature::Signature;
use crate::validators::ValidatorSet;

/// One validator's vote for one block in one epoch (spec 01 section 7.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The block voted for.
    #[serde(rename = "Block")]
    pub block: BlockHash,
    /// The block's height. The signature does not cover it: take the height from the block.
    #[serde(rename = "Height")]
    pub height: Height,
    /// Epoch of the voter when it voted.
    #[serde(rename = "Epoch")]
    pub epoch: Epoch,
    /// The voter.
    #[serde(rename = "ID")]
    pub voter: Address,
    /// By the voter over [`Vote::sign_bytes`].
    #[serde(rename = "Signature")]
    pub signature: Signature,
}

rlp_structure!(Vote { block, height, epoch, voter, signature });

impl Vote {
    /// A signed vote.
    pub fn signed(block: BlockHash, height: Height, epoch: Epoch, key: &SecretKey) -> Self {
        let mut vote = Self { block, height, epoch, voter: key.address(), signature: Signature::empty() };
        vote.signature = key.sign(&vote.sign_bytes());
        vote
    }

    /// What the voter signs: the vote with height zero and without signature.
    pub fn sign_bytes(&self) -> Vec<u8> {
        Self { height: Height(0), signature: Signature::empty(), ..self.clone() }.to_rlp()
    }

    /// Names the vote: keccak256 of its RLP, height and signature included.
    pub fn hash(&self) -> alloy_primitives::B256 {
        keccak256(self.to_rlp())
    }

    /// Whether it names a block and a voter, and that voter signed it.
    pub fn is_valid(&self) -> bool {
        !self.block.is_zero()
            && !self.voter.is_zero()
            && self.signature.verify(&self.sign_bytes(), &self.voter)
    }
}

/// Votes, at most one per voter, block and epoch. In the order of voters, then epochs, then blocks: the order in which they are hashed
/// inside a header, whatever it was on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoteSet {
    votes: BTreeMap<(Address, Epoch, BlockHash), Vote>,
}

impl VoteSet {
    /// No votes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vote. It replaces an earlier one of the same voter, block and epoch.
    pub fn insert(&mut self, vote: Vote) {
        self.votes.insert((vote.voter, vote.epoch, vote.block), vote);
    }

    /// The votes in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Vote> {
        self.votes.values()
    }

    /// How many votes.
    pub fn len(&self) -> usize {
        self.votes.len()
    }

    /// True without votes.
    pub fn is_empty(&self) -> bool {
        self.votes.is_empty()
    }

    /// The voters, each once.
    pub fn voters(&self) -> BTreeSet<Address> {
        self.iter().map(|vote| vote.voter).collect()
    }

    /// The votes for one block.
    pub fn for_block(&self, block: BlockHash) -> VoteSet {
        self.iter().filter(|vote| vote.block == block).cloned().collect()
    }

    /// Each voter's vote of the highest epoch.
    pub fn latest_per_voter(&self) -> VoteSet {
        let mut latest = BTreeMap::new();
        for vote in self.iter() {
            // In order of epochs, so the last one stays.
            latest.insert(vote.voter, vote.clone());
        }
        latest.into_values().collect()
    }

    /// Each voter's vote of the highest epoch for each block.
    pub fn latest_per_voter_and_block(&self) -> VoteSet {
        let mut latest = BTreeMap::new();
        for vote in self.iter() {
            latest.insert((vote.voter, vote.block), vote.clone());
        }
        latest.into_values().collect()
    }
}

impl FromIterator<Vote> for VoteSet {
    fn from_iter<I: IntoIterator<Item = Vote>>(votes: I) -> Self {
        let mut set = Self::new();
        set.extend(votes);
        set
    }
}

impl Extend<Vote> for VoteSet {
    fn extend<I: IntoIterator<Item = Vote>>(&mut self, votes: I) {
        for vote in votes {
            self.insert(vote);
        }
    }
}

impl Encode for VoteSet {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            for vote in self.iter() {
                vote.encode_to(out);
            }
        });
    }
}

impl Decode for VoteSet {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut list = reader.list()?;
        let mut set = Self::new();
        while !list.is_empty() {
            set.insert(Vote::decode_from(&mut list)?);
        }
        Ok(set)
    }
}

impl Serialize for VoteSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for VoteSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<Vec<Vote>>::deserialize(deserializer)?.unwrap_or_default().into_iter().collect())
    }
}

/// Votes that commit a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitCertificate {
    /// The votes, all for the block.
    #[serde(rename = "Votes")]
    pub votes: VoteSet,
    /// The block.
    #[serde(rename = "BlockHash")]
    pub block_hash: BlockHash,
}

rlp_structure!(CommitCertificate { votes, block_hash });

impl CommitCertificate {
    /// Whether these votes commit the block for these validators: not none, not more than there are validators, no voter twice, each
    /// valid and for the block, and a majority of the stake. Votes of others may be among them, without weight.
    pub fn is_valid(&self, validators: &ValidatorSet) -> bool {
        let voters = self.votes.voters();
        !self.votes.is_empty()
            && voters.len() == self.votes.len()
            && self.votes.len() <= validators.len()
            && self.votes.iter().all(|vote| vote.block == self.block_hash && vote.is_valid())
            && validators.is_majority(&voters)
    }
}
