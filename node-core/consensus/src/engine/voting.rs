//! Votes: counting those that come, and casting one's own (spec 03 sections 2.6 and 2.10).

use std::collections::BTreeSet;
use std::sync::Arc;

use theta_types::{Address, BlockHash, Epoch, ValidatorSet, Vote, VoteSet};

use super::{Engine, Outgoing, Own};
use crate::error::ChainError;
use crate::known::KnownBlocks;

/// Votes of so many epochs ago are of no use any more: about a week.
const OUTDATED_AFTER: u64 = 100_800;

/// Whose votes are counted, as long as neither of the two blocks changes.
#[derive(Debug)]
pub(super) struct Electorate {
    of: (BlockHash, BlockHash),
    /// Their votes end epochs.
    ends_epochs: ValidatorSet,
    /// All who may vote on blocks that are not final yet. Votes of others would only fill memory.
    everybody: BTreeSet<Address>,
}

impl Engine {
    /// A vote that came by itself.
    pub(super) fn take_vote(&mut self, vote: &Vote) -> Result<(), ChainError> {
        if vote.epoch.0.saturating_add(OUTDATED_AFTER) < self.memory.epoch.0 || !vote.is_valid() {
            return Ok(());
        }
        if self.count_vote(vote)? {
            self.step.epoch_over = true;
        }
        if self.tree.contains(&vote.block) {
            self.check_commit(vote.block)?;
        } else if self.electorate()?.everybody.contains(&vote.voter)
            && self.store.block(vote.block)?.is_none()
        {
            self.step.output.missing = Some(vote.block);
        }
        Ok(())
    }

    /// Adds a valid vote to those that were seen. `true` when it makes a majority end the epoch.
    pub(super) fn count_vote(&mut self, vote: &Vote) -> Result<bool, ChainError> {
        if !self.electorate()?.everybody.contains(&vote.voter) {
            return Ok(false);
        }
        let block = self.tree.get(&vote.block);
        // The signature does not cover the height.
        let height = block.map_or(vote.height, |leaf| leaf.known.height());
        let known = block.is_some();
        let vote = Vote { height, ..vote.clone() };
        if self.votes.add(&vote, known) {
            self.warn_of_second_vote(&vote);
        }
        // Also for a vote that is known: one's own is repeated when an epoch times out, and by then others may have gone on.
        let Some(over) = self.epoch_with_majority(vote.epoch)? else {
            return Ok(false);
        };
        if over > self.memory.epoch {
            // This node lagged behind, so others may as well.
            let since = self.votes.since(over).cloned().map(Outgoing::Vote);
            self.step.output.outgoing.extend(since);
        }
        self.memory.epoch = over.next();
        self.step.memory_changed = true;
        Ok(true)
    }

    /// The latest epoch, from the present one to this, that a majority has reached or passed.
    fn epoch_with_majority(&mut self, upto: Epoch) -> Result<Option<Epoch>, ChainError> {
        let from = self.memory.epoch;
        let votes: Vec<_> = self.votes.since(from).map(|vote| (vote.epoch, vote.voter)).collect();
        let epochs: BTreeSet<_> =
            votes.iter().map(|(epoch, _)| *epoch).filter(|epoch| *epoch <= upto).collect();
        let validators = &self.electorate()?.ends_epochs;
        Ok(epochs.into_iter().rev().find(|epoch| {
            validators.is_majority(votes.iter().filter(|(voted, _)| voted >= epoch).map(|(_, voter)| voter))
        }))
    }

    /// Casts the vote that is due: a new one if the rules of spec 03 section 2.10 allow it, else the last one again for this epoch.
    pub(super) fn vote(&mut self) -> Result<(), ChainError> {
        let Some(key) = self.key.clone() else {
            return Ok(());
        };
        let tip = self.tip(false)?.known.clone();
        if !self.validators_of(&tip)?.contains(&key.address()) {
            return Ok(());
        }
        let epoch = self.memory.epoch;
        let highest = self.memory.highest_voted;
        let above = tip.height() > highest && tip.header().hcc.block_hash == self.memory.highest_commit;
        let vote = if highest.0 == 0 || above {
            let vote = Vote::signed(tip.hash, tip.height(), epoch, &key);
            self.memory.highest_voted = tip.height();
            self.memory.last_vote = Some(vote.clone());
            self.step.memory_changed = true;
            vote
        } else {
            let Some(last) = &self.memory.last_vote else {
                return Ok(());
            };
            Vote::signed(last.block, last.height, epoch, &key)
        };
        self.step.output.outgoing.push(Outgoing::Vote(vote.clone()));
        self.own.push_back(Own::Vote(vote));
        Ok(())
    }

    /// What a proposer tells its peers besides the block.
    pub(super) fn votes_for_peers(&self) -> Result<VoteSet, ChainError> {
        let committed = self.leaf(self.memory.highest_commit)?.known.clone();
        let validators = self.validators_of(&committed)?;
        let votes = self.votes.on(&committed.hash).chain(self.votes.latest());
        let votes: VoteSet = votes.filter(|vote| validators.contains(&vote.voter)).cloned().collect();
        Ok(votes.latest_per_voter_and_block())
    }

    pub(super) fn electorate(&mut self) -> Result<&Electorate, ChainError> {
        let of = (self.memory.last_final, self.memory.highest_commit);
        if self.electorate.as_ref().is_none_or(|electorate| electorate.of != of) {
            let last_final = self.last_final()?.known.clone();
            let committed = self.leaf(self.memory.highest_commit)?.known.clone();
            let ends_epochs = self.validators_after(&last_final)?;
            let mut everybody = BTreeSet::new();
            let sets = [
                self.validators_of(&last_final)?,
                self.validators_of(&committed)?,
                self.validators_after(&committed)?,
            ];
            for set in sets.iter().chain([&ends_epochs]) {
                everybody.extend(set.iter().map(|validator| validator.address));
            }
            self.electorate = Some(Electorate { of, ends_epochs, everybody });
        }
        self.electorate.as_ref().ok_or_else(|| ChainError::Stopped(Arc::from("no validators are known")))
    }

    /// Two votes of one voter for two blocks of one height: nothing punishes it, somebody should know.
    fn warn_of_second_vote(&self, vote: &Vote) {
        let other = self.tree.iter().find(|leaf| {
            leaf.known.height() == vote.height
                && leaf.known.hash != vote.block
                && self.votes.voters(&leaf.known.hash).any(|voter| *voter == vote.voter)
        });
        if let Some(other) = other {
            tracing::warn!(voter = %vote.voter, height = %vote.height, one = %other.known.hash, two = %vote.block, "two votes at one height");
        }
    }
}
