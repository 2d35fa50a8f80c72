//! The check itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use theta_ledger::{BlockRules, execute_block};
use theta_state::{ChainDb, Table, Trie, TrieError};
use theta_types::{BlockHash, ChainRules, Encode, Height, Transaction, Vote, keccak256};

use super::{VerifyError, VerifyProgress, VerifyReport};
use crate::block_rules::{BlockRefusal, blame, check_alone, check_in_chain};
use crate::engine::stored;
use crate::error::ChainError;
use crate::known::{Known, KnownBlocks};
use crate::memory::Memory;
use crate::status::BlockStatus;
use crate::store::{ChainStore, TxPlace};

/// A check under way.
pub(super) struct Audit<'a> {
    store: &'a ChainStore,
    rules: &'a ChainRules,
    memory: &'a Memory,
    /// The blocks that were checked last. Older ones are read again when a rule asks for them.
    recent: HashMap<BlockHash, Known>,
    /// The states after the last of them, as execution gives them.
    states: HashMap<BlockHash, (Height, Trie)>,
    /// Up to this height the headers seen so far prove the chain final.
    proven: Height,
    /// From this height on there is one block at each height.
    unforked_from: Height,
    /// Height of the highest committed block.
    committed: Height,
    blocks: u64,
    transactions: u64,
    /// Transactions that the index leads to.
    indexed: u64,
}

/// A block may commit an ancestor that is almost so far back.
const BLOCKS_KEPT: u64 = 2_000;
const STATES_KEPT: u64 = 8;

impl<'a> Audit<'a> {
    pub(super) fn new(store: &'a ChainStore, rules: &'a ChainRules, memory: &'a Memory) -> Self {
        Self {
            store,
            rules,
            memory,
            recent: HashMap::new(),
            states: HashMap::new(),
            proven: Height(0),
            unforked_from: Height(0),
            committed: Height(0),
            blocks: 0,
            transactions: 0,
            indexed: 0,
        }
    }

    pub(super) fn run(
        mut self,
        mut progress: impl FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        let nodes = self.check_nodes()?;
        let last_final = self.load(self.memory.last_final)?;
        let of = last_final.height();
        self.committed = self.load(self.memory.highest_commit)?.height();
        self.check_genesis()?;
        progress(VerifyProgress { height: Height(0), of });
        let mut height = Height(0);
        loop {
            height = height.next();
            let blocks = self.store.blocks_at(height)?;
            if blocks.is_empty() && height > of {
                break;
            }
            let count = blocks.iter().filter(|(_, mark)| mark.status.is_final()).count();
            if count != usize::from(height <= of) {
                return Err(VerifyError::FinalBlocks { height, count });
            }
            if blocks.len() > 1 {
                self.unforked_from = height.next();
            }
            for (hash, _) in blocks {
                self.check_block(hash, height)?;
            }
            self.states.retain(|_, (kept, _)| kept.0 + STATES_KEPT > height.0);
            self.recent.retain(|_, kept| kept.height().0 + BLOCKS_KEPT > height.0);
            if height <= of {
                progress(VerifyProgress { height, of });
            }
        }
        self.check_finality(&last_final)?;
        self.check_nothing_else()?;
        self.check_memory()?;
        Ok(VerifyReport {
            genesis_hash: self.memory.root,
            final_hash: last_final.hash,
            final_height: of,
            state_root: last_final.header().state_hash,
            blocks: self.blocks,
            transactions: self.transactions,
            nodes,
        })
    }

    /// Every stored node is what its hash says.
    fn check_nodes(&self) -> Result<u64, VerifyError> {
        let mut count = 0;
        for_each(self.store.db(), Table::Nodes, |key, value| {
            count += 1;
            if keccak256(value).as_slice() == key {
                Ok(())
            } else {
                Err(VerifyError::Index("a trie node is damaged".to_owned()))
            }
        })?;
        Ok(count)
    }

