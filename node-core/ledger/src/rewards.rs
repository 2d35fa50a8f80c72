//! What a block's coinbase pays (spec 02 sections 5.1 and 5.2), as long as the chain has no guardian votes.

use std::collections::BTreeMap;

use theta_types::{Address, ValidatorSet, Wei};

use crate::block_rules::BlockRules;
use crate::error::LedgerError;
use crate::view::StateView;

/// TFuel that the validators share at a checkpoint: 48 a block, for 100 blocks.
const VALIDATOR_REWARD_TFUEL: u64 = 4_800;

/// Who gets how much TFuelWei. Entries of nothing are entries: the coinbase has to list them.
///
/// # Errors
/// The state cannot be read, or `validators` is not of this chain.
pub fn rewards(
    rules: &BlockRules<'_>,
    validators: &ValidatorSet,
    view: &StateView<'_>,
) -> Result<BTreeMap<Address, Wei>, LedgerError> {
    if !rules.validators_earn() {
        return Ok(validators.iter().map(|validator| (validator.address, Wei::zero())).collect());
    }
    if !rules.height().is_checkpoint() {
        return Ok(BTreeMap::new());
    }
    validator_rewards(validators, view)
}

/// By the sources of the stakes. The stakes are those of the view, the total is that of the validator set, which is older: the sum of
/// all rewards may therefore differ from the amount that is shared.
fn validator_rewards(
    validators: &ValidatorSet,
    view: &StateView<'_>,
) -> Result<BTreeMap<Address, Wei>, LedgerError> {
    let total = validators.total_stake();
    if total.is_zero() {
        return Ok(BTreeMap::new());
    }
    let candidates = view.validator_candidates()?.unwrap_or_default();
    let mut staked: BTreeMap<Address, Wei> = BTreeMap::new();
    for validator in validators {
        let candidate =
            candidates.candidate(&validator.address).ok_or(LedgerError::NotACandidate(validator.address))?;
        for stake in candidate.stakes.iter().filter(|stake| !stake.withdrawn) {
            *staked.entry(stake.source).or_default() += &stake.amount;
        }
    }
    let shared = Wei::from_coins(VALIDATOR_REWARD_TFUEL);
    let part = |stake: &Wei| Wei::from(shared.as_biguint() * stake.as_biguint() / total.as_biguint());
    Ok(staked.iter().map(|(source, stake)| (*source, part(stake))).collect())
}
