//! One module a kind of transaction. Each has the reference's checks in its order (`check`) and the effect (`apply`), which is called
//! on the same view right after the checks have passed.

pub(crate) mod coinbase;
pub(crate) mod release_fund;
pub(crate) mod reserve_fund;
pub(crate) mod send;
pub(crate) mod service_payment;
pub(crate) mod split_rule;

use theta_types::MAX_ACCOUNTS_PER_TX;

use crate::refusal::Refusal;

/// Refuses a transaction that touches too many accounts.
pub(crate) fn check_account_count(count: usize) -> Result<(), Refusal> {
    if count <= MAX_ACCOUNTS_PER_TX { Ok(()) } else { Err(Refusal::TooManyAccounts(count)) }
}
