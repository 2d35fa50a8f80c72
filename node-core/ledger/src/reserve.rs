//! Reserved funds within an account (spec 02 sections 6.2, 6.4 and 7).

use std::collections::BTreeMap;

use theta_types::{
    Account, Address, Coins, Height, MAX_RESERVE_DURATION, MIN_RESERVE_DURATION, RESERVED_FUND_FREEZE_PERIOD,
    ReserveFundTx, ReservedFund, ServicePaymentTx, TransferRecord,
};

use crate::refusal::Refusal;

/// Height at which a reserve comes back to its owner.
pub fn release_height(fund: &ReservedFund) -> Height {
    Height(fund.end_height.0.saturating_add(RESERVED_FUND_FREEZE_PERIOD))
}

/// Moves every reserve whose freeze is over at `height` back into the balance, collateral included.
pub(crate) fn release_ended(account: &mut Account, height: Height) {
    let balance = &mut account.balance;
    account.reserved_funds.retain(|fund| {
        let frozen = release_height(fund) > height;
        if !frozen {
            *balance += fund.returned_on_release();
        }
        frozen
    });
}

/// Whether the account may reserve what the transaction asks for.
pub(crate) fn check_reservation(account: &Account, tx: &ReserveFundTx) -> Result<(), Refusal> {
    let (fund, collateral) = (&tx.source.coins, &tx.collateral);
    if !(MIN_RESERVE_DURATION..=MAX_RESERVE_DURATION).contains(&tx.duration) {
        return Err(Refusal::Duration(tx.duration));
    }
    let needed = collateral + fund;
    if !account.balance.covers(&needed) {
        return Err(Refusal::ReserveNotCovered { balance: account.balance.clone(), needed });
    }
    if collateral.checked_sub(fund).is_none_or(|excess| excess.is_zero()) {
        return Err(Refusal::Collateral { collateral: collateral.clone(), fund: fund.clone() });
    }
    if account.reserved_funds.iter().any(|existing| existing.reserve_sequence >= tx.source.sequence) {
        return Err(Refusal::ReserveSequence(tx.source.sequence));
    }
    Ok(())
}

/// Moves fund and collateral from the balance into a new reserve that ends `duration` blocks after `height`.
pub(crate) fn reserve(account: &mut Account, tx: &ReserveFundTx, height: Height) -> Result<(), Refusal> {
    let needed = &tx.collateral + &tx.source.coins;
    account.balance = account
        .balance
        .checked_sub(&needed)
        .ok_or_else(|| Refusal::ReserveNotCovered { balance: account.balance.clone(), needed })?;
    account.reserved_funds.push(ReservedFund {
        collateral: tx.collateral.clone(),
        initial_fund: tx.source.coins.clone(),
        used_fund: Coins::zero(),
        resource_ids: tx.resource_ids.clone(),
        end_height: Height(height.0.saturating_add(tx.duration)),
        reserve_sequence: tx.source.sequence,
        transfer_records: Vec::new(),
    });
    Ok(())
}

/// Whether the payer's reserve takes the payment: it exists, has not ended, and the payment comes after the last one to its target.
/// Whether enough is left in it is not asked: see [`pay`].
pub(crate) fn check_payment(payer: &Account, tx: &ServicePaymentTx, height: Height) -> Result<(), Refusal> {
    let fund = payer.reserved_fund(tx.reserve_sequence).ok_or(Refusal::NoReserve(tx.reserve_sequence))?;
    if fund.end_height < height {
        return Err(Refusal::ReserveExpired {
            reserve_sequence: tx.reserve_sequence,
            end: fund.end_height,
            height,
        });
    }
    let last = fund.last_payment_sequence(&tx.target.address).unwrap_or(0);
    if tx.payment_sequence <= last {
        return Err(Refusal::PaymentSequence { got: tx.payment_sequence, last });
    }
    Ok(())
}

/// Books a payment against the payer's reserve, and says whether it moves anything. It does not when the reserve does not list the
/// resource or has less than `parts` left: such a payment is valid, is not recorded, and costs its target the fee.
pub(crate) fn pay(payer: &mut Account, tx: &ServicePaymentTx, parts: &BTreeMap<Address, Coins>) -> bool {
    let total: Coins = parts.values().sum();
    let listed = |fund: &&mut ReservedFund| {
        fund.reserve_sequence == tx.reserve_sequence && fund.lists(&tx.resource_id)
    };
    let Some(fund) = payer.reserved_funds.iter_mut().find(listed) else { return false };
    if !fund.remaining().covers(&total) {
        return false;
    }
    fund.used_fund += total;
    fund.transfer_records.push(TransferRecord { service_payment: tx.clone() });
    true
}
