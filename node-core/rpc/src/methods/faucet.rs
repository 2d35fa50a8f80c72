//! thetis.Faucet: coins of the local network for whoever asks. Not a method of the reference.

use std::fmt;

use serde::{Deserialize, Serialize};
use theta_types::{
    Coins, SecretKey, SendTx, Transaction, TxHash, TxInput, TxOutput, Wei, format_coins, parse_address,
};
use tokio::sync::Mutex;

use crate::chain::Chain;
use crate::error::RpcError;
use crate::params;

/// Fee of a send between two accounts, by the rules of the local network.
const SEND_FEE: u64 = 300_000_000_000_000_000;

/// An account that gives its coins away, a bounded part at a time. It exists on the local network alone, where coins are worth nothing.
pub struct Faucet {
    key: SecretKey,
    portion: Coins,
    /// One gift at a time: the next one's sequence follows from the last.
    turn: Mutex<()>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Arguments {
    #[serde(deserialize_with = "params::text")]
    address: String,
    tfuelwei: Option<Wei>,
}

#[derive(Serialize)]
pub(super) struct Gift {
    hash: TxHash,
    coins: Coins,
}

impl Faucet {
    /// Gives at most `portion` a call.
    pub fn new(key: SecretKey, portion: Coins) -> Self {
        Self { key, portion, turn: Mutex::new(()) }
    }

    /// Sends the portion, or as much TFuel of it as was asked for.
    pub(super) async fn call(&self, chain: &dyn Chain, arguments: Arguments) -> Result<Gift, RpcError> {
        let to = parse_address(&arguments.address).map_err(RpcError::arguments)?;
        let coins = match arguments.tfuelwei {
            None => self.portion.clone(),
            Some(asked) if asked.is_zero() || asked > self.portion.tfuel => {
                let most = format_coins(&self.portion.tfuel);
                return Err(RpcError::failed(format!("the faucet gives at most {most} TFuel at a time")));
            }
            Some(asked) => Coins::tfuel(asked),
        };
        let _turn = self.turn.lock().await;
        let own = chain.account_preview(&self.key.address()).await.map_err(RpcError::failed)?;
        let own = own.ok_or_else(|| RpcError::failed("the faucet has no account on this chain"))?;
        let fee = Coins::tfuel(Wei::from(SEND_FEE));
        let mut tx = SendTx {
            inputs: vec![TxInput::unsigned(
                self.key.address(),
                &coins + &fee,
                own.sequence.saturating_add(1),
            )],
            outputs: vec![TxOutput { address: to, coins: coins.clone() }],
            fee,
        };
        tx.sign(&chain.status().chain_id, &self.key);
        let hash = chain.submit(Transaction::from(tx).encode()).await.map_err(RpcError::failed)?;
        Ok(Gift { hash, coins })
    }
}

impl fmt::Debug for Faucet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faucet").field("portion", &self.portion).finish_non_exhaustive()
    }
}
