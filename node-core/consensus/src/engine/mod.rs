//! The validator's logic: blocks, votes and time go in; votes, proposals and final blocks come out.

mod finality;
mod intake;
mod proposing;
mod voting;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use theta_ledger::{BlockRules, Mempool, MempoolError, MempoolLimits, TxMemory};
use theta_state::{Batch, ChainDb, Genesis, Trie};
use theta_types::{Account, Address, Block, BlockHash, Height, Proposal, SecretKey, TxHash, Vote};

use crate::block_rules::BlockRefusal;
use crate::error::ChainError;
use crate::known::{Known, KnownBlocks};
use crate::memory::Memory;
use crate::network::Network;
use crate::recent::Recent;
use crate::status::BlockStatus;
use crate::store::{ChainBatch, ChainStore, Mark};
use crate::tree::{BlockTree, Leaf, Orphans};
use crate::votes::Votes;

/// The consensus of spec 03 section 2 as a state machine: it reads no clock, sends nothing, and has one owner, who calls
/// [`Engine::handle`] with each thing that happens, and [`Engine::next_deadline`] to know when time is one of them.
///
/// Whatever `handle` returns follows from a state that is durable by then. After an error it is of no use any more: open it again.
#[derive(Debug)]
pub struct Engine {
    network: Network,
    key: Option<SecretKey>,
    store: ChainStore,
    tree: BlockTree,
    orphans: Orphans,
    invalid: Recent<BlockHash>,
    memory: Memory,
    votes: Votes,
    mempool: Mempool,
    /// The block that the mempool's transactions would follow.
    mempool_tip: BlockHash,
    clock: EpochClock,
    /// Own messages, which are treated like those of others, one after the other.
    own: VecDeque<Own>,
    electorate: Option<voting::Electorate>,
    step: Step,
    failed: Option<Arc<str>>,
}

/// The time of an event. Passed in, so that a simulation can run in a time of its own.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For block timestamps: seconds since 1970.
    pub unix_seconds: u64,
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// A deadline may have passed.
    Time,
    /// A block came, from a proposal or in answer to a request.
    Block(Box<Block>),
    /// A vote came by itself, outside a block.
    Vote(Vote),
}

/// What follows, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// To be sent to all other validators and followers.
    pub outgoing: Vec<Outgoing>,
    /// Blocks that have become final, by ascending height.
    pub finalized: Vec<(Height, BlockHash)>,
    /// The block that came in breaks a rule.
    pub refused: Option<BlockRefusal>,
    /// The block that came in has an unknown parent, and waits for it.
    pub missing: Option<BlockHash>,
}

/// A message for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A vote, one's own or one that helps others to follow.
    Vote(Vote),
    /// An own block.
    Proposal(Box<Proposal>),
}

#[derive(Debug)]
enum Own {
    Vote(Vote),
    Block(Box<Block>),
}

/// Timers of the epoch (spec 03 section 2.5).
#[derive(Debug)]
struct EpochClock {
    vote_from: Instant,
    ends: Instant,
    vote_time_came: bool,
    block_processed: bool,
}

/// What the call under way has done so far.
#[derive(Debug, Default)]
struct Step {
    batch: Batch,
    output: Output,
    executed: Vec<BlockHash>,
    memory_changed: bool,
    epoch_over: bool,
}

impl Engine {
    /// Opens the chain in this database, or begins it there with the genesis. Without a key it follows, and neither proposes nor votes.
    ///
    /// # Errors
    /// The database is of another chain, damaged, or fails; or the genesis that `genesis` gives is not the network's.
    pub fn open(
        db: ChainDb,
        network: Network,
        genesis: impl FnOnce() -> Result<Genesis, ChainError>,
        key: Option<SecretKey>,
        limits: MempoolLimits,
        now: Now,
    ) -> Result<Self, ChainError> {
        let store = ChainStore::new(db, network.rules.clone());
        let memory = match store.memory()? {
            Some(memory) => memory,
            None => begin(&store, &network, &genesis()?)?,
        };
        if memory.root != network.genesis_hash {
            return Err(ChainError::OtherChain { expected: network.genesis_hash, found: memory.root });
        }
        let tree = restored_tree(&store, &memory)?;
        let votes = Votes::restored(store.latest_votes()?, store.votes()?);
        let clock = EpochClock {
            vote_from: now.instant,
            ends: now.instant,
            vote_time_came: false,
            block_processed: false,
        };
        let mempool_tip = memory.last_final;
        let mut engine = Self {
            network,
            key,
            store,
            tree,
            orphans: Orphans::default(),
            invalid: Recent::new(1_024),
            memory,
            votes,
            mempool: Mempool::new(limits),
            mempool_tip,
            clock,
            own: VecDeque::new(),
            electorate: None,
            step: Step::default(),
            failed: None,
        };
        engine.mempool_tip = engine.tip(true)?.known.hash;
        engine.restart_clock(now);
        Ok(engine)
    }

