//! What happens at the end of every block, whatever its transactions (spec 02 section 3.3).

use theta_types::{Height, Stake, ValidatorCandidatePool};

use crate::error::LedgerError;
use crate::view::StateView;

/// Returns the validator stakes whose lock is over, then sorts the candidates and writes them back, always. Guardian and edge node
/// stakes would come next; a state that has any is refused before the block begins.
pub(crate) fn run(view: &mut StateView<'_>) -> Result<(), LedgerError> {
    let Some(mut pool) = view.validator_candidates()? else { return Ok(()) };
    for stake in take_returning(&mut pool, view.height()) {
        // Unlike a transaction, a return does not release ended reserves.
        let mut account =
            view.stored_account(&stake.source)?.ok_or(LedgerError::StakeSourceMissing(stake.source))?;
        account.balance.theta += stake.amount;
        view.set_account(&account);
    }
    pool.sort();
    view.set_validator_candidates(&pool);
    view.keep();
    Ok(())
}

/// Takes the withdrawn stakes out whose return height is reached, and the candidates that are left without any.
fn take_returning(pool: &mut ValidatorCandidatePool, height: Height) -> Vec<Stake> {
    let mut returning = Vec::new();
    pool.sorted_candidates.retain_mut(|candidate| {
        returning.extend(
            candidate.stakes.extract_if(.., |stake| stake.withdrawn && stake.return_height <= height),
        );
        !candidate.stakes.is_empty()
    });
    returning
}
