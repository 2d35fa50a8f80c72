//! What all paying inputs have in common (spec 02 section 6.0).
//!
//! The reference's basic checks of inputs and outputs (addresses of 20 bytes, no negative coins) hold for every decoded transaction.

use theta_types::{Account, Address, Coins, SignWrapper, TxInput};

use crate::block_rules::BlockRules;
use crate::error::ExecuteError;
use crate::refusal::Refusal;
use crate::result_code::ResultCode;
use crate::view::StateView;

/// The bytes that an input's owner signs, in the forms that count at the block's height.
pub(crate) struct SignBytes<F> {
    first: Vec<u8>,
    second_counts: bool,
    wrapped: F,
}

impl<F: Fn(SignWrapper) -> Vec<u8>> SignBytes<F> {
    /// `wrapped` gives the bytes for a wrapper. The first always counts, the second from its fork on.
    pub(crate) fn new(rules: &BlockRules<'_>, wrapped: F) -> Self {
        Self { first: wrapped(SignWrapper::V1), second_counts: rules.second_wrapper_counts(), wrapped }
    }

    fn signed_by(&self, input: &TxInput, address: &Address) -> bool {
        input.signature.verify(&self.first, address)
            || (self.second_counts && input.signature.verify(&(self.wrapped)(SignWrapper::V2), address))
    }
}

/// The account of an input; it has to exist.
pub(crate) fn load(view: &StateView<'_>, input: &TxInput) -> Result<Account, ExecuteError> {
    Ok(view.account(&input.address)?.ok_or(Refusal::UnknownAddress(input.address))?)
}

/// Sequence, balance and signature of an input, in this order.
pub(crate) fn check<F: Fn(SignWrapper) -> Vec<u8>>(
    account: &Account,
    input: &TxInput,
    sign_bytes: &SignBytes<F>,
) -> Result<(), Refusal> {
    let expected = account.sequence.wrapping_add(1);
    if input.sequence != expected {
        return Err(Refusal::Sequence { got: input.sequence, expected, account: account.sequence });
    }
    if !account.balance.covers(&input.coins) {
        return Err(Refusal::InsufficientFund {
            balance: account.balance.clone(),
            needed: input.coins.clone(),
        });
    }
    if !sign_bytes.signed_by(input, &account.address) {
        return Err(Refusal::Signature {
            sign_bytes: sign_bytes.first.clone(),
            code: ResultCode::InvalidSignature,
        });
    }
    Ok(())
}

/// The balance reaches `needed`.
pub(crate) fn check_balance(account: &Account, needed: Coins, code: ResultCode) -> Result<(), Refusal> {
    if account.balance.covers(&needed) {
        Ok(())
    } else {
        Err(Refusal::BelowMinimalBalance { balance: account.balance.clone(), needed, code })
    }
}

/// Burns the fee.
pub(crate) fn charge_fee(account: &mut Account, fee: &Coins) -> Result<(), Refusal> {
    account.balance = account.balance.checked_sub(fee).ok_or(Refusal::FeeNotCharged)?;
    Ok(())
}

/// An account whose owner sent one more transaction.
pub(crate) fn advance_sequence(account: &mut Account) {
    account.sequence = account.sequence.wrapping_add(1);
}