    /// Takes in one event, and everything that follows from it at once.
    ///
    /// # Errors
    /// The chain cannot go on. What the event would have led to is not stored and has to be taken as never happened.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<Output, ChainError> {
        if let Some(reason) = &self.failed {
            return Err(ChainError::Stopped(Arc::clone(reason)));
        }
        let handled = self.run(input, now).and_then(|()| self.commit());
        if let Err(error) = &handled {
            self.failed = Some(error.to_string().into());
        }
        handled
    }

    /// When to call [`Engine::handle`] with [`Input::Time`] at the latest.
    pub fn next_deadline(&self) -> Instant {
        if self.clock.vote_time_came { self.clock.ends } else { self.clock.vote_from.min(self.clock.ends) }
    }

    /// Takes a raw transaction into the mempool.
    ///
    /// # Errors
    /// The mempool refuses it.
    pub fn submit(&mut self, raw: Vec<u8>, now: Now) -> Result<TxHash, MempoolError> {
        let Some(tip) = self.tree.get(&self.mempool_tip) else {
            return Err(MempoolError::Full);
        };
        let rules = BlockRules::after(&self.network.rules, tip.known.height());
        self.mempool.insert(&rules, &tip.state, raw, now.instant)
    }

    /// What the mempool knows of a transaction.
    pub fn memory_of(&self, transaction: &TxHash, now: Now) -> Option<TxMemory> {
        self.mempool.memory_of(transaction, now.instant)
    }

    /// Names of the transactions that wait.
    pub fn waiting(&self) -> Vec<TxHash> {
        self.mempool.waiting()
    }

    /// The account as it will be once everything that waits is in a block.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn preview(&mut self, address: &Address) -> Result<Option<Account>, ChainError> {
        let tip = self.leaf(self.mempool_tip)?;
        let (height, state) = (tip.known.height(), tip.state.clone());
        let rules = BlockRules::after(&self.network.rules, height);
        Ok(self.mempool.preview(&rules, &state, address)?)
    }

    pub(crate) fn store(&self) -> &ChainStore {
        &self.store
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Own address; zero for a mere follower.
    pub(crate) fn address(&self) -> Address {
        self.key.as_ref().map_or(Address::ZERO, SecretKey::address)
    }

    /// The last final block with the state after it.
    pub(crate) fn last_final(&self) -> Result<&Leaf, ChainError> {
        self.leaf(self.memory.last_final)
    }

    /// The block to vote for, or with `extend` to build on.
    pub(crate) fn tip(&self, extend: bool) -> Result<&Leaf, ChainError> {
        let from = self.memory.highest_commit;
        self.tree.tip(&from, extend).ok_or_else(|| missing(from))
    }

    /// The latest vote for the highest block that anybody voted for.
    pub(crate) fn highest_vote(&self) -> Option<&Vote> {
        self.votes.latest().max_by_key(|vote| vote.height)
    }

    fn leaf(&self, hash: BlockHash) -> Result<&Leaf, ChainError> {
        self.tree.get(&hash).ok_or_else(|| missing(hash))
    }

    fn run(&mut self, input: Input, now: Now) -> Result<(), ChainError> {
        match input {
            Input::Time => self.take_time(now)?,
            Input::Block(block) => self.take_block(*block, now)?,
            Input::Vote(vote) => self.take_vote(&vote)?,
        }
        loop {
            match self.own.pop_front() {
                Some(Own::Vote(vote)) => self.take_vote(&vote)?,
                Some(Own::Block(block)) => self.take_own_block(*block, now)?,
                None if self.step.epoch_over => self.enter_epoch(now)?,
                None => return Ok(()),
            }
        }
    }

    fn take_time(&mut self, now: Now) -> Result<(), ChainError> {
        if now.instant >= self.clock.ends {
            self.vote()?;
            self.step.epoch_over = true;
        } else if now.instant >= self.clock.vote_from && !self.clock.vote_time_came {
            self.clock.vote_time_came = true;
            if self.clock.block_processed {
                self.vote()?;
            }
        }
        Ok(())
    }

    fn enter_epoch(&mut self, now: Now) -> Result<(), ChainError> {
        self.step.epoch_over = false;
        self.restart_clock(now);
        self.propose(now)
    }

    fn restart_clock(&mut self, now: Now) {
        self.clock = EpochClock {
            vote_from: now.instant + self.network.timing.min_block_interval,
            ends: now.instant + self.network.timing.max_epoch_length,
            vote_time_came: false,
            block_processed: false,
        };
    }

    /// Makes durable what the step did, then lets go of what it made superfluous.
    fn commit(&mut self) -> Result<Output, ChainError> {
        let Step { mut batch, output, executed, memory_changed, .. } = std::mem::take(&mut self.step);
        if self.tree.root() != self.memory.last_final {
            self.forget_below_final()?;
        }
        let votes = self.votes.take_changes();
        if let Some(latest) = votes.latest {
            batch.put_latest_votes(&latest);
        }
        for (block, votes) in &votes.blocks {
            batch.put_votes(*block, votes);
        }
        for block in votes.dropped {
            batch.delete_votes(block);
        }
        if memory_changed {
            batch.put_memory(&self.memory);
        }
        if !batch.is_empty() {
            self.store.db().commit(batch)?;
        }
        for hash in executed {
            if let Some(leaf) = self.tree.get(&hash) {
                leaf.state.mark_saved();
            }
        }
        Ok(output)
    }

    fn forget_below_final(&mut self) -> Result<(), ChainError> {
        let last_final = self.memory.last_final;
        self.tree.prune_to(last_final);
        let height = self.leaf(last_final)?.known.height();
        self.orphans.drop_up_to(height);
        let tree = &self.tree;
        self.votes.keep_only(|block| tree.contains(block));
        // States share what was read of them; now and then all of it goes, or memory would hold the whole state in the end.
        const READ_ANEW_EVERY: u64 = 512;
        if height.0 % READ_ANEW_EVERY == 0 {
            let root = self.leaf(last_final)?.known.header().state_hash;
            let state = self.store.state(root)?;
            self.tree.set_state(&last_final, state);
        }
        Ok(())
    }
}

