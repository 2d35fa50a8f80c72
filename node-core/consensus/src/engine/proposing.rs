//! Own blocks (spec 03 sections 2.9 and 3.1).

use theta_ledger::{BlockRules, MAX_PROPOSED_TRANSACTIONS, propose_block};
use theta_state::list_root;
use theta_types::{
    Block, BlockHeader, CommitCertificate, EMPTY_ROOT_HASH, HeaderForm, SecretKey, Timestamp, ValidatorSet,
};

use super::{Engine, Now, Own};
use crate::error::ChainError;
use crate::known::KnownBlocks;
use crate::proposer::proposer;
use crate::tree::Leaf;

impl Engine {
    /// Makes the block of this epoch if it is one's turn. What was proposed for it already is proposed again, and nothing else.
    pub(super) fn propose(&mut self, now: Now) -> Result<(), ChainError> {
        let Some(key) = self.key.clone() else {
            return Ok(());
        };
        let tip = self.tip(true)?.clone();
        let epoch = self.memory.epoch;
        let validators = self.validators_after(&tip.known)?;
        if epoch <= tip.known.header().epoch || proposer(&validators, epoch) != Some(key.address()) {
            return Ok(());
        }
        match self.memory.last_proposal {
            Some((last, hash)) if last == epoch => self.send_proposal(hash),
            Some((last, _)) if last > epoch => Ok(()),
            _ => {
                let block = self.build_block(&key, &tip, &validators, now)?;
                self.memory.last_proposal = Some((epoch, block.hash()));
                self.step.memory_changed = true;
                self.own.push_back(Own::Block(Box::new(block)));
                Ok(())
            }
        }
    }

    fn build_block(
        &self,
        key: &SecretKey,
        tip: &Leaf,
        validators: &ValidatorSet,
        now: Now,
    ) -> Result<Block, ChainError> {
        let rules = BlockRules::after(&self.network.rules, tip.known.height());
        let candidates = self.mempool.candidates(MAX_PROPOSED_TRANSACTIONS, now.instant);
        let contents = propose_block(rules, validators, &tip.state, key, candidates)?;
        let height = rules.height();
        let mut header = BlockHeader {
            form: HeaderForm::at(height, &self.network.rules.forks),
            chain_id: self.network.rules.chain_id.clone(),
            epoch: self.memory.epoch,
            height,
            parent: tip.known.hash,
            hcc: self.certificate()?,
            tx_root: list_root(&contents.transactions),
            receipt_root: EMPTY_ROOT_HASH,
            state_hash: contents.state.root(),
            timestamp: Timestamp::from(now.unix_seconds),
            proposer: key.address(),
            ..BlockHeader::default()
        };
        header.sign(key);
        Ok(Block { header, transactions: contents.transactions })
    }

    /// The votes of validators for the highest committed block.
    fn certificate(&self) -> Result<CommitCertificate, ChainError> {
        let committed = self.leaf(self.memory.highest_commit)?.known.clone();
        let validators = self.validators_of(&committed)?;
        let votes = self.votes.on(&committed.hash).filter(|vote| validators.contains(&vote.voter));
        Ok(CommitCertificate { votes: votes.cloned().collect(), block_hash: committed.hash })
    }
}