    fn check_genesis(&mut self) -> Result<(), VerifyError> {
        let genesis = self.load(self.memory.root)?;
        let at_zero = self.store.blocks_at(Height(0))?;
        let alone = at_zero.len() == 1 && at_zero[0].0 == genesis.hash;
        let header = genesis.header();
        let in_order = alone
            && genesis.status == BlockStatus::Trusted
            && genesis.height() == Height(0)
            && header.parent.is_zero()
            && header.chain_id == self.rules.chain_id
            && genesis.block.transactions.is_empty();
        if !in_order {
            return Err(VerifyError::Index("the first block is no genesis block of this chain".to_owned()));
        }
        let state = self.stored_state(&genesis)?;
        // Reads every node, each against its hash, up to the root in the header.
        for entry in state.entries(b"") {
            entry.map_err(|error| VerifyError::State { height: Height(0), error })?;
        }
        self.states.insert(genesis.hash, (Height(0), state));
        self.recent.insert(genesis.hash, genesis);
        self.blocks += 1;
        Ok(())
    }

    fn check_block(&mut self, hash: BlockHash, height: Height) -> Result<(), VerifyError> {
        let known = self.load(hash)?;
        let refuse = |refusal| VerifyError::Block { height, hash, refusal };
        if known.height() != height {
            return Err(VerifyError::Index(format!("block {hash} is indexed at height {height}")));
        }
        let parent =
            self.recent.get(&known.header().parent).cloned().ok_or_else(|| refuse(BlockRefusal::Parent))?;
        if known.status.is_final() && !parent.status.is_final() {
            return Err(refuse(BlockRefusal::Parent));
        }
        if known.status == BlockStatus::Trusted {
            return Err(VerifyError::Index(format!("block {hash} is trusted without being the first")));
        }
        if known.height() > self.committed && known.status != BlockStatus::Valid {
            return Err(VerifyError::Index(format!("block {hash} is above the highest committed one")));
        }
        let commits_parent = known.header().hcc.block_hash == parent.hash;
        if commits_parent && parent.status == BlockStatus::Valid && self.unforked_from <= parent.height() {
            return Err(VerifyError::Index(format!("block {} is committed and not marked so", parent.hash)));
        }
        if known.status.is_final() {
            self.check_grandparent(&known)?;
        }
        check_alone(&known.block, self.rules).map_err(refuse)?;
        check_in_chain(&known.block, &parent, &*self, self.rules, self.proven)?.map_err(refuse)?;

        let validators = self.validators_after(&parent)?;
        let parent_state = match self.states.get(&parent.hash) {
            Some((_, state)) => state.clone(),
            None => self.stored_state(&parent)?,
        };
        let rules = BlockRules::after(self.rules, parent.height());
        let executed = match execute_block(rules, &validators, &parent_state, &known.block) {
            Ok(executed) => executed,
            Err(error) => return Err(refuse(blame(error)?)),
        };
        // What execution makes has to be in the store, or the state would be lost with this process.
        for (node, bytes) in executed.state.unsaved_nodes() {
            if self.store.db().get(Table::Nodes, node.as_slice())?.as_ref() != Some(&bytes) {
                return Err(VerifyError::State { height, error: TrieError::MissingNode(node) });
            }
        }
        executed.state.mark_saved();
        for (index, raw) in (0..).zip(&known.block.transactions) {
            self.check_place(&known, index, raw)?;
        }
        self.transactions += known.block.transactions.len() as u64;
        // The certificate in this header proves its parent committed, which may make its grandparent final.
        let parent_header = parent.header();
        let confirms = known.header().hcc.block_hash == parent.hash
            && parent_header.hcc.block_hash == parent_header.parent;
        if known.status.is_final() && confirms && !parent_header.parent.is_zero() {
            self.proven = Height(height.0.saturating_sub(2));
        }
        self.states.insert(hash, (height, executed.state));
        self.recent.insert(hash, known);
        self.blocks += 1;
        Ok(())
    }

    /// The index leads to a transaction of a final block, or of any when no final one has it.
    fn check_place(&mut self, block: &Known, index: u64, raw: &[u8]) -> Result<(), VerifyError> {
        let transaction = Transaction::hash_of_raw(raw);
        let place = self.store.place(&transaction)?;
        let here = TxPlace { block: block.hash, height: block.height(), index };
        match place {
            Some(place) if place == here => {
                self.indexed += 1;
                Ok(())
            }
            // The same bytes twice in a block: one of the two is in the index.
            Some(place)
                if place.block == block.hash
                    && block
                        .block
                        .transactions
                        .get(place.index as usize)
                        .is_some_and(|other| other == raw) =>
            {
                Ok(())
            }
            Some(_) if !block.status.is_final() => Ok(()),
            _ => Err(VerifyError::Index(format!("transaction {transaction} is not where the index says"))),
        }
    }

