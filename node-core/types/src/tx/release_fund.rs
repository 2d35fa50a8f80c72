//! Asking for reserved coins back.

use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::keys::SecretKey;
use crate::rlp::rlp_structure;
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind};

/// Asks for a reserved fund back. Never succeeds: a fund past its end is released by itself when its account is next touched
/// (spec 01 section 6.7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFundTx {
    /// Burnt.
    pub fee: Coins,
    /// The owner.
    pub source: TxInput,
    /// Which fund.
    #[serde(with = "crate::json::decimal")]
    pub reserve_sequence: u64,
}

rlp_structure!(ReleaseFundTx { fee, source, reserve_sequence });

impl ReleaseFundTx {
    /// What the owner signs.
    pub fn sign_bytes(&self, chain_id: &str, wrapper: SignWrapper) -> Vec<u8> {
        let body = Self { source: self.source.without_signature(), ..self.clone() };
        sign_bytes(chain_id, TxKind::ReleaseFund, &body, wrapper)
    }

    /// Signs as the owner.
    pub fn sign(&mut self, chain_id: &str, key: &SecretKey) {
        self.source.signature = key.sign(&self.sign_bytes(chain_id, SignWrapper::V1));
    }
}
