//! Who may propose and vote: validator candidates, and the set chosen from them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::height::Height;
use crate::rlp::rlp_structure;
use crate::stake::StakeHolder;
use crate::text::checksum_text;
use crate::wei::Wei;

/// Candidates that become validators (spec 01 section 8.2).
pub const MAX_VALIDATORS: usize = 31;

/// All who hold validator stakes, best first (spec 01 section 7.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorCandidatePool {
    /// The candidates in the order of [`ValidatorCandidatePool::sort`].
    #[serde(rename = "SortedCandidates", with = "crate::json::list_or_null")]
    pub sorted_candidates: Vec<StakeHolder>,
}

rlp_structure!(ValidatorCandidatePool { sorted_candidates });

impl ValidatorCandidatePool {
    /// Restores the order after stakes changed: most stake first; of equals, the larger checksummed address text first. That text
    /// compares as `'9' < 'A' < 'a'`, so neither bytes nor lower case would give this order, nor the chain's state root.
    pub fn sort(&mut self) {
        self.sorted_candidates.sort_by_cached_key(|candidate| {
            Reverse((candidate.total_stake(), checksum_text(&candidate.holder)))
        });
    }

    /// The candidate with this address.
    pub fn candidate(&self, holder: &Address) -> Option<&StakeHolder> {
        self.sorted_candidates.iter().find(|candidate| candidate.holder == *holder)
    }
}

/// A member of a validator set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Who proposes and votes.
    pub address: Address,
    /// The weight of its vote, in ThetaWei.
    pub stake: Wei,
}

/// The validators of a block, by ascending address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Vec<Validator>,
}

impl ValidatorSet {
    /// The first [`MAX_VALIDATORS`] candidates, without those that have no stake.
    pub fn select(pool: &ValidatorCandidatePool) -> Self {
        let chosen = pool.sorted_candidates.iter().take(MAX_VALIDATORS);
        Self::new(
            chosen.map(|candidate| Validator { address: candidate.holder, stake: candidate.total_stake() }),
        )
    }

    /// A set of these validators; those without stake are left out.
    pub fn new(validators: impl IntoIterator<Item = Validator>) -> Self {
        let mut validators: Vec<_> =
            validators.into_iter().filter(|validator| !validator.stake.is_zero()).collect();
        validators.sort_by_key(|validator| validator.address);
        Self { validators }
    }

    /// The members, by ascending address.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Validator> {
        self.validators.iter()
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// True without members.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// The member with this address.
    pub fn get(&self, address: &Address) -> Option<&Validator> {
        let at = self.validators.binary_search_by_key(address, |validator| validator.address).ok()?;
        self.validators.get(at)
    }

    /// Whether the address is a member.
    pub fn contains(&self, address: &Address) -> bool {
        self.get(address).is_some()
    }

    /// Stake of all members.
    pub fn total_stake(&self) -> Wei {
        self.validators.iter().map(|validator| &validator.stake).sum()
    }

    /// Whether these voters hold more than two thirds of the stake. Each counts once, and who is no member not at all.
    pub fn is_majority<'a>(&self, voters: impl IntoIterator<Item = &'a Address>) -> bool {
        let weights: BTreeMap<_, _> =
            voters.into_iter().filter_map(|voter| Some((voter, &self.get(voter)?.stake))).collect();
        let voted: Wei = weights.into_values().sum();
        voted * 3 > self.total_stake() * 2
    }
}

impl<'a> IntoIterator for &'a ValidatorSet {
    type Item = &'a Validator;
    type IntoIter = std::slice::Iter<'a, Validator>;

    fn into_iter(self) -> Self::IntoIter {
        self.validators.iter()
    }
}

/// Heights of the blocks that changed the validators' stakes, genesis first. A height may occur more than once: one per transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeightList {
    /// The heights, ascending.
    pub heights: Vec<Height>,
}

rlp_structure!(HeightList { heights });
