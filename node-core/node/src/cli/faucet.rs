//! `thetis faucet`.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use theta_types::{Address, Coins, TxHash, checksum_text, format_coins};
use theta_wallet::{ChainAccess, RpcChain, RpcOptions, TxStatus};

use super::{Place, running::runtime};
use crate::{
    control::{ControlClient, Status},
    settings::Tfuel,
};

/// How long the gift may take to be final: some blocks of a second each.
const PATIENCE: Duration = Duration::from_secs(30);

/// JSON-RPC's code for a method that a server does not have.
const METHOD_NOT_FOUND: i64 = -32_601;

/// Gives coins of the local network to an address.
#[derive(Debug, Args)]
#[command(after_help = "Only a local network has a faucet; its coins are worth nothing.

Examples:
  thetis faucet 0x2E833968E5bB786Ae419c4d13189fB081Cc43bab
  thetis faucet 0x2E833968E5bB786Ae419c4d13189fB081Cc43bab --amount 50")]
pub struct Faucet {
    /// To whom
    address: Address,
    /// How much TFUEL; without it the faucet's usual portion of both tokens
    #[arg(long, value_name = "TFUEL")]
    amount: Option<Tfuel>,
    /// The theta.* RPC to ask; by default the one of the node that runs on the data folder
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Gift {
    hash: TxHash,
    coins: Coins,
}

impl Faucet {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let gift = runtime()?.block_on(self.give(place))?;
        place.output().print(&gift, |gift| {
            format!(
                "{} got {} TFUEL and {} THETA.",
                checksum_text(&self.address),
                format_coins(&gift.coins.tfuel),
                format_coins(&gift.coins.theta)
            )
        })
    }

    async fn give(&self, place: &Place) -> anyhow::Result<Gift> {
        let url = match &self.rpc {
            Some(url) => url.clone(),
            None => ControlClient::attach(&place.folder()?)?.get::<Status>("/api/status").await?.chain.rpc,
        };
        let mut arguments = json!({ "address": checksum_text(&self.address) });
        if let Some(amount) = &self.amount {
            arguments["tfuelwei"] = amount.wei().to_string().into();
        }
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "thetis.Faucet", "params": [arguments] });
        let answer: Value = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .post(&url)
            .json(&request)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .with_context(|| format!("{url} does not answer"))?
            .json()
            .await?;
        if answer["error"]["code"] == METHOD_NOT_FOUND {
            bail!("this network has no faucet: only a node that runs a local network itself has one");
        }
        if let Some(message) = answer["error"]["message"].as_str() {
            bail!("the faucet gave nothing: {message}");
        }
        let gift: Gift = serde_json::from_value(answer["result"].clone())
            .context("the faucet's answer is not understood")?;
        let chain = RpcChain::connect(&url, RpcOptions::default()).await?;
        let waited = tokio::time::timeout(PATIENCE, wait_for(&chain, gift.hash)).await;
        waited.context("the gift was sent, and is not final yet")??;
        Ok(gift)
    }
}

/// Waits until a transaction is final.
async fn wait_for(chain: &RpcChain, hash: TxHash) -> anyhow::Result<()> {
    loop {
        match chain.transaction(hash).await? {
            TxStatus::Finalized { .. } => return Ok(()),
            TxStatus::Abandoned => bail!("the chain dropped the gift: try again"),
            TxStatus::Pending | TxStatus::NotFound => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
