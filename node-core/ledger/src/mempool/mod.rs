//! Transactions that wait for a block (spec 02 section 9). Local policy: nothing here is consensus.

mod book;
mod queue;

use std::fmt;
use std::time::{Duration, Instant};

use theta_state::Trie;
use theta_types::{Account, Address, Transaction, TxHash};

pub use book::TxMemory;

use crate::block_rules::BlockRules;
use crate::error::{ExecuteError, LedgerError};
use crate::executor::{decode, execute_regular};
use crate::fees::effective_gas_price;
use crate::refusal::Refusal;
use crate::view::{StateChanges, StateView};
use book::Book;
use queue::{Queue, Queued};

/// Bounds of a mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MempoolLimits {
    /// Waiting transactions.
    pub transactions: usize,
    /// Their bytes together.
    pub bytes: usize,
    /// Bytes of one.
    pub transaction_bytes: usize,
    /// Waiting transactions of one sender.
    pub per_sender: usize,
    /// Transactions remembered, waiting or not.
    pub remembered: usize,
    /// How long a transaction waits and is remembered.
    pub lifetime: Duration,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self {
            transactions: 4_096,
            bytes: 16 * 1024 * 1024,
            transaction_bytes: 256 * 1024,
            per_sender: 512,
            remembered: 200_000,
            lifetime: Duration::from_secs(60),
        }
    }
}

/// Why the mempool does not take a transaction. Display gives the reference's words where it has any.
#[derive(Debug, thiserror::Error)]
pub enum MempoolError {
    /// It waits already, or was here within the last minute. There is nothing to do.
    #[error("Transaction already seen")]
    AlreadySeen,
    /// It is longer than this node takes. Split it up.
    #[error("Transaction has {0} bytes, more than this node takes")]
    TooLarge(usize),
    /// Too many transactions wait. Try again after the next block.
    #[error("Mempool is full, try again later")]
    Full,
    /// Too many transactions of this sender wait. Try again after the next block.
    #[error("Too many transactions of {0} are pending, try again later")]
    TooManyOfSender(Address),
    /// It could not be executed after those that wait already.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node is at fault.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<ExecuteError> for MempoolError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Refused(refusal) => Self::Refused(refusal),
            ExecuteError::Ledger(error) => Self::Ledger(error),
        }
    }
}

/// Transactions that wait, and the state that they would lead to.
///
/// All calls between two calls of [`Mempool::after_block`] have to name the same state and rules: those of the newest block.
pub struct Mempool {
    limits: MempoolLimits,
    queue: Queue,
    book: Book,
    /// What the waiting transactions change, in the order in which they were admitted.
    screened: StateChanges,
}

impl Mempool {
    /// An empty one.
    pub fn new(limits: MempoolLimits) -> Self {
        Self {
            limits,
            queue: Queue::default(),
            book: Book::new(limits.remembered, limits.lifetime),
            screened: StateChanges::new(),
        }
    }

    /// Takes a raw transaction if it could be executed after all that wait already. So consecutive sequences of an account can queue.
    ///
    /// # Errors
    /// It was seen before, a bound is reached, or it is refused.
    pub fn insert(
        &mut self,
        rules: &BlockRules<'_>,
        state: &Trie,
        raw: Vec<u8>,
        now: Instant,
    ) -> Result<TxHash, MempoolError> {
        let hash = Transaction::hash_of_raw(&raw);
        if self.book.get(&hash, now).is_some() {
            return Err(MempoolError::AlreadySeen);
        }
        if raw.len() > self.limits.transaction_bytes {
            return Err(MempoolError::TooLarge(raw.len()));
        }
        let transaction = decode(&raw).map_err(|refusal| match refusal {
            Refusal::NeverExecuted => Refusal::Unauthorized,
            other => other,
        })?;
        let waiting = self.queue.of_sender(&sender(&transaction).0);
        let full = self.queue.len() >= self.limits.transactions
            || self.queue.bytes().saturating_add(raw.len()) > self.limits.bytes;
        if full {
            return Err(MempoolError::Full);
        }
        if waiting >= self.limits.per_sender {
            return Err(MempoolError::TooManyOfSender(sender(&transaction).0));
        }

        self.screen(rules, state, |view| execute_regular(rules, view, &transaction))?;
        let (sender, sequence) = sender(&transaction);
        let price = effective_gas_price(rules, &transaction);
        self.book.remember_pending(hash, now);
        self.queue.push(Queued::new(raw, hash, sender, sequence, price));
        Ok(hash)
    }

