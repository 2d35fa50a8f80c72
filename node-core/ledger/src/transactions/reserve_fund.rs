//! Setting funds aside for payments (spec 02 section 6.2).

use theta_types::ReserveFundTx;

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::fees::{check_fee, minimum_fee};
use crate::input::{self, SignBytes};
use crate::refusal::Refusal;
use crate::reserve;
use crate::result_code::ResultCode;
use crate::view::StateView;

pub(crate) fn check(
    rules: &BlockRules<'_>,
    view: &StateView<'_>,
    tx: &ReserveFundTx,
) -> Result<(), ExecuteError> {
    let account = input::load(view, &tx.source)?;
    let sign_bytes = SignBytes::new(rules, |wrapper| tx.sign_bytes(rules.chain_id(), wrapper));
    input::check(&account, &tx.source, &sign_bytes)?;

    let fund = &tx.source.coins;
    if fund.is_zero() {
        return Err(Refusal::NothingReserved.into());
    }
    if !fund.theta.is_zero() {
        return Err(Refusal::ThetaReserved.into());
    }
    check_fee(&tx.fee, minimum_fee(rules))?;
    let needed = fund + &tx.collateral;
    input::check_balance(&account, &needed + &tx.fee, ResultCode::InsufficientFund)?;
    reserve::check_reservation(&account, tx)?;
    Ok(())
}

pub(crate) fn apply(view: &mut StateView<'_>, tx: &ReserveFundTx) -> Result<(), ExecuteError> {
    let mut account = input::load(view, &tx.source)?;
    reserve::reserve(&mut account, tx, view.height())?;
    input::charge_fee(&mut account, &tx.fee)?;
    input::advance_sequence(&mut account);
    view.set_account(&account);
    Ok(())
}