    /// Where nothing forked, the headers say whether the block two below became final directly: its child has to commit it, and does so
    /// visibly when this block commits the child.
    fn check_grandparent(&self, block: &Known) -> Result<(), VerifyError> {
        let Some(parent) = self.recent.get(&block.header().parent) else { return Ok(()) };
        let Some(grandparent) = self.recent.get(&parent.header().parent) else { return Ok(()) };
        if self.unforked_from > parent.height() {
            return Ok(());
        }
        let commits = parent.header().hcc.block_hash == grandparent.hash;
        let visibly = block.header().hcc.block_hash == parent.hash;
        let fits = match grandparent.status {
            BlockStatus::DirectlyFinalized => commits,
            BlockStatus::IndirectlyFinalized => !(commits && visibly),
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(VerifyError::Index(format!(
                "block {} did not become final as its mark says",
                grandparent.hash
            )))
        }
    }

    /// A stored child proves the last final block final: it commits its parent, and a majority voted for it.
    fn check_finality(&self, last_final: &Known) -> Result<(), VerifyError> {
        if last_final.status == BlockStatus::Trusted {
            return Ok(());
        }
        let committed = self
            .recent
            .get(&self.memory.highest_commit)
            .ok_or_else(|| VerifyError::Index("the committed block is missing".to_owned()))?;
        let mut at = committed.clone();
        while at.height() > last_final.height().next() {
            let Some(parent) = self.recent.get(&at.header().parent) else { break };
            at = parent.clone();
        }
        self.check_grandparent(&at)?;
        let header = at.header();
        if header.parent != last_final.hash
            || last_final.status != BlockStatus::DirectlyFinalized
            || header.hcc.block_hash != last_final.hash
        {
            return Err(VerifyError::Index("no block commits the last final block directly".to_owned()));
        }
        if !self.is_committed(&at)? {
            return Err(VerifyError::Index("the last final block is not proven final".to_owned()));
        }
        // So are those that are marked as committed since.
        let above = self.recent.values().filter(|block| block.status == BlockStatus::Committed);
        for block in above.filter(|block| block.height() > last_final.height()) {
            if !self.is_committed(block)? {
                return Err(VerifyError::Index(format!("block {} is not proven committed", block.hash)));
            }
        }
        Ok(())
    }

    /// The votes for it are in the header of a descendant, or kept until one is made.
    fn is_committed(&self, block: &Known) -> Result<bool, VerifyError> {
        let validators = self.validators_of(block)?;
        if let Some(other) = self.recent.values().find(|other| other.header().hcc.block_hash == block.hash) {
            return Ok(other.header().hcc.is_valid(&validators));
        }
        let kept = self.store.votes()?.into_iter().find(|(hash, _)| *hash == block.hash);
        let votes = kept.map(|(_, votes)| votes).unwrap_or_default();
        let votes = votes.iter().filter(|vote| vote.block == block.hash && vote.is_valid());
        Ok(validators.is_majority(votes.map(|vote| &vote.voter)))
    }

    /// As many entries as were come across: none is of something that does not exist.
    fn check_nothing_else(&self) -> Result<(), VerifyError> {
        let tables = [
            (Table::Blocks, self.blocks, "blocks"),
            (Table::Heights, self.blocks, "heights"),
            (Table::Transactions, self.indexed, "transactions"),
        ];
        for (table, expected, name) in tables {
            let mut count = 0u64;
            for_each(self.store.db(), table, |_, _| {
                count += 1;
                Ok(())
            })?;
            if count != expected {
                return Err(VerifyError::Index(format!(
                    "{count} entries in the table of {name}, {expected} belong there"
                )));
            }
        }
        Ok(())
    }