    /// The best candidates for a block, best first: by fee per gas, the transactions of one sender in the order of their sequences.
    /// They stay until a block holds them.
    pub fn candidates(&self, most: usize, now: Instant) -> Vec<Vec<u8>> {
        let alive = self.queue.best_first().filter(|queued| self.book.get(&queued.hash, now).is_some());
        alive.take(most).map(|queued| queued.raw.to_vec()).collect()
    }

    /// Goes on to the state of a new block: lets go of its transactions, of those that waited too long, and of those that can no longer
    /// be executed.
    ///
    /// # Errors
    /// The state cannot be read. The mempool is usable all the same.
    pub fn after_block(
        &mut self,
        rules: &BlockRules<'_>,
        state: &Trie,
        committed: &[Vec<u8>],
        now: Instant,
    ) -> Result<(), LedgerError> {
        for raw in committed {
            self.queue.remove(&Transaction::hash_of_raw(raw));
        }
        self.screened.clear();
        for hash in self.queue.in_order_of_arrival() {
            let Some(queued) = self.queue.get(&hash) else { continue };
            if self.book.get(&hash, now).is_none() {
                self.queue.remove(&hash);
                continue;
            }
            let raw = queued.raw.clone();
            let screened = self.screen(rules, state, |view| {
                execute_regular(rules, view, &decode(&raw).map_err(ExecuteError::Refused)?)
            });
            match screened {
                Ok(()) => {}
                Err(ExecuteError::Refused(_)) => {
                    self.queue.remove(&hash);
                    self.book.abandon(&hash);
                }
                Err(ExecuteError::Ledger(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is known of a transaction that was here within the last minute.
    pub fn memory_of(&self, hash: &TxHash, now: Instant) -> Option<TxMemory> {
        self.book.get(hash, now)
    }

    /// The account as it will be once all waiting transactions are in a block.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn preview(
        &mut self,
        rules: &BlockRules<'_>,
        state: &Trie,
        address: &Address,
    ) -> Result<Option<Account>, LedgerError> {
        let mut account = None;
        self.screen(rules, state, |view| {
            account = view.account(address)?;
            Ok::<_, LedgerError>(())
        })?;
        Ok(account)
    }

    /// Names of all waiting transactions.
    pub fn waiting(&self) -> Vec<TxHash> {
        self.queue.in_order_of_arrival()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.len() == 0
    }

    /// Runs something on the screened state; what it does is kept when it succeeds.
    fn screen<E>(
        &mut self,
        rules: &BlockRules<'_>,
        state: &Trie,
        on: impl FnOnce(&mut StateView<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut view =
            StateView::with_changes(state, rules.parent_height(), std::mem::take(&mut self.screened));
        let done = on(&mut view);
        if done.is_ok() {
            view.keep();
        }
        self.screened = view.into_changes();
        done
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool")
            .field("limits", &self.limits)
            .field("transactions", &self.queue.len())
            .field("bytes", &self.queue.bytes())
            .finish_non_exhaustive()
    }
}

/// Whose queue a transaction stands in, and where.
fn sender(transaction: &Transaction) -> (Address, u64) {
    match transaction {
        Transaction::Coinbase(tx) => (tx.proposer.address, 0),
        Transaction::Send(tx) => {
            tx.inputs.first().map_or((Address::ZERO, 0), |input| (input.address, input.sequence))
        }
        Transaction::ReserveFund(tx) => (tx.source.address, tx.source.sequence),
        Transaction::ReleaseFund(tx) => (tx.source.address, tx.source.sequence),
        // The target submits, and its account's sequence does not count; the payments of one fund have an order of their own.
        Transaction::ServicePayment(tx) => (tx.target.address, tx.payment_sequence),
        Transaction::SplitRule(tx) => (tx.initiator.address, tx.initiator.sequence),
    }
}
