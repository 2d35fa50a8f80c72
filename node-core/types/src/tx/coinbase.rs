//! The proposer's own transaction.

use serde::{Deserialize, Serialize};

use crate::height::Height;
use crate::keys::SecretKey;
use crate::rlp::rlp_structure;
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind, TxOutput};

/// First in its block: mints the block's rewards, if any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoinbaseTx {
    /// The proposer, without coins and with sequence 0.
    pub proposer: TxInput,
    /// Who is rewarded with how much. The order means nothing.
    #[serde(with = "crate::json::list_or_null")]
    pub outputs: Vec<TxOutput>,
    /// Height of the parent, not of the block itself.
    #[serde(with = "crate::json::decimal")]
    pub block_height: Height,
}

rlp_structure!(CoinbaseTx { proposer, outputs, block_height });

impl CoinbaseTx {
    /// What the proposer signs.
    pub fn sign_bytes(&self, chain_id: &str) -> Vec<u8> {
        let body = Self { proposer: self.proposer.without_signature(), ..self.clone() };
        sign_bytes(chain_id, TxKind::Coinbase, &body, SignWrapper::V1)
    }

    /// Signs as the proposer.
    pub fn sign(&mut self, chain_id: &str, key: &SecretKey) {
        self.proposer.signature = key.sign(&self.sign_bytes(chain_id));
    }
}
