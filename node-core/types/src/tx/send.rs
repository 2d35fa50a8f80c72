//! Coins from accounts to accounts.

use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::keys::SecretKey;
use crate::rlp::rlp_structure;
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind, TxOutput};

/// Moves coins. The inputs together give the outputs and the fee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendTx {
    /// Burnt.
    pub fee: Coins,
    /// Who pays.
    #[serde(with = "crate::json::list_or_null")]
    pub inputs: Vec<TxInput>,
    /// Who gets.
    #[serde(with = "crate::json::list_or_null")]
    pub outputs: Vec<TxOutput>,
}

rlp_structure!(SendTx { fee, inputs, outputs });

impl SendTx {
    /// What every input's owner signs: the same bytes for all.
    pub fn sign_bytes(&self, chain_id: &str, wrapper: SignWrapper) -> Vec<u8> {
        let body = Self {
            fee: self.fee.clone(),
            inputs: self.inputs.iter().map(TxInput::without_signature).collect(),
            outputs: self.outputs.clone(),
        };
        sign_bytes(chain_id, TxKind::Send, &body, wrapper)
    }

    /// Signs every input that is the key's.
    pub fn sign(&mut self, chain_id: &str, key: &SecretKey) {
        let signature = key.sign(&self.sign_bytes(chain_id, SignWrapper::V1));
        for input in self.inputs.iter_mut().filter(|input| input.address == key.address()) {
            input.signature = signature.clone();
        }
    }
}
