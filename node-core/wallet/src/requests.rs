//! What a wallet can be asked to put on the chain.

use serde::{Deserialize, Serialize};
use theta_types::{
    Address, ChainRules, Coins, Height, MAX_RESERVE_DURATION, MIN_RESERVE_DURATION, ReserveFundTx,
    ResourceId, SendTx, Split, SplitRuleTx, Transaction, TxInput, TxOutput, Wei,
};

use crate::fees::{regular_fee, send_fee};
use crate::reserve::WHOLE;
use crate::wallet::{Wallet, WalletError};

/// A transaction that the wallet makes for itself: the sender gives it a sequence and a fee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxRequest {
    /// Coins to others.
    Send {
        /// Who gets how much.
        outputs: Vec<TxOutput>,
    },
    /// A reserve for one provider's resource.
    Reserve {
        /// TFuelWei that payments can take. One wei more is locked as collateral.
        fund: Wei,
        /// The provider's resource, and no other.
        resource_id: ResourceId,
        /// Blocks until it ends: 300 to 43,200.
        duration: u64,
    },
    /// The wallet's own rule for its own resource: all payments to itself.
    OwnResource {
        /// The resource. Take [`random_resource_id`] once, and keep it.
        resource_id: ResourceId,
        /// Blocks until the rule ends.
        duration: u64,
    },
}

/// Blocks in ten years, at six seconds each: how long a provider's rule lasts.
pub const RULE_DURATION: u64 = 10 * 365 * 24 * 600;

/// Why a request makes no transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing to send.
    #[error("nothing to send")]
    Nothing,
    /// Somebody stands twice in it, or gets from itself: the chain refuses that.
    #[error("a send names every address once, and not its sender")]
    RepeatedAddress,
    /// Too short or too long.
    #[error("a reserve lasts {MIN_RESERVE_DURATION} to {MAX_RESERVE_DURATION} blocks, not {0}")]
    Duration(u64),
}

impl TxRequest {
    /// Coins to one address.
    pub fn send(to: Address, coins: Coins) -> Self {
        Self::Send { outputs: vec![TxOutput { address: to, coins }] }
    }

    /// What it takes from the balance for a block of this height, fee included. Collateral comes back, and is in it.
    pub fn cost(&self, rules: &ChainRules, height: Height) -> Coins {
        let fee = Coins::tfuel(self.fee(rules, height));
        match self {
            Self::Send { outputs } => outputs.iter().map(|output| &output.coins).sum::<Coins>() + fee,
            Self::Reserve { fund, .. } => Coins::tfuel(fund + &collateral(fund)) + fee,
            Self::OwnResource { .. } => fee,
        }
    }

    /// The fee in TFuelWei for a block of this height.
    pub fn fee(&self, rules: &ChainRules, height: Height) -> Wei {
        match self {
            Self::Send { outputs } => send_fee(outputs.len() + 1, height, &rules.forks),
            Self::Reserve { .. } | Self::OwnResource { .. } => regular_fee(height, &rules.forks),
        }
    }

    /// Checks what the chain would refuse for its form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, sender: &Address) -> Result<(), RequestError> {
        match self {
            Self::Send { outputs } => {
                if outputs.is_empty() || outputs.iter().any(|output| output.coins.is_zero()) {
                    return Err(RequestError::Nothing);
                }
                let mut addresses: Vec<_> =
                    outputs.iter().map(|output| output.address).chain([*sender]).collect();
                addresses.sort();
                if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(RequestError::RepeatedAddress);
                }
            }
            Self::Reserve { fund, duration, .. } => {
                if fund.is_zero() {
                    return Err(RequestError::Nothing);
                }
                if !(MIN_RESERVE_DURATION..=MAX_RESERVE_DURATION).contains(duration) {
                    return Err(RequestError::Duration(*duration));
                }
            }
            Self::OwnResource { .. } => {}
        }
        Ok(())
    }

    /// The signed transaction with this sequence, for a block of this height.
    ///
    /// # Errors
    /// The wallet is locked.
    pub fn sign(
        &self,
        wallet: &Wallet,
        sequence: u64,
        rules: &ChainRules,
        height: Height,
    ) -> Result<Transaction, WalletError> {
        let chain_id = rules.chain_id.as_str();
        let fee = Coins::tfuel(self.fee(rules, height));
        let input = |coins| TxInput::unsigned(wallet.address(), coins, sequence);
        Ok(match self {
            Self::Send { outputs } => {
                let inputs = vec![input(self.cost(rules, height))];
                let mut tx = SendTx { fee, inputs, outputs: outputs.clone() };
                wallet.sign_send(chain_id, &mut tx)?;
                tx.into()
            }
            Self::Reserve { fund, resource_id, duration } => {
                let mut tx = ReserveFundTx {
                    fee,
                    source: input(Coins::tfuel(fund.clone())),
                    collateral: Coins::tfuel(collateral(fund)),
                    resource_ids: vec![resource_id.clone()],
                    duration: *duration,
                };
                wallet.sign_reserve(chain_id, &mut tx)?;
                tx.into()
            }
            Self::OwnResource { resource_id, duration } => {
                let mut tx = SplitRuleTx {
                    fee,
                    resource_id: resource_id.clone(),
                    initiator: input(Coins::zero()),
                    splits: vec![Split { address: wallet.address(), percentage: WHOLE }],
                    duration: *duration,
                };
                wallet.sign_split_rule(chain_id, &mut tx)?;
                tx.into()
            }
        })
    }
}

/// The least collateral that the chain takes: more than the fund.
fn collateral(fund: &Wei) -> Wei {
    fund + &Wei::from(1u64)
}

/// A resource name that nobody else has: 32 hex digits.
///
/// # Errors
/// The operating system gave no randomness.
pub fn random_resource_id() -> Result<ResourceId, theta_types::KeyError> {
    let mut bytes = [0u8; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes)
        .map_err(|_| theta_types::KeyError::Randomness)?;
    Ok(ResourceId::from(hex::encode(bytes)))
}
