//! The block's reward transaction (spec 02 section 5.8).

use std::collections::BTreeSet;

use theta_types::{CoinbaseTx, Coins, ValidatorSet};

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::refusal::Refusal;
use crate::result_code::ResultCode;
use crate::rewards::rewards;
use crate::view::StateView;

pub(crate) fn check(
    rules: &BlockRules<'_>,
    validators: &ValidatorSet,
    view: &StateView<'_>,
    tx: &CoinbaseTx,
) -> Result<(), ExecuteError> {
    // Any validator will do: whether it is the block's proposer is not asked.
    if !validators.contains(&tx.proposer.address) {
        return Err(Refusal::NotAValidator(tx.proposer.address).into());
    }
    let sign_bytes = tx.sign_bytes(rules.chain_id());
    if !tx.proposer.signature.verify(&sign_bytes, &tx.proposer.address) {
        return Err(Refusal::Signature { sign_bytes, code: ResultCode::GenericError }.into());
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = tx.outputs.iter().find(|output| !seen.insert(output.address)) {
        return Err(Refusal::DuplicateOutput(twice.address).into());
    }
    if tx.block_height != rules.parent_height() {
        return Err(Refusal::CoinbaseHeight { got: tx.block_height, expected: rules.parent_height() }.into());
    }
    let rewards = rewards(rules, validators, view)?;
    if tx.outputs.len() != rewards.len() {
        return Err(Refusal::CoinbaseOutputs { outputs: tx.outputs.len(), rewards: rewards.len() }.into());
    }
    for output in &tx.outputs {
        let reward = rewards.get(&output.address).cloned().map(Coins::tfuel);
        if reward.as_ref() != Some(&output.coins) {
            let reward = reward.unwrap_or_default();
            return Err(Refusal::CoinbaseReward {
                address: output.address,
                paid: output.coins.clone(),
                reward,
            }
            .into());
        }
    }
    Ok(())
}

/// Receivers of nothing are stored too, and thereby created.
pub(crate) fn apply(view: &mut StateView<'_>, tx: &CoinbaseTx) -> Result<(), ExecuteError> {
    for output in &tx.outputs {
        let mut account = view.account_or_new(&output.address)?;
        account.balance += &output.coins;
        view.set_account(&account);
    }
    Ok(())
}
