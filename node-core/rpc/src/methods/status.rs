//! theta.GetStatus.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use theta_types::{BlockHash, Epoch, Height, checksum_text, json::decimal};

use crate::chain::Chain;

#[derive(Serialize)]
pub(super) struct Status {
    address: String,
    chain_id: String,
    peer_id: String,
    latest_finalized_block_hash: BlockHash,
    #[serde(with = "decimal")]
    latest_finalized_block_height: Height,
    latest_finalized_block_time: String,
    #[serde(with = "decimal")]
    latest_finalized_block_epoch: Epoch,
    #[serde(with = "decimal")]
    current_epoch: Epoch,
    #[serde(with = "decimal")]
    current_height: Height,
    current_hash: BlockHash,
    #[serde(with = "decimal")]
    current_time: u64,
    syncing: bool,
    tip_hash: BlockHash,
    genesis_block_hash: BlockHash,
    #[serde(with = "decimal")]
    snapshot_block_height: Height,
    snapshot_block_hash: BlockHash,
}

pub(super) fn status(chain: &dyn Chain) -> Status {
    let status = chain.status();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Status {
        address: checksum_text(&status.address),
        chain_id: status.chain_id,
        // Nodes of the main network show their address here (spec 06, GetStatus).
        peer_id: checksum_text(&status.address),
        latest_finalized_block_hash: status.final_hash,
        latest_finalized_block_height: status.final_height,
        latest_finalized_block_time: status.final_time.to_string(),
        latest_finalized_block_epoch: status.final_epoch,
        current_epoch: status.epoch,
        current_height: status.current_height,
        current_hash: status.current_hash,
        current_time: now.as_secs(),
        syncing: status.syncing,
        tip_hash: status.tip_hash,
        genesis_block_hash: status.genesis_hash,
        snapshot_block_height: status.root_height,
        snapshot_block_hash: status.root_hash,
    }
}
