//! theta.GetBlock and theta.GetBlockByHeight.

use serde::{Deserialize, Deserializer, Serialize};
use theta_consensus::StoredBlock;
use theta_types::json::decimal;
use theta_types::{
    Address, B256, BlockHash, CommitCertificate, EdgeNodeVotes, Epoch, GuardianVotes, Height, Transaction,
    TxHash, TxKind,
};

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params;
use crate::service::{Answer, answer};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ByHash {
    #[serde(deserialize_with = "strict_hash")]
    hash: BlockHash,
    #[serde(deserialize_with = "params::flag")]
    include_eth_tx_hashes: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ByHeight {
    #[serde(deserialize_with = "params::height")]
    height: u64,
    #[serde(deserialize_with = "params::flag")]
    include_eth_tx_hashes: bool,
    #[serde(deserialize_with = "params::flag")]
    include_unfinalized_blocks: bool,
}

pub(super) async fn by_hash(chain: &dyn Chain, arguments: ByHash) -> Result<BlockObject, RpcError> {
    if arguments.hash.is_zero() {
        return Err(RpcError::failed("Block hash must be specified"));
    }
    let stored = chain.block(arguments.hash).await.map_err(RpcError::failed)?;
    let stored = stored.ok_or_else(|| RpcError::failed("KeyNotFound"))?;
    Ok(BlockObject::new(stored, arguments.include_eth_tx_hashes))
}

/// The block; an empty object where there is none.
pub(super) async fn by_height(chain: &dyn Chain, arguments: ByHeight) -> Answer {
    let height = Height(arguments.height);
    let stored = if arguments.include_unfinalized_blocks {
        chain.any_block(height).await
    } else {
        chain.final_block(height).await
    };
    match stored.map_err(RpcError::failed)? {
        Some(stored) => answer(&BlockObject::new(stored, arguments.include_eth_tx_hashes)),
        None => answer(&serde_json::Map::new()),
    }
}

/// `0x` and 64 digits.
fn strict_hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BlockHash, D::Error> {
    use serde::de::Error;

    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(BlockHash::ZERO) };
    if !text.starts_with("0x") && !text.starts_with("0X") {
        return Err(D::Error::custom("hex string without 0x prefix"));
    }
    text.parse().map_err(D::Error::custom)
}

/// A block as clients know it (spec 06 section 1.6).
#[derive(Serialize)]
pub(super) struct BlockObject {
    chain_id: String,
    #[serde(with = "decimal")]
    epoch: Epoch,
    #[serde(with = "decimal")]
    height: Height,
    parent: BlockHash,
    transactions_hash: B256,
    state_hash: B256,
    timestamp: String,
    proposer: Address,
    hcc: CommitCertificate,
    guardian_votes: Option<GuardianVotes>,
    elite_edge_node_votes: Option<EdgeNodeVotes>,
    children: Vec<BlockHash>,
    status: u16,
    hash: BlockHash,
    /// Absent for a block without any, which only genesis is.
    transactions: Option<Vec<Entry>>,
}

/// A transaction of a block. Only contract transactions have a receipt and changes of balances.
#[derive(Serialize)]
struct Entry {
    raw: Option<Transaction>,
    #[serde(rename = "type")]
    kind: u16,
    hash: TxHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    eth_tx_hash: Option<TxHash>,
    receipt: Option<()>,
    balance_changes: Option<()>,
}

impl BlockObject {
    fn new(stored: StoredBlock, with_eth_hashes: bool) -> Self {
        let header = stored.block.header;
        let entries: Vec<_> =
            stored.block.transactions.iter().map(|raw| Entry::new(raw, with_eth_hashes)).collect();
        Self {
            chain_id: header.chain_id,
            epoch: header.epoch,
            height: header.height,
            parent: header.parent,
            transactions_hash: header.tx_root,
            state_hash: header.state_hash,
            timestamp: header.timestamp.to_string(),
            proposer: header.proposer,
            hcc: header.hcc,
            guardian_votes: header.guardian_votes,
            elite_edge_node_votes: header.edge_node_votes,
            children: stored.children,
            status: stored.status.number(),
            hash: stored.hash,
            transactions: (!entries.is_empty()).then_some(entries),
        }
    }
}

impl Entry {
    fn new(raw: &[u8], with_eth_hash: bool) -> Self {
        let transaction = Transaction::decode(raw).ok();
        Self {
            kind: transaction.as_ref().map_or(TxKind::Coinbase, Transaction::kind).number(),
            raw: transaction,
            hash: Transaction::hash_of_raw(raw),
            // None of the kinds so far has a form of Ethereum's.
            eth_tx_hash: with_eth_hash.then_some(TxHash::ZERO),
            receipt: None,
            balance_changes: None,
        }
    }
}
