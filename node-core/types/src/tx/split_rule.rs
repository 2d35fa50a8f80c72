//! Rules that split payments, as a transaction.

use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::keys::SecretKey;
use crate::resource::ResourceId;
use crate::rlp::rlp_structure;
use crate::split_rule::Split;
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind};

/// Makes or changes the rule for a resource. Who made it first alone may change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRuleTx {
    /// Burnt.
    pub fee: Coins,
    /// The resource.
    pub resource_id: ResourceId,
    /// Who makes the rule.
    pub initiator: TxInput,
    /// Who gets how much; together at most 100.
    #[serde(with = "crate::json::list_or_null")]
    pub splits: Vec<Split>,
    /// Blocks from the parent's height to the rule's end.
    #[serde(with = "crate::json::decimal")]
    pub duration: u64,
}

rlp_structure!(SplitRuleTx { fee, resource_id, initiator, splits, duration });

impl SplitRuleTx {
    /// What the initiator signs.
    pub fn sign_bytes(&self, chain_id: &str, wrapper: SignWrapper) -> Vec<u8> {
        let body = Self { initiator: self.initiator.without_signature(), ..self.clone() };
        sign_bytes(chain_id, TxKind::SplitRule, &body, wrapper)
    }

    /// Signs as the initiator.
    pub fn sign(&mut self, chain_id: &str, key: &SecretKey) {
        self.initiator.signature = key.sign(&self.sign_bytes(chain_id, SignWrapper::V1));
    }
}
