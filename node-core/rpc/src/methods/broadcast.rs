//! theta.BroadcastRawTransaction and theta.BroadcastRawTransactionAsync.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use theta_consensus::TransactionStatus;
use theta_types::{BlockHeader, TxHash};

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params;

/// How long the synchronous form waits for a final block.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Arguments {
    #[serde(deserialize_with = "params::text")]
    tx_bytes: String,
}

impl Arguments {
    fn raw(&self) -> Result<Vec<u8>, RpcError> {
        let text = self.tx_bytes.as_str();
        hex::decode(text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text))
            .map_err(|error| RpcError::failed(format!("encoding/hex: {error}")))
    }
}

#[derive(Serialize)]
pub(super) struct Taken {
    hash: TxHash,
}

#[derive(Serialize)]
pub(super) struct Included {
    hash: TxHash,
    block: BlockHeader,
}

/// Answers as soon as the mempool has it.
pub(super) async fn at_once(chain: &dyn Chain, arguments: Arguments) -> Result<Taken, RpcError> {
    let hash = chain.submit(arguments.raw()?).await.map_err(RpcError::failed)?;
    Ok(Taken { hash })
}

/// Answers when a final block has it.
pub(super) async fn and_wait(chain: &dyn Chain, arguments: Arguments) -> Result<Included, RpcError> {
    // Before it is submitted, so that no block is missed.
    let mut finalized = chain.final_heights();
    let hash = chain.submit(arguments.raw()?).await.map_err(RpcError::failed)?;
    let wait = async {
        loop {
            let status = chain.transaction(hash).await.map_err(RpcError::failed)?;
            if let TransactionStatus::Finalized(place) = status {
                let block = chain.block(place.block).await.map_err(RpcError::failed)?;
                let block = block.ok_or_else(|| RpcError::failed("KeyNotFound"))?;
                return Ok(Included { hash, block: block.block.header });
            }
            if finalized.changed().await.is_err() {
                return Err(RpcError::failed("the chain has stopped"));
            }
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(included) => included,
        Err(_) => Err(RpcError::failed("Timed out waiting for transaction to be included")),
    }
}