    /// The consensus state speaks of blocks that are there, and holds nothing but sound votes.
    fn check_memory(&self) -> Result<(), VerifyError> {
        let wrong = |what: &str| Err(VerifyError::Index(format!("consensus state: {what}")));
        let Some(committed) = self.recent.get(&self.memory.highest_commit) else {
            return wrong("the committed block is missing");
        };
        let status_fits = match committed.status {
            BlockStatus::Valid => false,
            BlockStatus::Committed => true,
            _ => committed.hash == self.memory.last_final,
        };
        if !status_fits || self.memory.epoch < committed.header().epoch {
            return wrong("the committed block does not fit it");
        }
        if let Some((epoch, block)) = self.memory.last_proposal {
            let proposed = stored(self.store, block)?;
            if epoch > self.memory.epoch || proposed.is_none_or(|block| block.header().epoch != epoch) {
                return wrong("the last proposal is not stored");
            }
        }
        let voted = self.memory.last_vote.as_ref().map_or(Height(0), |vote| vote.height);
        if voted != self.memory.highest_voted {
            return wrong("the last vote is not the highest");
        }
        if let Some(vote) = &self.memory.last_vote
            && (!self.is_sound(vote)?
                || vote.epoch > self.memory.epoch
                || stored(self.store, vote.block)?.is_none())
        {
            return wrong("the last vote is not valid");
        }
        let latest = self.store.latest_votes()?;
        let latest_epoch = latest.iter().map(|vote| vote.epoch).max();
        if self.memory.epoch.0 > latest_epoch.map_or(0, |epoch| epoch.next().0) {
            return wrong("nobody voted for its epoch");
        }
        let mut votes = BTreeMap::from([(None, latest)]);
        votes.extend(self.store.votes()?.into_iter().map(|(block, votes)| (Some(block), votes)));
        for (block, votes) in &votes {
            for vote in votes.iter() {
                if !self.is_sound(vote)? || block.is_some_and(|block| vote.block != block) {
                    return wrong("a kept vote is not valid");
                }
            }
        }
        for_each(self.store.db(), Table::Consensus, |key, _| {
            let votes = key.strip_prefix(b"votes/").is_some_and(|hash| hash.len() == 32);
            if votes || key == b"memory" || key == b"latest-votes" {
                Ok(())
            } else {
                wrong("an unknown entry")
            }
        })
    }

    /// Signed, and with the height of its block, which the signature does not cover.
    fn is_sound(&self, vote: &Vote) -> Result<bool, VerifyError> {
        let height_fits = stored(self.store, vote.block)?.is_none_or(|block| block.height() == vote.height);
        Ok(vote.is_valid() && height_fits)
    }

    /// A block as it is stored, in the one form that its content has.
    fn load(&self, hash: BlockHash) -> Result<Known, VerifyError> {
        let known = stored(self.store, hash)?
            .ok_or_else(|| VerifyError::Index(format!("block {hash} is missing")))?;
        let bytes = self.store.db().get(Table::Blocks, hash.as_bytes())?;
        if bytes != Some(known.block.to_rlp()) {
            return Err(VerifyError::Index(format!("block {hash} is stored in an unusual form")));
        }
        Ok(known)
    }

    fn stored_state(&self, block: &Known) -> Result<Trie, VerifyError> {
        let state = Trie::open(Arc::new(self.store.db().clone()), block.header().state_hash);
        state.map_err(|error| VerifyError::State { height: block.height(), error })
    }
}

impl KnownBlocks for Audit<'_> {
    fn known(&self, hash: BlockHash) -> Result<Option<Known>, ChainError> {
        Ok(match self.recent.get(&hash) {
            Some(known) => Some(known.clone()),
            None => stored(self.store, hash)?,
        })
    }

    fn state_value(&self, block: &Known, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        let value = match self.states.get(&block.hash) {
            Some((_, state)) => state.get(key)?,
            None => self.store.state(block.header().state_hash)?.get(key)?,
        };
        Ok(value.map(|value| value.to_vec()))
    }
}

/// Every entry of a table, by ascending key.
fn for_each(
    db: &ChainDb,
    table: Table,
    mut check: impl FnMut(&[u8], &[u8]) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    const PAGE: usize = 1_024;
    let mut next = Vec::new();
    loop {
        let page = db.scan(table, &next, PAGE)?;
        for (key, value) in &page {
            check(key, value)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => next = [last.as_slice(), &[0]].concat(),
            _ => return Ok(()),
        }
    }
}
