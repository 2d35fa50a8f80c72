//! Commits and finality (spec 03 section 2.7).

use theta_types::{BlockHash, Transaction};

use super::Engine;
use crate::error::ChainError;
use crate::known::{Known, KnownBlocks};
use crate::status::BlockStatus;
use crate::store::{ChainBatch, Mark, TxPlace};

impl Engine {
    /// Commits the block if a majority voted for it.
    pub(super) fn check_commit(&mut self, hash: BlockHash) -> Result<(), ChainError> {
        let Some(leaf) = self.tree.get(&hash) else {
            return Ok(());
        };
        let block = leaf.known.clone();
        let highest = self.leaf(self.memory.highest_commit)?.known.height();
        if block.status != BlockStatus::Valid || block.height() <= highest {
            return Ok(());
        }
        if self.validators_of(&block)?.is_majority(self.votes.voters(&hash)) {
            self.commit_block(&block)?;
        }
        Ok(())
    }

    /// A committed block that commits its own parent makes that one final.
    fn commit_block(&mut self, block: &Known) -> Result<(), ChainError> {
        let parent = block.header().parent;
        if parent == block.header().hcc.block_hash && !self.finalize(parent)? {
            return Ok(());
        }
        self.memory.highest_commit = block.hash;
        self.step.memory_changed = true;
        self.set_status(block, BlockStatus::Committed);
        Ok(())
    }

    /// Makes a block and all its ancestors final. `false` when that would contradict what is final already.
    fn finalize(&mut self, hash: BlockHash) -> Result<bool, ChainError> {
        let last_final = self.memory.last_final;
        if hash == last_final {
            return Ok(true);
        }
        let path = self.tree.path_from_root(hash);
        let from = match &path {
            Some(_) if last_final == self.tree.root() => Some(0),
            // Another block became final in the same step.
            Some(path) => path.iter().position(|block| block.hash == last_final).map(|at| at + 1),
            None => None,
        };
        let (Some(path), Some(from)) = (path, from) else {
            // Possible only if more than a third of the stake voted twice.
            tracing::error!(%hash, %last_final, "a block that conflicts with the final chain has a majority: not followed");
            return Ok(false);
        };
        for block in &path[from..] {
            let directly = block.hash == hash;
            let status =
                if directly { BlockStatus::DirectlyFinalized } else { BlockStatus::IndirectlyFinalized };
            self.set_status(block, status);
            self.put_final_places(block)?;
            self.step.output.finalized.push((block.height(), block.hash));
        }
        self.memory.last_final = hash;
        self.step.memory_changed = true;
        Ok(true)
    }

    /// The places of its transactions count from now on, whatever other blocks they are in.
    fn put_final_places(&mut self, block: &Known) -> Result<(), ChainError> {
        for (index, raw) in (0..).zip(&block.block.transactions) {
            let transaction = Transaction::hash_of_raw(raw);
            let place = TxPlace { block: block.hash, height: block.height(), index };
            if self.store.place(&transaction)? != Some(place) {
                self.step.batch.put_place(transaction, place);
            }
        }
        Ok(())
    }

    fn set_status(&mut self, block: &Known, status: BlockStatus) {
        self.tree.set_status(&block.hash, status);
        let mark = Mark { status, validator_update: block.validator_update };
        self.step.batch.put_mark(block.height(), block.hash, mark);
    }
}
