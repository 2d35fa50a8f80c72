//! What needs the running node of a wallet: send, balance, lock, unlock.

use anyhow::Context;
use clap::Args;
use serde_json::json;
use theta_types::{Address, Coins, Wei, checksum_text, format_coins};
use theta_wallet::{Prompt, TerminalPrompt};

use super::{Place, output::columns, running::ask};
use crate::{
    control::{
        Status,
        types::{SendCoins, SentTransaction, Unlock},
    },
    settings::Tfuel,
};

/// Sends coins to an address.
#[derive(Debug, Args)]
#[command(
    after_help = "The fee is 0.3 TFUEL. The same --request is never sent twice, so a command that broke off can be repeated.

Examples:
  thetis wallet send 0x2E833968E5bB786Ae419c4d13189fB081Cc43bab --tfuel 12.5"
)]
pub struct SendCommand {
    /// To whom
    to: Address,
    /// How much TFUEL
    #[arg(long, value_name = "TFUEL")]
    tfuel: Option<Tfuel>,
    /// How much THETA
    #[arg(long, value_name = "THETA")]
    theta: Option<Tfuel>,
    /// A name for this payment
    #[arg(long, value_name = "NAME")]
    request: Option<String>,
}

impl SendCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let wei = |amount: Option<Tfuel>| amount.map(|amount| amount.wei().clone()).unwrap_or_else(Wei::zero);
        let coins = Coins { theta: wei(self.theta), tfuel: wei(self.tfuel) };
        if coins.is_zero() {
            anyhow::bail!("nothing to send: give --tfuel or --theta");
        }
        let request = self.request.unwrap_or_else(|| hex::encode(rand::random::<[u8; 16]>()));
        let order = SendCoins { request: request.clone(), to: self.to, coins };
        let sent: SentTransaction =
            ask(place, async |client| Ok(client.post("/api/wallet/send", &order).await?)).with_context(
                || {
                    format!(
                        "not sent, or not known; to ask again without paying twice, add --request {request}"
                    )
                },
            )?;
        place
            .output()
            .print(&sent, |sent| format!("Sent to {}: {}", checksum_text(&order.to), sent.transaction))
    }
}

/// `thetis wallet balance`.
pub(super) fn balance(place: &Place) -> anyhow::Result<()> {
    let status: Status = ask(place, async |client| Ok(client.get("/api/status").await?))?;
    place.output().print(&status.wallet, |wallet| {
        let amount = |coin: fn(&Coins) -> &Wei| match &wallet.balance {
            Some(coins) => format_coins(coin(coins)),
            None => "the chain does not answer".into(),
        };
        columns(&[
            ("Wallet", checksum_text(&wallet.address)),
            ("TFUEL", amount(|coins| &coins.tfuel)),
            ("THETA", amount(|coins| &coins.theta)),
            ("Locked in reserves", format!("{} TFUEL", format_coins(&status.spent.locked))),
        ])
    })
}

/// `thetis wallet lock`.
pub(super) fn lock(place: &Place) -> anyhow::Result<()> {
    let status: Status = ask(place, async |client| Ok(client.post("/api/wallet/lock", &json!({})).await?))?;
    place.output().print(&status.wallet, |_| {
        "The wallet is locked: no paid work is taken and nothing is spent. Vouchers are kept.".into()
    })
}

/// `thetis wallet unlock`.
pub(super) fn unlock(place: &Place) -> anyhow::Result<()> {
    // From a file or the terminal: the keyring was tried when the node started.
    let passphrase = match &place.passphrase_file {
        Some(_) => place.passphrase()?.for_unlocking()?.reveal().to_owned(),
        None => TerminalPrompt
            .ask("Passphrase of the wallet")?
            .context("nobody is at the terminal to ask: give --passphrase-file")?
            .to_string(),
    };
    let request = Unlock { passphrase };
    let status: Status = ask(place, async |client| Ok(client.post("/api/wallet/unlock", &request).await?))?;
    place.output().print(&status.wallet, |_| "The wallet is unlocked.".into())
}
