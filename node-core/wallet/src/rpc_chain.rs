//! A chain behind the theta.* RPC of a chosen URL: trusted, not verified.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use theta_types::{Account, Address, Height, SplitRule, Transaction, TxHash, checksum_text};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::debug;

use crate::chain_access::{ChainAccess, ChainError, TxStatus};
use crate::rpc_client::{CallError, METHOD_ERROR, RpcClient};

/// How patient and how curious.
#[derive(Debug, Clone, Copy)]
pub struct RpcOptions {
    /// Limit of one exchange.
    pub timeout: Duration,
    /// How often the finalized height is asked for.
    pub poll: Duration,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), poll: Duration::from_secs(1) }
    }
}

/// A node's RPC. Asks for the height in the background until dropped.
#[derive(Debug)]
pub struct RpcChain {
    client: RpcClient,
    chain_id: String,
    heights: watch::Receiver<Height>,
    poll: AbortHandle,
}

#[derive(Deserialize)]
struct Status {
    chain_id: String,
    #[serde(with = "theta_types::json::decimal")]
    latest_finalized_block_height: Height,
}

#[derive(Deserialize)]
struct Submitted {
    hash: TxHash,
}

#[derive(Deserialize)]
struct Found {
    status: String,
    #[serde(with = "theta_types::json::decimal")]
    block_height: Height,
}

impl RpcChain {
    /// Connects to `http://HOST:PORT/rpc` and learns the chain's name.
    ///
    /// # Errors
    /// No node answers there.
    pub async fn connect(url: &str, options: RpcOptions) -> Result<Self, ChainError> {
        let client = RpcClient::new(url, options.timeout)?;
        let status = status(&client).await?;
        let (sender, heights) = watch::channel(status.latest_finalized_block_height);
        let poll = tokio::spawn(watch_height(client.clone(), sender, options.poll)).abort_handle();
        Ok(Self { client, chain_id: status.chain_id, heights, poll })
    }

    async fn ask<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ChainError> {
        parse(method, self.client.read(method, params).await.map_err(failed)?)
    }
}

impl Drop for RpcChain {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

#[async_trait]
impl ChainAccess for RpcChain {
    fn chain_id(&self) -> String {
        self.chain_id.clone()
    }

    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, ChainError> {
        let hash = Transaction::hash_of_raw(&raw);
        let method = "theta.BroadcastRawTransactionAsync";
        match self.client.call(method, json!({ "tx_bytes": hex::encode(raw) })).await {
            Ok(result) => {
                let submitted: Submitted = parse(method, result)?;
                if submitted.hash != hash {
                    return Err(ChainError::BadAnswer(format!("it took {} for {hash}", submitted.hash)));
                }
                Ok(hash)
            }
            Err(CallError::Failure(failure)) if failure.message.contains("already seen") => Ok(hash),
            Err(CallError::Failure(failure)) if failure.code == METHOD_ERROR => {
                match passes_by_itself(&failure.message) {
                    true => Err(ChainError::Unreachable(failure.message)),
                    false => Err(ChainError::Refused(failure.message)),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn account(&self, address: Address) -> Result<Option<Account>, ChainError> {
        let method = "theta.GetAccount";
        match self.client.read(method, json!({ "address": checksum_text(&address) })).await {
            Ok(result) => Ok(Some(Account { address, ..parse(method, result)? })),
            // The reference's answer for an account that does not exist (spec 06 section 1.8).
            Err(CallError::Failure(failure))
                if failure.code == METHOD_ERROR && failure.message.ends_with("is not found") =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn finalized_height(&self) -> Result<Height, ChainError> {
        Ok(status(&self.client).await?.latest_finalized_block_height)
    }

    async fn split_rule(&self, resource_id: &str) -> Result<Option<SplitRule>, ChainError> {
        let method = "theta.GetSplitRule";
        let result: Value = self.ask(method, json!({ "resource_id": resource_id })).await?;
        // An unknown resource is answered by an empty object.
        if result.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(None);
        }
        parse(method, result).map(Some)
    }

    async fn transaction(&self, hash: TxHash) -> Result<TxStatus, ChainError> {
        // Without prefix: the reference looks into its mempool by the text as it is given.
        let found: Found = self.ask("theta.GetTransaction", json!({ "hash": hex::encode(hash.0) })).await?;
        match found.status.as_str() {
            "not_found" => Ok(TxStatus::NotFound),
            "pending" => Ok(TxStatus::Pending),
            "finalized" => Ok(TxStatus::Finalized { height: found.block_height }),
            "abandoned" => Ok(TxStatus::Abandoned),
            other => Err(ChainError::BadAnswer(format!("transaction status {other:?}"))),
        }
    }

    fn heights(&self) -> watch::Receiver<Height> {
        self.heights.clone()
    }
}

/// Whether the mempool had no room: then the same bytes may be taken after the next block, and nothing is the matter with
/// them. All refusals have one code (spec 06 section 1.4), so only the words tell. A Thetis node ends these in this way; the
/// reference's mempool has no limits.
fn passes_by_itself(refusal: &str) -> bool {
    refusal.ends_with("try again later")
}

async fn status(client: &RpcClient) -> Result<Status, ChainError> {
    let method = "theta.GetStatus";
    parse(method, client.read(method, json!({})).await.map_err(failed)?)
}

async fn watch_height(client: RpcClient, heights: watch::Sender<Height>, poll: Duration) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !heights.is_closed() {
        ticks.tick().await;
        match status(&client).await {
            // Heights only grow; a node that was reset must not take anybody back in time.
            Ok(status) => {
                let height = status.latest_finalized_block_height;
                heights.send_if_modified(|known| {
                    let grown = height > *known;
                    *known = height.max(*known);
                    grown
                });
            }
            Err(error) => debug!(%error, "the node did not say its height"),
        }
    }
}

fn parse<T: DeserializeOwned>(method: &str, result: Value) -> Result<T, ChainError> {
    serde_json::from_value(result).map_err(|error| ChainError::BadAnswer(format!("{method}: {error}")))
}

fn failed(error: CallError) -> ChainError {
    match error {
        CallError::Chain(error) => error,
        CallError::Failure(failure) => {
            ChainError::BadAnswer(format!("error {}: {}", failure.code, failure.message))
        }
    }
}
