//! Asking for a reserve back (spec 02 section 6.3). It never succeeds: loading the account has already released every reserve whose
//! freeze is over, so the one that is named is either still frozen or gone. Hence there is no effect to apply.

use theta_types::ReleaseFundTx;

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::fees::{check_fee, minimum_fee};
use crate::input::{self, SignBytes};
use crate::refusal::Refusal;
use crate::reserve::release_height;
use crate::result_code::ResultCode;
use crate::view::StateView;

pub(crate) fn refuse(rules: &BlockRules<'_>, view: &StateView<'_>, tx: &ReleaseFundTx) -> ExecuteError {
    reason(rules, view, tx).unwrap_or_else(ExecuteError::from)
}

/// The first rule that the transaction breaks, as an `Err` when it is one of the common ones.
fn reason(
    rules: &BlockRules<'_>,
    view: &StateView<'_>,
    tx: &ReleaseFundTx,
) -> Result<ExecuteError, ExecuteError> {
    let account = input::load(view, &tx.source)?;
    let sign_bytes = SignBytes::new(rules, |wrapper| tx.sign_bytes(rules.chain_id(), wrapper));
    input::check(&account, &tx.source, &sign_bytes)?;
    check_fee(&tx.fee, minimum_fee(rules))?;
    input::check_balance(&account, tx.fee.clone(), ResultCode::InsufficientFund)?;
    let refusal = match account.reserved_fund(tx.reserve_sequence) {
        Some(fund) => Refusal::NotReleasable(release_height(fund)),
        None => Refusal::NothingToRelease,
    };
    Ok(refusal.into())
}
