//! Blocks that come in, one's own among them (spec 03 section 2.8).

use std::sync::Arc;

use theta_ledger::{BlockRules, execute_block};
use theta_types::{Block, BlockHash, Proposal, Transaction};

use super::{Engine, Now, Outgoing};
use crate::block_rules::{BlockRefusal, blame, check_alone, check_in_chain};
use crate::error::ChainError;
use crate::known::{Known, KnownBlocks};
use crate::status::BlockStatus;
use crate::store::{ChainBatch, Mark, TxPlace};

/// Blocks further above the tip than this are not taken (spec 03 section 2.11).
const MAX_AHEAD: u64 = 51;

impl Engine {
    /// A block of anybody: checked, executed when its parent was, else kept until its parent comes.
    pub(super) fn take_block(&mut self, block: Block, now: Now) -> Result<(), ChainError> {
        let refused = self.take_checked(Arc::new(block), now)?.err();
        self.step.output.refused = refused;
        Ok(())
    }

    /// An own block takes the same way as others' do. Only then is it proposed.
    pub(super) fn take_own_block(&mut self, block: Block, now: Now) -> Result<(), ChainError> {
        let hash = block.hash();
        match self.take_checked(Arc::new(block), now)? {
            Ok(()) => self.send_proposal(hash),
            Err(refusal) => {
                tracing::error!(%hash, %refusal, "own block is invalid and was not proposed");
                Ok(())
            }
        }
    }

    pub(super) fn send_proposal(&mut self, hash: BlockHash) -> Result<(), ChainError> {
        let Some(leaf) = self.tree.get(&hash) else {
            return Ok(());
        };
        let proposal = Proposal {
            block: (*leaf.known.block).clone(),
            proposer: self.address(),
            votes: self.votes_for_peers()?,
        };
        self.step.output.outgoing.push(Outgoing::Proposal(Box::new(proposal)));
        Ok(())
    }

    fn take_checked(&mut self, block: Arc<Block>, now: Now) -> Result<Result<(), BlockRefusal>, ChainError> {
        let hash = block.hash();
        let height = block.header.height;
        if self.tree.contains(&hash) {
            return Ok(Ok(()));
        }
        if self.invalid.contains(&hash) || self.invalid.contains(&block.header.parent) {
            self.invalid.insert(hash);
            return Ok(Err(BlockRefusal::Parent));
        }
        let final_height = self.last_final()?.known.height();
        if height <= final_height {
            // It may well be part of the chain: no reason to call it invalid.
            return Ok(Err(BlockRefusal::BelowFinal(final_height)));
        }
        if height.0 > self.tip(false)?.known.height().0.saturating_add(MAX_AHEAD) {
            return Ok(Ok(()));
        }
        // Not remembered: the hash does not cover the transactions, so the same header may come with the right ones.
        if let Err(refusal) = check_alone(&block, &self.network.rules) {
            return Ok(Err(refusal));
        }
        if !self.tree.contains(&block.header.parent) {
            if self.store.block(block.header.parent)?.is_some() {
                // Executed, but on a branch that lost.
                return Ok(Err(BlockRefusal::Parent));
            }
            self.step.output.missing = Some(block.header.parent);
            self.orphans.add(block);
            return Ok(Ok(()));
        }
        let taken = self.process(hash, Arc::clone(&block), now)?;
        if taken.is_ok() {
            self.take_orphans(hash, now)?;
        }
        Ok(taken)
    }

    /// Those that waited for this block, and those that waited for them.
    fn take_orphans(&mut self, parent: BlockHash, now: Now) -> Result<(), ChainError> {
        let mut parents = vec![parent];
        while let Some(parent) = parents.pop() {
            for block in self.orphans.take_children(&parent) {
                let hash = block.hash();
                if let Err(refusal) = self.process(hash, block, now)? {
                    tracing::debug!(%hash, %refusal, "block refused");
                } else {
                    parents.push(hash);
                }
            }
        }
        Ok(())
    }

