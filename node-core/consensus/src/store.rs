//! The chain in its database: which table holds what, in which form.

use std::sync::Arc;

use theta_state::{Batch, ChainDb, Table, Trie};
use theta_types::rlp::{Reader, encode_list};
use theta_types::{B256, Block, BlockHash, ChainRules, Decode, Encode, Height, RlpError, TxHash, VoteSet};

use crate::error::ChainError;
use crate::memory::Memory;
use crate::status::BlockStatus;

/// Typed access to a [`ChainDb`]. Only blocks that were executed are in it.
///
/// | Table | Key | Value |
/// |---|---|---|
/// | nodes | hash | trie node |
/// | blocks | hash | RLP of the block |
/// | heights | height, 8 bytes big-endian, then hash | [`Mark`] |
/// | transactions | hash | [`TxPlace`] |
/// | consensus | `memory` | [`Memory`] |
/// | consensus | `latest-votes` | each voter's latest vote |
/// | consensus | `votes/`, hash of a block | the votes for it |
#[derive(Debug, Clone)]
pub(crate) struct ChainStore {
    db: ChainDb,
    rules: ChainRules,
}

/// What is known of a stored block besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) status: BlockStatus,
    /// It changed who the validators are, in a way that its next two descendants have to confirm directly (spec 03 section 2.8).
    pub(crate) validator_update: bool,
}

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxPlace {
    /// The block.
    pub block: BlockHash,
    /// Its height.
    pub height: Height,
    /// Position in the block, from 0.
    pub index: u64,
}

const MEMORY: &[u8] = b"memory";
const LATEST_VOTES: &[u8] = b"latest-votes";
const VOTES: &[u8] = b"votes/";

impl ChainStore {
    pub(crate) fn new(db: ChainDb, rules: ChainRules) -> Self {
        Self { db, rules }
    }

    pub(crate) fn db(&self) -> &ChainDb {
        &self.db
    }

    pub(crate) fn block(&self, hash: BlockHash) -> Result<Option<Block>, ChainError> {
        let Some(bytes) = self.db.get(Table::Blocks, hash.as_bytes())? else {
            return Ok(None);
        };
        let block = Block::from_rlp(&bytes, &self.rules.forks)
            .map_err(|error| ChainError::damaged(format!("block {hash}: {error}")))?;
        if block.hash() != hash {
            return Err(ChainError::damaged(format!("block {hash} is stored as another block")));
        }
        Ok(Some(block))
    }

    pub(crate) fn mark(&self, height: Height, hash: BlockHash) -> Result<Option<Mark>, ChainError> {
        let bytes = self.db.get(Table::Heights, &height_key(height, hash))?;
        bytes.map(|bytes| read(&bytes, "mark of a block")).transpose()
    }

    /// All stored blocks of a height.
    pub(crate) fn blocks_at(&self, height: Height) -> Result<Vec<(BlockHash, Mark)>, ChainError> {
        let from = height.0.to_be_bytes();
        let mut found = Vec::new();
        let mut next = from.to_vec();
        // Forks are few, so the first page is nearly always the last.
        const PAGE: usize = 16;
        loop {
            let page = self.db.scan(Table::Heights, &next, PAGE)?;
            let full = page.len() == PAGE;
            for (key, value) in page {
                let Some(hash) = key.strip_prefix(&from) else {
                    return Ok(found);
                };
                let hash = <[u8; 32]>::try_from(hash)
                    .map_err(|_| ChainError::damaged(format!("index of height {height}")))?;
                found.push((BlockHash(B256::from(hash)), read(&value, "mark of a block")?));
                next = [&key[..], &[0]].concat();
            }
            if !full {
                return Ok(found);
            }
        }
    }

    /// The final block of a height.
    pub(crate) fn final_at(&self, height: Height) -> Result<Option<BlockHash>, ChainError> {
        let blocks = self.blocks_at(height)?;
        Ok(blocks.into_iter().find(|(_, mark)| mark.status.is_final()).map(|(hash, _)| hash))
    }

    pub(crate) fn place(&self, transaction: &TxHash) -> Result<Option<TxPlace>, ChainError> {
        let bytes = self.db.get(Table::Transactions, transaction.as_bytes())?;
        bytes.map(|bytes| read(&bytes, "place of a transaction")).transpose()
    }

