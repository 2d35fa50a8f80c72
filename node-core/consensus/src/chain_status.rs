//! Where the chain stands.

use theta_types::{Address, BlockHash, Epoch, Height, Timestamp, Vote};

use crate::engine::Engine;
use crate::error::ChainError;

/// A block timestamp older than this many seconds may mean that the node lags behind.
const RECENT: u64 = 30;
/// And votes for so many blocks more say that it does.
const BEHIND: u64 = 5;

/// Where the chain stands: the fields of `theta.GetStatus` that consensus knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainStatus {
    /// The chain's name.
    pub chain_id: String,
    /// The validator's address; zero for a node that only follows.
    pub address: Address,
    /// The first block.
    pub genesis_hash: BlockHash,
    /// The block that this node began with.
    pub root_hash: BlockHash,
    /// Its height.
    pub root_height: Height,
    /// The last final block.
    pub final_hash: BlockHash,
    /// Its height.
    pub final_height: Height,
    /// Its epoch.
    pub final_epoch: Epoch,
    /// What its proposer said the time was.
    pub final_time: Timestamp,
    /// The epoch now.
    pub epoch: Epoch,
    /// The highest block that is known to be executed by those who vote: one below the highest voted for, never below the final one.
    pub current_height: Height,
    /// The block of the highest vote; the last final one before any vote.
    pub current_hash: BlockHash,
    /// The end of the best branch.
    pub tip_hash: BlockHash,
    /// Its height.
    pub tip_height: Height,
    /// Whether the node is still behind the others.
    pub syncing: bool,
}

impl ChainStatus {
    /// `was_syncing` is the answer as long as nobody's votes are known.
    pub(crate) fn of(engine: &Engine, unix_seconds: u64, was_syncing: bool) -> Result<Self, ChainError> {
        let last_final = engine.last_final()?.known.clone();
        let tip = &engine.tip(false)?.known;
        let vote = engine.highest_vote();
        let vote_height = vote.map_or(Height(0), |vote| vote.height);
        let final_time = last_final.header().timestamp.clone();
        let old = final_time.seconds().is_none_or(|seconds| seconds.saturating_add(RECENT) < unix_seconds);
        let behind = vote_height.0.saturating_sub(1).saturating_sub(last_final.height().0) > BEHIND;
        Ok(Self {
            chain_id: engine.network().rules.chain_id.clone(),
            address: engine.address(),
            genesis_hash: engine.network().genesis_hash,
            root_hash: engine.memory().root,
            root_height: Height(0),
            final_hash: last_final.hash,
            final_height: last_final.height(),
            final_epoch: last_final.header().epoch,
            final_time,
            epoch: engine.memory().epoch,
            current_height: Height(vote_height.0.saturating_sub(1)).max(last_final.height()),
            current_hash: vote.map_or(last_final.hash, |vote: &Vote| vote.block),
            tip_hash: tip.hash,
            tip_height: tip.height(),
            syncing: if vote.is_none() { was_syncing } else { old && behind },
        })
    }
}
