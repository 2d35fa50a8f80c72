//! Making or changing the rule that shares out a resource's payments (spec 02 section 6.6).

use theta_types::{Height, SplitRule, SplitRuleTx};

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::fees::{check_fee, minimum_fee};
use crate::input::{self, SignBytes};
use crate::refusal::Refusal;
use crate::result_code::ResultCode;
use crate::view::StateView;

pub(crate) fn check(
    rules: &BlockRules<'_>,
    view: &StateView<'_>,
    tx: &SplitRuleTx,
) -> Result<(), ExecuteError> {
    let account = input::load(view, &tx.initiator)?;
    let sign_bytes = SignBytes::new(rules, |wrapper| tx.sign_bytes(rules.chain_id(), wrapper));
    input::check(&account, &tx.initiator, &sign_bytes)?;
    check_fee(&tx.fee, minimum_fee(rules))?;
    input::check_balance(&account, tx.fee.clone(), ResultCode::GenericError)?;
    super::check_account_count(tx.splits.len() + 1)?;

    let mut total = 0u64;
    for split in &tx.splits {
        if split.percentage > 100 {
            return Err(Refusal::SplitPercentage(split.percentage).into());
        }
        total += split.percentage;
    }
    if total > 100 {
        return Err(Refusal::SplitPercentage(total).into());
    }
    // A rule that has ended still belongs to its initiator until some transaction clears it away.
    check_initiator(view, tx)
}

pub(crate) fn apply(view: &mut StateView<'_>, tx: &SplitRuleTx) -> Result<(), ExecuteError> {
    let mut account = input::load(view, &tx.initiator)?;
    input::charge_fee(&mut account, &tx.fee)?;
    view.delete_ended_split_rules()?;
    check_initiator(view, tx)?;
    view.set_split_rule(&SplitRule {
        initiator_address: tx.initiator.address,
        resource_id: tx.resource_id.clone(),
        splits: tx.splits.clone(),
        // Durations have no limit; the reference's addition wraps.
        end_height: Height(view.height().0.wrapping_add(tx.duration)),
    });
    input::advance_sequence(&mut account);
    view.set_account(&account);
    Ok(())
}

fn check_initiator(view: &StateView<'_>, tx: &SplitRuleTx) -> Result<(), ExecuteError> {
    match view.split_rule(&tx.resource_id)? {
        Some(rule) if rule.initiator_address != tx.initiator.address => Err(Refusal::ForeignSplitRule.into()),
        _ => Ok(()),
    }
}
