//! theta.GetTransaction.

use serde::{Deserialize, Serialize};
use theta_consensus::TransactionStatus;
use theta_types::json::decimal;
use theta_types::{BlockHash, Height, Transaction, TxHash, lenient_hash};

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Arguments {
    #[serde(deserialize_with = "params::text")]
    hash: String,
}

/// What is known of a transaction; zeros where it is in no block.
#[derive(Serialize)]
pub(super) struct Found {
    block_hash: BlockHash,
    #[serde(with = "decimal")]
    block_height: Height,
    status: &'static str,
    hash: TxHash,
    #[serde(rename = "type")]
    kind: u16,
    transaction: Option<Transaction>,
    receipt: Option<()>,
    /// The reference's spelling, which clients read.
    blance_changes: Option<()>,
}

pub(super) async fn transaction(chain: &dyn Chain, arguments: Arguments) -> Result<Found, RpcError> {
    if arguments.hash.is_empty() {
        return Err(RpcError::failed("Transanction hash must be specified"));
    }
    let hash = TxHash(lenient_hash(&arguments.hash));
    let status = chain.transaction(hash).await.map_err(RpcError::failed)?;
    let (status, place) = match status {
        TransactionStatus::NotFound => ("not_found", None),
        TransactionStatus::Abandoned => ("abandoned", None),
        TransactionStatus::Pending(place) => ("pending", place),
        TransactionStatus::Finalized(place) => ("finalized", Some(place)),
    };
    let mut found = Found {
        block_hash: BlockHash::ZERO,
        block_height: Height(0),
        status,
        hash: TxHash::ZERO,
        kind: 0,
        transaction: None,
        receipt: None,
        blance_changes: None,
    };
    if let Some(place) = place {
        (found.block_hash, found.block_height, found.hash) = (place.block, place.height, hash);
        let block = chain.block(place.block).await.map_err(RpcError::failed)?;
        let raw = block.and_then(|stored| {
            let index = usize::try_from(place.index).ok()?;
            stored.block.transactions.into_iter().nth(index)
        });
        found.transaction = raw.and_then(|raw| Transaction::decode(&raw).ok());
        found.kind = found.transaction.as_ref().map_or(0, |transaction| transaction.kind().number());
    }
    Ok(found)
}
