//! Stakes and their holders.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::height::Height;
use crate::rlp::rlp_structure;
use crate::wei::Wei;

/// Return height of a stake that is not withdrawn.
pub const INVALID_RETURN_HEIGHT: Height = Height(u64::MAX);

/// What one source staked to one holder (spec 01 section 7.3). ThetaWei for validators and guardians, TFuelWei for edge nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stake {
    /// Who gave it, and gets it back.
    pub source: Address,
    /// How much.
    pub amount: Wei,
    /// Withdrawn stakes weigh nothing, and wait for their return.
    pub withdrawn: bool,
    /// When it is returned; [`INVALID_RETURN_HEIGHT`] until withdrawn.
    #[serde(with = "crate::json::decimal")]
    pub return_height: Height,
}

rlp_structure!(Stake { source, amount, withdrawn, return_height });

impl Stake {
    /// A stake just given.
    pub fn new(source: Address, amount: Wei) -> Self {
        Self { source, amount, withdrawn: false, return_height: INVALID_RETURN_HEIGHT }
    }
}

/// A node that holds stakes: a validator, guardian or edge node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeHolder {
    /// The node's address.
    #[serde(rename = "Holder")]
    pub holder: Address,
    /// Its stakes, in the order of their first deposit.
    #[serde(rename = "Stakes", with = "crate::json::list_or_null")]
    pub stakes: Vec<Stake>,
}

rlp_structure!(StakeHolder { holder, stakes });

impl StakeHolder {
    /// Sum of the stakes that are not withdrawn.
    pub fn total_stake(&self) -> Wei {
        self.stakes.iter().filter(|stake| !stake.withdrawn).map(|stake| &stake.amount).sum()
    }
}
