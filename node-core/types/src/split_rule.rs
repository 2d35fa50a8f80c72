//! Rules that say who gets which part of the payments on a resource.

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::height::Height;
use crate::resource::ResourceId;
use crate::rlp::rlp_structure;

/// The rule for one resource, as the state keeps it (spec 01 section 7.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRule {
    /// Who made the rule, and alone may change it.
    pub initiator_address: Address,
    /// The resource.
    pub resource_id: ResourceId,
    /// Who gets how much. What is left goes to the payment's target.
    #[serde(with = "crate::json::list_or_null")]
    pub splits: Vec<Split>,
    /// Last height of the parent block at which it splits payments.
    #[serde(rename = "end_block_height", with = "crate::json::decimal")]
    pub end_height: Height,
}

rlp_structure!(SplitRule { initiator_address, resource_id, splits, end_height });

/// One receiver's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The receiver.
    #[serde(rename = "Address")]
    pub address: Address,
    /// Hundredths of the payment, at most 100.
    #[serde(rename = "Percentage")]
    pub percentage: u64,
}

rlp_structure!(Split { address, percentage });
