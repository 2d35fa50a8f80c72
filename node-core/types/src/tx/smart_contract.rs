//! Creating and calling contracts: read, shown and signed here; execution is not part of this version.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::keys::SecretKey;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_list, encode_string};
use crate::tx::sign_bytes::sign_bytes;
use crate::tx::{SignWrapper, TxInput, TxKind, TxOutput};
use crate::wei::Wei;

/// Calls a contract, or creates one when `to` is the zero address (spec 01 section 6.7, kind 7). [`crate::Transaction::decode`] refuses the
/// kind by name: nothing here executes it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SmartContractTx {
    /// Who calls; its coins are the value that is transferred.
    pub from: TxInput,
    /// What is called. Its coins have no effect.
    pub to: TxOutput,
    /// Gas that may be used.
    #[serde(with = "crate::json::decimal")]
    pub gas_limit: u64,
    /// TFuelWei for a unit of gas.
    pub gas_price: Wei,
    /// Input of the call, or code of the new contract.
    #[serde(serialize_with = "base64_text")]
    pub data: Vec<u8>,
}

impl SmartContractTx {
    /// What the caller signs.
    pub fn sign_bytes(&self, chain_id: &str, wrapper: SignWrapper) -> Vec<u8> {
        let body = Self { from: self.from.without_signature(), ..self.clone() };
        sign_bytes(chain_id, TxKind::SmartContract, &body, wrapper)
    }

    /// Signs as the caller.
    pub fn sign(&mut self, chain_id: &str, key: &SecretKey) {
        self.from.signature = key.sign(&self.sign_bytes(chain_id, SignWrapper::V1));
    }
}

impl Encode for SmartContractTx {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.from.encode_to(out);
            self.to.encode_to(out);
            self.gas_limit.encode_to(out);
            self.gas_price.encode_to(out);
            encode_string(&self.data, out);
        });
    }
}

impl Decode for SmartContractTx {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut list = reader.list()?;
        let tx = Self {
            from: Decode::decode_from(&mut list)?,
            to: Decode::decode_from(&mut list)?,
            gas_limit: list.u64()?,
            gas_price: Decode::decode_from(&mut list)?,
            data: list.string()?.to_vec(),
        };
        list.finish()?;
        Ok(tx)
    }
}

fn base64_text<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}
