//! Payments from reserved funds.

use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::keys::SecretKey;
use crate::resource::ResourceId;
use crate::rlp::rlp_structure;
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind};

/// Pays from the source's reserved fund. The source signs before the work, off the chain; the target adds fee and signature when it
/// settles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePaymentTx {
    /// Burnt; the target pays it.
    pub fee: Coins,
    /// The payer; its coins are the amount, TFuel only. Sequences are not checked.
    pub source: TxInput,
    /// Who submits, and gets what no split rule gives away.
    pub target: TxInput,
    /// Larger than all that are recorded for this target in the fund.
    #[serde(with = "crate::json::decimal")]
    pub payment_sequence: u64,
    /// Which of the payer's funds.
    #[serde(with = "crate::json::decimal")]
    pub reserve_sequence: u64,
    /// What is paid for.
    pub resource_id: ResourceId,
}

rlp_structure!(ServicePaymentTx { fee, source, target, payment_sequence, reserve_sequence, resource_id });

impl ServicePaymentTx {
    /// What the payer signs: the payment without fee, sequences of the accounts, and anything of the target but its address.
    pub fn source_sign_bytes(&self, chain_id: &str) -> Vec<u8> {
        let body = Self {
            fee: Coins::zero(),
            source: TxInput::unsigned(self.source.address, self.source.coins.clone(), 0),
            target: TxInput::unsigned(self.target.address, Coins::zero(), 0),
            ..self.clone()
        };
        sign_bytes(chain_id, TxKind::ServicePayment, &body, SignWrapper::V1)
    }

    /// What the target signs: everything, the payer's signature included.
    pub fn target_sign_bytes(&self, chain_id: &str) -> Vec<u8> {
        let body = Self { target: self.target.without_signature(), ..self.clone() };
        sign_bytes(chain_id, TxKind::ServicePayment, &body, SignWrapper::V1)
    }

    /// Signs as the payer.
    pub fn sign_as_source(&mut self, chain_id: &str, key: &SecretKey) {
        self.source.signature = key.sign(&self.source_sign_bytes(chain_id));
    }

    /// Signs as the target. The payer must have signed before.
    pub fn sign_as_target(&mut self, chain_id: &str, key: &SecretKey) {
        self.target.signature = key.sign(&self.target_sign_bytes(chain_id));
    }
}
