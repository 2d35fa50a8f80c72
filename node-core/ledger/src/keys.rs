//! Where things are in the state (spec 02 section 1.3).

use theta_types::{Address, ResourceId};

/// Prefix of all accounts.
pub const ACCOUNTS: &[u8] = b"ls/a/";
/// Prefix of all split rules.
pub const SPLIT_RULES: &[u8] = b"ls/ssc/split/";
/// The validator candidate pool.
pub const VALIDATOR_CANDIDATES: &[u8] = b"ls/vcp";
/// Heights of blocks that changed validator stakes.
pub const STAKE_HEIGHTS: &[u8] = b"ls/sthl";
/// The guardian candidate pool.
pub const GUARDIAN_CANDIDATES: &[u8] = b"ls/gcp";
/// Common prefix of everything about elite edge nodes: nodes, their total stake, their returning stakes.
pub const ELITE_EDGE_NODES: &[u8] = b"ls/een";

/// An account.
pub fn account(address: &Address) -> Vec<u8> {
    [ACCOUNTS, address.as_slice()].concat()
}

/// A split rule.
pub fn split_rule(resource_id: &ResourceId) -> Vec<u8> {
    [SPLIT_RULES, resource_id.as_bytes()].concat()
}
