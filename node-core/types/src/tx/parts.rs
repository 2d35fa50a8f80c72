//! What transactions take from accounts and give to accounts.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::rlp::rlp_structure;
use crate::signature::Signature;

/// Coins from an account, with its owner's consent (spec 01 section 6.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxInput {
    /// Whose account.
    pub address: Address,
    /// How much.
    #[serde(with = "coins_or_null")]
    pub coins: Coins,
    /// The account's sequence plus one, for the kinds that check it.
    #[serde(with = "crate::json::decimal")]
    pub sequence: u64,
    /// The owner's.
    pub signature: Signature,
}

rlp_structure!(TxInput { address, coins, sequence, signature });

impl TxInput {
    /// An input that is not signed yet.
    pub fn unsigned(address: Address, coins: Coins, sequence: u64) -> Self {
        Self { address, coins, sequence, signature: Signature::empty() }
    }

    /// The same without signature: what stands in sign bytes.
    pub(crate) fn without_signature(&self) -> Self {
        Self::unsigned(self.address, self.coins.clone(), self.sequence)
    }
}

/// Coins for an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxOutput {
    /// Whose account.
    pub address: Address,
    /// How much.
    #[serde(with = "coins_or_null")]
    pub coins: Coins,
}

rlp_structure!(TxOutput { address, coins });

/// Absent coins are none.
mod coins_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::coins::Coins;

    pub fn serialize<S: Serializer>(coins: &Coins, serializer: S) -> Result<S::Ok, S::Error> {
        coins.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Coins, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}
