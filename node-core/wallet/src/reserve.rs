//! What a provider checks on the chain before it works for a payer: the reserve, and its own rule.

use theta_types::{Account, Height, ResourceId, SplitRule, Wei};

use crate::voucher::PaymentLine;

/// Percentage of a resource's payments that its provider's rule gives to itself.
pub(crate) const WHOLE: u64 = 100;

/// Why a reserve is no ground to work on. The payer can make another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// The payer has no account, or no such reserve, in the finalized state.
    #[error("the payer has no such reserve")]
    Missing,
    /// It lists more than the provider's resource, or something else: others could be paid from it, too.
    #[error("the reserve does not list exactly the resource {0}")]
    OtherResources(ResourceId),
    /// The provider's rule is not on the chain, is not its own, pays others, or ends before the reserve: a payer could divert payments.
    #[error("the resource's rule does not pay its provider everything until the reserve ends")]
    NoRule,
    /// It ends too soon to settle.
    #[error("the reserve ends at height {end}, the chain is at {now}")]
    EndsSoon {
        /// Last height at which it pays.
        end: Height,
        /// The finalized height.
        now: Height,
    },
    /// What is left does not cover what is to be paid.
    #[error("the reserve has {remaining} left, {needed} are needed")]
    TooLittle {
        /// TFuelWei that payments can still take.
        remaining: Wei,
        /// TFuelWei that must be there.
        needed: Wei,
    },
}

/// What a provider must know of a reserve that it may work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Last height at which it pays.
    pub end_height: Height,
    /// TFuelWei that payments can still take.
    pub remaining: Wei,
    /// Sequence of the last payment to the provider that the chain has recorded; 0 when none.
    pub last_recorded: u64,
}

/// What a provider asks of a reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReserveTerms {
    /// TFuelWei that must be left: what is signed and not settled, and what comes next.
    pub needed: Wei,
    /// Blocks that must be left before its end.
    pub blocks_left: u64,
}

/// Checks a reserve against finalized state.
///
/// # Errors
/// Each way in which it does not secure the payments.
pub fn check_reserve(
    line: &PaymentLine,
    payer: Option<&Account>,
    rule: Option<&SplitRule>,
    finalized: Height,
    terms: &ReserveTerms,
) -> Result<Reserve, ReserveError> {
    let fund = payer
        .and_then(|account| account.reserved_fund(line.reserve_sequence))
        .ok_or(ReserveError::Missing)?;
    if fund.resource_ids != [line.resource_id.clone()] {
        return Err(ReserveError::OtherResources(line.resource_id.clone()));
    }
    let rule = rule.ok_or(ReserveError::NoRule)?;
    if !pays_all_to_provider(rule, line) || rule.end_height < fund.end_height {
        return Err(ReserveError::NoRule);
    }
    if fund.end_height.0.saturating_sub(finalized.0) < terms.blocks_left || fund.end_height < finalized {
        return Err(ReserveError::EndsSoon { end: fund.end_height, now: finalized });
    }
    let remaining = fund.remaining().tfuel;
    if remaining < terms.needed {
        return Err(ReserveError::TooLittle { remaining, needed: terms.needed.clone() });
    }
    let last_recorded = fund.last_payment_sequence(&line.provider).unwrap_or(0);
    Ok(Reserve { end_height: fund.end_height, remaining, last_recorded })
}

fn pays_all_to_provider(rule: &SplitRule, line: &PaymentLine) -> bool {
    rule.initiator_address == line.provider
        && rule.resource_id == line.resource_id
        && matches!(rule.splits.as_slice(), [only] if only.address == line.provider && only.percentage == WHOLE)
}
