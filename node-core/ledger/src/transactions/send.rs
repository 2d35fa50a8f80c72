//! Coins from accounts to accounts (spec 02 section 6.1).

use std::collections::BTreeSet;

use theta_types::{Account, Coins, SendTx};

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::fees::{check_fee, minimum_send_fee};
use crate::input::{self, SignBytes};
use crate::refusal::Refusal;
use crate::view::StateView;

pub(crate) fn check(rules: &BlockRules<'_>, view: &StateView<'_>, tx: &SendTx) -> Result<(), ExecuteError> {
    if tx.inputs.is_empty() || tx.outputs.is_empty() {
        return Err(Refusal::NoInputOrOutput.into());
    }
    let count = tx.inputs.len() + tx.outputs.len();
    super::check_account_count(count)?;

    let mut seen = BTreeSet::new();
    let mut payers = Vec::with_capacity(tx.inputs.len());
    for input in &tx.inputs {
        if !seen.insert(input.address) {
            return Err(Refusal::DuplicateInput(input.address).into());
        }
        payers.push(input::load(view, input)?);
    }
    let mut receivers = Vec::with_capacity(tx.outputs.len());
    for output in &tx.outputs {
        if !seen.insert(output.address) {
            return Err(Refusal::DuplicateOutput(output.address).into());
        }
        receivers.push(view.account_or_new(&output.address)?);
    }
    if rules.contracts_exist()
        && let Some(contract) = payers.iter().chain(&receivers).find(|account| account.is_contract())
    {
        return Err(Refusal::Contract(contract.address).into());
    }

    let sign_bytes = SignBytes::new(rules, |wrapper| tx.sign_bytes(rules.chain_id(), wrapper));
    for (account, input) in payers.iter().zip(&tx.inputs) {
        input::check(account, input, &sign_bytes)?;
    }
    check_fee(&tx.fee, minimum_send_fee(rules, count))?;

    let inputs: Coins = tx.inputs.iter().map(|input| &input.coins).sum();
    let outputs: Coins = tx.outputs.iter().map(|output| &output.coins).sum();
    let outputs_and_fee = &outputs + &tx.fee;
    if inputs != outputs_and_fee {
        return Err(Refusal::Unbalanced { inputs, outputs_and_fee }.into());
    }
    Ok(())
}

pub(crate) fn apply(view: &mut StateView<'_>, tx: &SendTx) -> Result<(), ExecuteError> {
    for input in &tx.inputs {
        let mut account = input::load(view, input)?;
        account.balance =
            account.balance.checked_sub(&input.coins).ok_or_else(|| not_covered(&account, input))?;
        input::advance_sequence(&mut account);
        view.set_account(&account);
    }
    for output in &tx.outputs {
        let mut account = view.account_or_new(&output.address)?;
        account.balance += &output.coins;
        view.set_account(&account);
    }
    Ok(())
}

fn not_covered(account: &Account, input: &theta_types::TxInput) -> Refusal {
    Refusal::InsufficientFund { balance: account.balance.clone(), needed: input.coins.clone() }
}
