//! The payer's side of payment lines.

mod handle;
mod ledger;
mod store;
mod terms;

pub use handle::{Payer, PayerConfig, PayerError};
pub use ledger::{PayError, PayerLedger, SpendingSummary, UnitsDue};
pub use store::{PayerAccount, PayerBook, PayerChange, PayerLine, PayerReserve, PayerStore, ReserveState};
pub use terms::{FEE, PayerTerms};

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The wallet is locked: unlock it and try again.
    #[error("the wallet is locked")]
    Locked,
    /// The wallet could not sign.
    #[error("the wallet could not sign: {0}")]
    Failed(String),
}

impl From<theta_wallet::WalletError> for SignError {
    fn from(error: theta_wallet::WalletError) -> Self {
        match error {
            theta_wallet::WalletError::Locked => Self::Locked,
            other => Self::Failed(other.to_string()),
        }
    }
}
