//! Runs transactions, one after the other, on the state of a parent block.

use theta_state::Trie;
use theta_types::{Transaction, TxError, TxKind, ValidatorSet};

use crate::block_rules::BlockRules;
use crate::delayed_updates;
use crate::error::{ExecuteError, LedgerError};
use crate::refusal::Refusal;
use crate::transactions::{coinbase, release_fund, reserve_fund, send, service_payment, split_rule};
use crate::view::{StateChanges, StateView};

/// The execution of one block: transactions, then the updates at its end. A transaction that is refused leaves nothing behind.
#[derive(Debug)]
pub struct BlockExecutor<'s> {
    rules: BlockRules<'s>,
    validators: &'s ValidatorSet,
    view: StateView<'s>,
    coinbase_done: bool,
}

impl<'s> BlockExecutor<'s> {
    /// On the post-state of the parent. `validators` is the parent's *next* validator set (spec 02 section 4.8).
    ///
    /// # Errors
    /// The state cannot be read, or holds pools that this version cannot follow.
    pub fn new(
        rules: BlockRules<'s>,
        validators: &'s ValidatorSet,
        parent: &'s Trie,
    ) -> Result<Self, LedgerError> {
        let view = StateView::new(parent, rules.parent_height());
        view.require_known_pools()?;
        Ok(Self { rules, validators, view, coinbase_done: false })
    }

    /// Decodes, checks and applies one raw transaction.
    ///
    /// # Errors
    /// It is refused, or the state cannot be read.
    pub fn execute(&mut self, raw: &[u8]) -> Result<Transaction, ExecuteError> {
        let transaction = decode(raw)?;
        let done = match &transaction {
            Transaction::Coinbase(_) if self.coinbase_done => Err(Refusal::SecondCoinbase.into()),
            Transaction::Coinbase(tx) => coinbase::check(&self.rules, self.validators, &self.view, tx)
                .and_then(|()| coinbase::apply(&mut self.view, tx)),
            regular => execute_regular(&self.rules, &mut self.view, regular),
        };
        match done {
            Ok(()) => {
                self.view.keep();
                self.coinbase_done |= matches!(transaction, Transaction::Coinbase(_));
                Ok(transaction)
            }
            Err(refused) => {
                self.view.discard();
                Err(refused)
            }
        }
    }

    /// The state so far.
    pub fn view(&self) -> &StateView<'s> {
        &self.view
    }

    /// Ends the block, and gives all changes against the parent's state.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn finish(mut self) -> Result<StateChanges, LedgerError> {
        delayed_updates::run(&mut self.view)?;
        Ok(self.view.into_changes())
    }
}

/// Checks and applies a transaction other than a coinbase in the draft of the view. The caller keeps or discards it.
pub(crate) fn execute_regular(
    rules: &BlockRules<'_>,
    view: &mut StateView<'_>,
    transaction: &Transaction,
) -> Result<(), ExecuteError> {
    match transaction {
        Transaction::Coinbase(_) => Err(Refusal::Unauthorized.into()),
        Transaction::Send(tx) => send::check(rules, view, tx).and_then(|()| send::apply(view, tx)),
        Transaction::ReserveFund(tx) => {
            reserve_fund::check(rules, view, tx).and_then(|()| reserve_fund::apply(view, tx))
        }
        Transaction::ReleaseFund(tx) => Err(release_fund::refuse(rules, view, tx)),
        Transaction::ServicePayment(tx) => {
            service_payment::check(rules, view, tx).and_then(|()| service_payment::apply(view, tx))
        }
        Transaction::SplitRule(tx) => {
            split_rule::check(rules, view, tx).and_then(|()| split_rule::apply(view, tx))
        }
    }
}

/// Reads a raw transaction of a kind that can be executed.
pub(crate) fn decode(raw: &[u8]) -> Result<Transaction, Refusal> {
    Transaction::decode(raw).map_err(|error| match error {
        TxError::Malformed(error) => Refusal::Undecodable(error),
        TxError::UnknownKind(number) => Refusal::UnknownKind(number),
        TxError::Unsupported(TxKind::Slash) => Refusal::NeverExecuted,
        TxError::Unsupported(kind) => Refusal::UnsupportedKind(kind),
    })
}