fn missing(hash: BlockHash) -> ChainError {
    ChainError::damaged(format!("block {hash} is missing"))
}

impl KnownBlocks for Engine {
    fn known(&self, hash: BlockHash) -> Result<Option<Known>, ChainError> {
        if let Some(leaf) = self.tree.get(&hash) {
            return Ok(Some(leaf.known.clone()));
        }
        stored(&self.store, hash)
    }

    fn state_value(&self, block: &Known, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        let value = match self.tree.get(&block.hash) {
            Some(leaf) => leaf.state.get(key)?,
            None => self.store.state(block.header().state_hash)?.get(key)?,
        };
        Ok(value.map(|value| value.to_vec()))
    }
}

pub(crate) fn stored(store: &ChainStore, hash: BlockHash) -> Result<Option<Known>, ChainError> {
    let Some(block) = store.block(hash)? else {
        return Ok(None);
    };
    let mark = store
        .mark(block.header.height, hash)?
        .ok_or_else(|| ChainError::damaged(format!("block {hash} is not in the index of heights")))?;
    let Mark { status, validator_update } = mark;
    Ok(Some(Known { hash, block: Arc::new(block), status, validator_update }))
}

/// Stores the genesis: block, state and memory in one.
fn begin(store: &ChainStore, network: &Network, genesis: &Genesis) -> Result<Memory, ChainError> {
    genesis.require(network.genesis_hash)?;
    let block = Block { header: genesis.header().clone(), transactions: Vec::new() };
    let hash = genesis.hash();
    let memory = Memory::at_root(hash, block.header.epoch);
    let mut batch = Batch::new();
    batch.put_block(hash, &block);
    batch.put_mark(block.header.height, hash, Mark { status: BlockStatus::Trusted, validator_update: false });
    batch.put_nodes(genesis.state().unsaved_nodes());
    batch.put_memory(&memory);
    store.db().commit(batch)?;
    Ok(memory)
}

/// Reads the last final block and all that descends from it.
fn restored_tree(store: &ChainStore, memory: &Memory) -> Result<BlockTree, ChainError> {
    let open = |known: &Known| -> Result<Trie, ChainError> { store.state(known.header().state_hash) };
    let root = stored(store, memory.last_final)?.ok_or_else(|| missing(memory.last_final))?;
    let state = open(&root)?;
    let mut height = root.height();
    let mut tree = BlockTree::new(root, state);
    loop {
        height = height.next();
        let blocks = store.blocks_at(height)?;
        if blocks.is_empty() {
            break;
        }
        for (hash, _) in blocks {
            let known = stored(store, hash)?.ok_or_else(|| missing(hash))?;
            if tree.contains(&known.header().parent) {
                let state = open(&known)?;
                tree.add(known, state);
            }
        }
    }
    if tree.contains(&memory.highest_commit) { Ok(tree) } else { Err(missing(memory.highest_commit)) }
}
