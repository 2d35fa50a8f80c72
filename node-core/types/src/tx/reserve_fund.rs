//! Coins set aside for payments.

use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::keys::SecretKey;
use crate::resource::ResourceId;
use crate::rlp::rlp_structure;
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind};

/// Least blocks that a fund is reserved for (spec 01 section 8.2).
pub const MIN_RESERVE_DURATION: u64 = 300;

/// Most blocks that a fund is reserved for.
pub const MAX_RESERVE_DURATION: u64 = 43_200;

/// Reserves a fund for payments on named resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveFundTx {
    /// Burnt.
    pub fee: Coins,
    /// The payer; its coins are the fund, TFuel only. Its sequence names the fund.
    pub source: TxInput,
    /// Locked besides; more than the fund.
    pub collateral: Coins,
    /// What may be paid from it.
    #[serde(with = "crate::json::list_or_null")]
    pub resource_ids: Vec<ResourceId>,
    /// Blocks from the parent's height to the fund's end: [`MIN_RESERVE_DURATION`] to [`MAX_RESERVE_DURATION`].
    #[serde(with = "crate::json::decimal")]
    pub duration: u64,
}

rlp_structure!(ReserveFundTx { fee, source, collateral, resource_ids, duration });

impl ReserveFundTx {
    /// What the payer signs.
    pub fn sign_bytes(&self, chain_id: &str, wrapper: SignWrapper) -> Vec<u8> {
        let body = Self { source: self.source.without_signature(), ..self.clone() };
        sign_bytes(chain_id, TxKind::ReserveFund, &body, wrapper)
    }

    /// Signs as the payer.
    pub fn sign(&mut self, chain_id: &str, key: &SecretKey) {
        self.source.signature = key.sign(&self.sign_bytes(chain_id, SignWrapper::V1));
    }
}