    pub(crate) fn state(&self, root: B256) -> Result<Trie, ChainError> {
        Ok(Trie::open(Arc::new(self.db.clone()), root)?)
    }

    pub(crate) fn memory(&self) -> Result<Option<Memory>, ChainError> {
        let bytes = self.db.get(Table::Consensus, MEMORY)?;
        bytes.map(|bytes| read(&bytes, "consensus state")).transpose()
    }

    pub(crate) fn latest_votes(&self) -> Result<VoteSet, ChainError> {
        let bytes = self.db.get(Table::Consensus, LATEST_VOTES)?;
        bytes.map_or_else(|| Ok(VoteSet::new()), |bytes| read(&bytes, "latest votes"))
    }

    /// The votes for all blocks that votes are kept for.
    pub(crate) fn votes(&self) -> Result<Vec<(BlockHash, VoteSet)>, ChainError> {
        let mut votes = Vec::new();
        for (key, value) in self.db.scan(Table::Consensus, VOTES, usize::MAX)? {
            let Some(hash) = key.strip_prefix(VOTES) else { break };
            let hash = <[u8; 32]>::try_from(hash).map_err(|_| ChainError::damaged("index of votes"))?;
            votes.push((BlockHash(B256::from(hash)), read(&value, "votes for a block")?));
        }
        Ok(votes)
    }
}

/// What the store writes. Nothing is stored before the batch is committed.
pub(crate) trait ChainBatch {
    fn put_block(&mut self, hash: BlockHash, block: &Block);
    fn put_mark(&mut self, height: Height, hash: BlockHash, mark: Mark);
    fn put_place(&mut self, transaction: TxHash, place: TxPlace);
    fn put_memory(&mut self, memory: &Memory);
    fn put_latest_votes(&mut self, votes: &VoteSet);
    fn put_votes(&mut self, block: BlockHash, votes: &VoteSet);
    fn delete_votes(&mut self, block: BlockHash);
}

impl ChainBatch for Batch {
    fn put_block(&mut self, hash: BlockHash, block: &Block) {
        self.put(Table::Blocks, hash.as_bytes(), block.to_rlp());
    }

    fn put_mark(&mut self, height: Height, hash: BlockHash, mark: Mark) {
        self.put(Table::Heights, height_key(height, hash), mark.to_rlp());
    }

    fn put_place(&mut self, transaction: TxHash, place: TxPlace) {
        self.put(Table::Transactions, transaction.as_bytes(), place.to_rlp());
    }

    fn put_memory(&mut self, memory: &Memory) {
        self.put(Table::Consensus, MEMORY, memory.to_rlp());
    }

    fn put_latest_votes(&mut self, votes: &VoteSet) {
        self.put(Table::Consensus, LATEST_VOTES, votes.to_rlp());
    }

    fn put_votes(&mut self, block: BlockHash, votes: &VoteSet) {
        self.put(Table::Consensus, votes_key(block), votes.to_rlp());
    }

    fn delete_votes(&mut self, block: BlockHash) {
        self.delete(Table::Consensus, votes_key(block));
    }
}

fn height_key(height: Height, hash: BlockHash) -> Vec<u8> {
    [&height.0.to_be_bytes(), hash.as_bytes()].concat()
}

fn votes_key(block: BlockHash) -> Vec<u8> {
    [VOTES, block.as_bytes()].concat()
}

pub(crate) fn read<T: Decode>(bytes: &[u8], what: &str) -> Result<T, ChainError> {
    T::from_rlp(bytes).map_err(|error| ChainError::damaged(format!("{what}: {error}")))
}

impl Encode for Mark {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.status.number().encode_to(out);
            self.validator_update.encode_to(out);
        });
    }
}

impl Decode for Mark {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut items = reader.list()?;
        let status =
            BlockStatus::from_number(items.u16()?).ok_or(RlpError::Refused("an unknown block status"))?;
        let mark = Self { status, validator_update: items.bool()? };
        items.finish()?;
        Ok(mark)
    }
}

impl Encode for TxPlace {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.block.encode_to(out);
            self.height.encode_to(out);
            self.index.encode_to(out);
        });
    }
}

impl Decode for TxPlace {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut items = reader.list()?;
        let place = Self {
            block: Decode::decode_from(&mut items)?,
            height: Decode::decode_from(&mut items)?,
            index: items.u64()?,
        };
        items.finish()?;
        Ok(place)
    }
}