    /// Checks and executes a block on its executed parent.
    fn process(
        &mut self,
        hash: BlockHash,
        block: Arc<Block>,
        now: Now,
    ) -> Result<Result<(), BlockRefusal>, ChainError> {
        let parent = self.leaf(block.header.parent)?.known.clone();
        let settled = self.last_final()?.known.height();
        if let Err(refusal) = check_in_chain(&block, &parent, self, &self.network.rules, settled)? {
            self.invalid.insert(hash);
            return Ok(Err(refusal));
        }
        let epoch_before = self.memory.epoch;
        let committed = self.known(block.header.hcc.block_hash)?.map(|committed| committed.height());
        // The certificate of a settled block was not looked at.
        let checked = committed.is_some_and(|height| height > settled);
        for vote in block.header.hcc.votes.iter() {
            if checked || vote.is_valid() {
                self.count_vote(vote)?;
            }
        }
        if self.memory.highest_commit != block.header.hcc.block_hash {
            self.check_commit(block.header.hcc.block_hash)?;
        }
        if let Err(refusal) = self.execute(hash, &block, &parent, now)? {
            self.invalid.insert(hash);
            return Ok(Err(refusal));
        }
        self.warn_of_second_proposal(hash, &block);
        if self.memory.epoch != epoch_before {
            self.enter_epoch(now)?;
        }
        // The votes of its proposal may have ended its epoch already.
        let epoch = self.memory.epoch;
        if block.header.epoch == epoch || block.header.epoch.next() == epoch {
            self.clock.block_processed = true;
            if self.clock.vote_time_came {
                self.vote()?;
            }
        }
        self.check_commit(hash)?;
        Ok(Ok(()))
    }

    fn execute(
        &mut self,
        hash: BlockHash,
        block: &Arc<Block>,
        parent: &Known,
        now: Now,
    ) -> Result<Result<(), BlockRefusal>, ChainError> {
        let validators = self.validators_after(parent)?;
        let rules = BlockRules::after(&self.network.rules, parent.height());
        let executed = match execute_block(rules, &validators, &self.leaf(parent.hash)?.state, block) {
            Ok(executed) => executed,
            Err(error) => return blame(error).map(Err),
        };
        let validator_update = executed.transactions.iter().any(changes_validators);
        let known = Known { hash, block: Arc::clone(block), status: BlockStatus::Valid, validator_update };
        self.step.batch.put_block(hash, block);
        self.step.batch.put_mark(known.height(), hash, Mark { status: known.status, validator_update });
        self.step.batch.put_nodes(executed.state.unsaved_nodes());
        self.put_new_places(hash, block)?;
        self.step.executed.push(hash);
        self.tree.add(known, executed.state);
        self.update_mempool(now)?;
        Ok(Ok(()))
    }

    /// Until one of them is final, the block that came first has a transaction (spec 03 section 2.13).
    fn put_new_places(&mut self, hash: BlockHash, block: &Block) -> Result<(), ChainError> {
        for (index, raw) in (0..).zip(&block.transactions) {
            let transaction = Transaction::hash_of_raw(raw);
            if self.store.place(&transaction)?.is_none() {
                self.step
                    .batch
                    .put_place(transaction, TxPlace { block: hash, height: block.header.height, index });
            }
        }
        Ok(())
    }

    /// Lets the mempool follow the tip.
    fn update_mempool(&mut self, now: Now) -> Result<(), ChainError> {
        let tip = self.tip(true)?;
        if tip.known.hash == self.mempool_tip {
            return Ok(());
        }
        let (known, state) = (tip.known.clone(), tip.state.clone());
        self.mempool_tip = known.hash;
        let rules = BlockRules::after(&self.network.rules, known.height());
        Ok(self.mempool.after_block(&rules, &state, &known.block.transactions, now.instant)?)
    }

    /// Two blocks of one proposer for one epoch: nothing punishes it, somebody should know.
    fn warn_of_second_proposal(&self, hash: BlockHash, block: &Block) {
        let header = &block.header;
        let other = self.tree.iter().find(|leaf| {
            leaf.known.header().epoch == header.epoch
                && leaf.known.header().proposer == header.proposer
                && leaf.known.hash != hash
        });
        if let Some(other) = other {
            tracing::warn!(proposer = %header.proposer, epoch = %header.epoch, one = %other.known.hash, two = %hash, "two proposals for one epoch");
        }
    }
}

/// Whether a transaction changes who the validators are in the way that the next two blocks have to confirm directly. Deposits and
/// withdrawals of validator stakes do; none of the kinds that are executed here is one.
fn changes_validators(transaction: &Transaction) -> bool {
    match transaction {
        Transaction::Coinbase(_)
        | Transaction::Send(_)
        | Transaction::ReserveFund(_)
        | Transaction::ReleaseFund(_)
        | Transaction::ServicePayment(_)
        | Transaction::SplitRule(_) => false,
    }
}
