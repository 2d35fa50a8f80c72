//! Payments from a reserved fund, shared out by the resource's split rule (spec 02 sections 6.4, 7.2 and 7.3).

use std::collections::BTreeMap;

use theta_types::{Account, Address, Coins, ServicePaymentTx, SplitRule};

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::fees::{check_fee, minimum_fee};
use crate::input;
use crate::refusal::Refusal;
use crate::reserve;
use crate::result_code::ResultCode;
use crate::view::StateView;

pub(crate) fn check(
    rules: &BlockRules<'_>,
    view: &StateView<'_>,
    tx: &ServicePaymentTx,
) -> Result<(), ExecuteError> {
    if tx.source.address == tx.target.address {
        return Err(Refusal::PaysItself(tx.source.address).into());
    }
    let payer = input::load(view, &tx.source)?;
    if !tx.source.coins.theta.is_zero() {
        return Err(Refusal::ThetaPaid.into());
    }
    // Sequences do not matter here, and the second wrapper of sign bytes never counts.
    let sign_bytes = tx.source_sign_bytes(rules.chain_id());
    if !tx.source.signature.verify(&sign_bytes, &tx.source.address) {
        return Err(Refusal::Signature { sign_bytes, code: ResultCode::GenericError }.into());
    }
    let sign_bytes = tx.target_sign_bytes(rules.chain_id());
    if !tx.target.signature.verify(&sign_bytes, &tx.target.address) {
        return Err(Refusal::Signature { sign_bytes, code: ResultCode::GenericError }.into());
    }
    check_fee(&tx.fee, minimum_fee(rules))?;
    reserve::check_payment(&payer, tx, view.height())?;
    Ok(())
}

pub(crate) fn apply(view: &mut StateView<'_>, tx: &ServicePaymentTx) -> Result<(), ExecuteError> {
    let mut payer = input::load(view, &tx.source)?;
    let rule = view.split_rule(&tx.resource_id)?;
    let rule = rule.filter(|rule| {
        let ended = view.height() > rule.end_height;
        if ended {
            view.delete_split_rule(&tx.resource_id);
        }
        !ended
    });
    let parts = share_out(tx, rule.as_ref())?;

    // Everybody with a part is stored, and thereby created, even when nothing moves.
    let mut receivers = BTreeMap::new();
    for address in parts.keys().filter(|address| **address != tx.source.address) {
        receivers.insert(*address, view.account_or_new(address)?);
    }
    if reserve::pay(&mut payer, tx, &parts) {
        for (address, part) in &parts {
            receivers.get_mut(address).unwrap_or(&mut payer).balance += part;
        }
    }
    let target: &mut Account =
        receivers.entry(tx.target.address).or_insert_with(|| Account::new(tx.target.address, view.height()));
    input::charge_fee(target, &tx.fee)?;

    view.set_account(&payer);
    for receiver in receivers.values() {
        view.set_account(receiver);
    }
    Ok(())
}

/// Who gets which part of the payment. The target gets what the rule leaves, remainders of the division included, and always has an
/// entry.
pub(crate) fn share_out(
    tx: &ServicePaymentTx,
    rule: Option<&SplitRule>,
) -> Result<BTreeMap<Address, Coins>, Refusal> {
    let mut parts: BTreeMap<Address, Coins> = BTreeMap::new();
    let mut rest = tx.source.coins.clone();
    for split in rule.map(|rule| rule.splits.as_slice()).unwrap_or_default() {
        if split.percentage > 100 {
            continue;
        }
        let part = tx.source.coins.percent(split.percentage);
        rest = rest.checked_sub(&part).ok_or_else(|| Refusal::OverSplit(tx.resource_id.clone()))?;
        *parts.entry(split.address).or_default() += part;
    }
    *parts.entry(tx.target.address).or_default() += rest;
    Ok(parts)
}
