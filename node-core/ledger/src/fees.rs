//! Smallest fees, and how a fee ranks a transaction (spec 02 sections 6.0 and 9). Fees are burnt.

use theta_types::{Coins, Transaction, Wei};

use crate::block_rules::BlockRules;
use crate::refusal::Refusal;

const MINIMUM_BEFORE_JUNE_2021: u64 = 1_000_000_000_000;
const MINIMUM: u64 = 300_000_000_000_000_000;
const REGULAR_GAS_BEFORE_JUNE_2021: u64 = 10_000;
const REGULAR_GAS: u64 = 80_000;

/// Smallest fee, in TFuelWei, of every kind but a send.
pub fn minimum_fee(rules: &BlockRules<'_>) -> Wei {
    Wei::from(if rules.fees_of_june_2021() { MINIMUM } else { MINIMUM_BEFORE_JUNE_2021 })
}

/// Smallest fee of a send between this many accounts, payers and receivers together. Each counts for half a transaction.
pub fn minimum_send_fee(rules: &BlockRules<'_>, accounts: usize) -> Wei {
    if rules.fees_of_june_2021() {
        Wei::from(MINIMUM).mul_div(counted_accounts(accounts), 2)
    } else {
        Wei::from(MINIMUM_BEFORE_JUNE_2021)
    }
}

/// What the fee comes to per unit of gas: the mempool's measure. Floor division.
pub fn effective_gas_price(rules: &BlockRules<'_>, transaction: &Transaction) -> Wei {
    let gas = if rules.fees_of_june_2021() { REGULAR_GAS } else { REGULAR_GAS_BEFORE_JUNE_2021 };
    match transaction {
        Transaction::Coinbase(_) => Wei::zero(),
        Transaction::Send(tx) => {
            let accounts = counted_accounts(tx.inputs.len().saturating_add(tx.outputs.len()));
            tx.fee.tfuel.mul_div(1, (gas / 2).saturating_mul(accounts))
        }
        Transaction::ReserveFund(tx) => tx.fee.tfuel.mul_div(1, gas),
        Transaction::ReleaseFund(tx) => tx.fee.tfuel.mul_div(1, gas),
        Transaction::ServicePayment(tx) => tx.fee.tfuel.mul_div(1, gas),
        Transaction::SplitRule(tx) => tx.fee.tfuel.mul_div(1, gas),
    }
}

/// The fee is TFuel alone, and reaches the minimum.
pub(crate) fn check_fee(fee: &Coins, minimum: Wei) -> Result<(), Refusal> {
    if fee.theta.is_zero() && fee.tfuel >= minimum { Ok(()) } else { Err(Refusal::Fee { minimum }) }
}

fn counted_accounts(accounts: usize) -> u64 {
    u64::try_from(accounts.max(2)).unwrap_or(u64::MAX)
}
