//! Transactions: bodies, raw bytes, hashes, and what is signed (spec 01 section 6).

mod coinbase;
mod kind;
mod parts;
mod release_fund;
mod reserve_fund;
mod send;
mod service_payment;
mod sign_bytes;
mod smart_contract;
mod split_rule;

pub use coinbase::CoinbaseTx;
pub use kind::TxKind;
pub use parts::{TxInput, TxOutput};
pub use release_fund::ReleaseFundTx;
pub use reserve_fund::{MAX_RESERVE_DURATION, MIN_RESERVE_DURATION, ReserveFundTx};
pub use send::SendTx;
pub use service_payment::ServicePaymentTx;
pub use sign_bytes::{SignWrapper, signature_accepted};
pub use smart_contract::SmartContractTx;
pub use split_rule::SplitRuleTx;

use serde::Serialize;

use crate::coins::Coins;
use crate::hash::{TxHash, keccak256};
use crate::rlp::{Decode, Encode, Reader, RlpError};

/// Bytes of a raw transaction that are looked at. What lies behind them is ignored, as is all that follows the body.
pub const MAX_RAW_TX_LENGTH: usize = 8 * 1024 * 1024;

/// Accounts that one transaction may touch (spec 01 section 8.2).
pub const MAX_ACCOUNTS_PER_TX: usize = 512;

/// A decoded transaction of a kind that this version executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Transaction {
    /// The proposer's, first in its block.
    Coinbase(CoinbaseTx),
    /// Coins from accounts to accounts.
    Send(SendTx),
    /// Sets coins aside for payments.
    ReserveFund(ReserveFundTx),
    /// Asks for reserved coins back.
    ReleaseFund(ReleaseFundTx),
    /// A payment from a reserved fund.
    ServicePayment(ServicePaymentTx),
    /// A rule that splits payments.
    SplitRule(SplitRuleTx),
}

/// Why raw bytes are no transaction for this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// No transaction of any kind: refuse it.
    #[error("Unknown TX type: {0}")]
    UnknownKind(u16),
    /// A transaction of the chain that this version does not execute yet. A newer version may.
    #[error("{} transactions are not supported by this version", .0.name())]
    Unsupported(TxKind),
    /// Damaged bytes: refuse it.
    #[error("malformed transaction: {0}")]
    Malformed(#[from] RlpError),
}

impl Transaction {
    /// Reads raw bytes: the kind, then the body. What follows the body is ignored; the transaction's hash covers it all the same.
    ///
    /// # Errors
    /// Damaged bytes, an unknown kind, or one that this version does not execute.
    pub fn decode(raw: &[u8]) -> Result<Self, TxError> {
        let mut reader = Reader::new(&raw[..raw.len().min(MAX_RAW_TX_LENGTH)]);
        let number = reader.u16()?;
        let body = &mut reader;
        Ok(match TxKind::from_number(number).ok_or(TxError::UnknownKind(number))? {
            TxKind::Coinbase => Self::Coinbase(CoinbaseTx::decode_from(body)?),
            TxKind::Send => Self::Send(SendTx::decode_from(body)?),
            TxKind::ReserveFund => Self::ReserveFund(ReserveFundTx::decode_from(body)?),
            TxKind::ReleaseFund => Self::ReleaseFund(ReleaseFundTx::decode_from(body)?),
            TxKind::ServicePayment => Self::ServicePayment(ServicePaymentTx::decode_from(body)?),
            TxKind::SplitRule => Self::SplitRule(SplitRuleTx::decode_from(body)?),
            other => return Err(TxError::Unsupported(other)),
        })
    }

    /// The raw bytes in their one canonical form.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        self.kind().number().encode_to(&mut raw);
        match self {
            Self::Coinbase(tx) => tx.encode_to(&mut raw),
            Self::Send(tx) => tx.encode_to(&mut raw),
            Self::ReserveFund(tx) => tx.encode_to(&mut raw),
            Self::ReleaseFund(tx) => tx.encode_to(&mut raw),
            Self::ServicePayment(tx) => tx.encode_to(&mut raw),
            Self::SplitRule(tx) => tx.encode_to(&mut raw),
        }
        raw
    }

    /// Names a transaction by its raw bytes as they stand in block or mempool.
    pub fn hash_of_raw(raw: &[u8]) -> TxHash {
        TxHash(keccak256(raw))
    }

    /// The hash of the canonical bytes. It equals [`Transaction::hash_of_raw`] unless the raw bytes had something behind the body.
    pub fn hash(&self) -> TxHash {
        Self::hash_of_raw(&self.encode())
    }

    /// The reference's internal name: keccak256 of what is signed (of what the target signs, for a service payment).
    pub fn id(&self, chain_id: &str) -> alloy_primitives::B256 {
        keccak256(match self {
            Self::Coinbase(tx) => tx.sign_bytes(chain_id),
            Self::Send(tx) => tx.sign_bytes(chain_id, SignWrapper::V1),
            Self::ReserveFund(tx) => tx.sign_bytes(chain_id, SignWrapper::V1),
            Self::ReleaseFund(tx) => tx.sign_bytes(chain_id, SignWrapper::V1),
            Self::ServicePayment(tx) => tx.target_sign_bytes(chain_id),
            Self::SplitRule(tx) => tx.sign_bytes(chain_id, SignWrapper::V1),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> TxKind {
        match self {
            Self::Coinbase(_) => TxKind::Coinbase,
            Self::Send(_) => TxKind::Send,
            Self::ReserveFund(_) => TxKind::ReserveFund,
            Self::ReleaseFund(_) => TxKind::ReleaseFund,
            Self::ServicePayment(_) => TxKind::ServicePayment,
            Self::SplitRule(_) => TxKind::SplitRule,
        }
    }

    /// Its fee; a coinbase has none.
    pub fn fee(&self) -> Option<&Coins> {
        match self {
            Self::Coinbase(_) => None,
            Self::Send(tx) => Some(&tx.fee),
            Self::ReserveFund(tx) => Some(&tx.fee),
            Self::ReleaseFund(tx) => Some(&tx.fee),
            Self::ServicePayment(tx) => Some(&tx.fee),
            Self::SplitRule(tx) => Some(&tx.fee),
        }
    }
}

macro_rules! from_body {
    ($($variant:ident($body:ident)),*) => {$(
        impl From<$body> for Transaction {
            fn from(body: $body) -> Self {
                Self::$variant(body)
            }
        }
    )*};
}
from_body!(
    Coinbase(CoinbaseTx),
    Send(SendTx),
    ReserveFund(ReserveFundTx),
    ReleaseFund(ReleaseFundTx),
    ServicePayment(ServicePaymentTx),
    SplitRule(SplitRuleTx)
);
