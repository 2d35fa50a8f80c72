//! Puts the wallet's own transactions on the chain, one after the other, and none twice.
//!
//! One task owns the order. It takes a request, gives it the account's next sequence, writes the signed bytes to the journal, submits
//! them, and stays with them until the chain's finalized state says what became of them. After a restart it goes on with the same bytes.
//! Two different transactions with one sequence are never open at the same time, so none of them can be executed in the other's place.

use std::sync::Arc;
use std::time::Duration;

use theta_types::{Address, ChainRules, Transaction, TxHash};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::chain_access::{ChainAccess, ChainError, TxStatus};
use crate::fees::fee_height;
use crate::journal::{JournalEntry, JournalError, TxJournal, TxOutcome};
use crate::requests::{RequestError, TxRequest};
use crate::wallet::{Wallet, WalletError};

/// Requests that may wait.
const QUEUE: usize = 64;

/// Without a new height for this long, the chain is asked all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the chain, each at another height, after which a transaction that the node keeps refusing and does not know is given up. Far
/// beyond the time that mempools remember.
const REFUSALS_UNTIL_GIVEN_UP: u32 = 50;

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Unlock the wallet first.
    #[error("the wallet is locked")]
    Locked,
    /// The request itself is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node refused the transaction: see what it says. Nothing was spent.
    #[error("the chain refused it: {0}")]
    Refused(String),
    /// The chain cannot be asked for the account's sequence. Nothing was signed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The journal cannot be written. Nothing was submitted.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Too many requests wait. Try again later.
    #[error("too many transactions wait to be sent")]
    Busy,
    /// The program is stopping. If the request reached the journal, it goes on after the next start.
    #[error("the wallet is stopping")]
    Stopped,
}

/// A transaction that the chain's mempool has taken.
#[derive(Debug)]
pub struct Sent {
    /// Names it.
    pub hash: TxHash,
    /// Its sequence: the name of the reserve, if it makes one.
    pub sequence: u64,
    outcome: oneshot::Receiver<TxOutcome>,
}

impl Sent {
    /// Waits until the finalized chain says what became of it.
    ///
    /// # Errors
    /// [`SendError::Stopped`].
    pub async fn outcome(self) -> Result<TxOutcome, SendError> {
        self.outcome.await.map_err(|_| SendError::Stopped)
    }
}

/// Handle to the task. It stops when the last clone is dropped; what is open goes on at the next start.
#[derive(Debug, Clone)]
pub struct TransactionSender {
    requests: mpsc::Sender<Job>,
    _task: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Job {
    request_id: String,
    request: TxRequest,
    reply: oneshot::Sender<Result<Sent, SendError>>,
}

impl TransactionSender {
    /// Starts the task. It first sees to what the journal has open.
    pub fn start(
        chain: Arc<dyn ChainAccess>,
        wallet: Wallet,
        journal: Arc<dyn TxJournal>,
        rules: ChainRules,
    ) -> Self {
        let (requests, jobs) = mpsc::channel(QUEUE);
        let owner = Owner { chain, wallet, journal, rules };
        let task = tokio::spawn(owner.run(jobs));
        Self { requests, _task: Arc::new(AbortOnDrop(task.abort_handle())) }
    }

    /// Sends a transaction, after those that wait. Returns when the mempool has it.
    ///
    /// `request_id` names the request: asked again with the same name, also after a restart, the answer is about the same transaction.
    ///
    /// # Errors
    /// See [`SendError`]. After [`SendError::Stopped`], ask again with the same name.
    pub async fn send(&self, request_id: &str, request: TxRequest) -> Result<Sent, SendError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { request_id: request_id.to_owned(), request, reply };
        self.requests.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::Stopped,
        })?;
        answer.await.map_err(|_| SendError::Stopped)?
    }
}

/// The task's own state.
struct Owner {
    chain: Arc<dyn ChainAccess>,
    wallet: Wallet,
    journal: Arc<dyn TxJournal>,
    rules: ChainRules,
}

/// Who waits for a transaction: first for the mempool, then for the chain.
struct Waiting {
    reply: Option<oneshot::Sender<Result<Sent, SendError>>>,
    outcome: Option<oneshot::Sender<TxOutcome>>,
}

impl Waiting {
    fn nobody() -> Self {
        Self { reply: None, outcome: None }
    }

    fn taken(&mut self, entry: &JournalEntry) {
        if let Some(reply) = self.reply.take() {
            let (outcome, wait) = oneshot::channel();
            self.outcome = Some(outcome);
            // Who asked may have gone; the transaction goes on.
            let _ = reply.send(Ok(Sent { hash: entry.hash, sequence: entry.sequence, outcome: wait }));
        }
    }

    fn concluded(mut self, entry: &JournalEntry, outcome: TxOutcome) {
        if let (Some(_), TxOutcome::Refused { reason }) = (&self.reply, &outcome) {
            let refusal = SendError::Refused(reason.clone());
            if let Some(reply) = self.reply.take() {
                let _ = reply.send(Err(refusal));
            }
            return;
        }
        self.taken(entry);
        if let Some(waiting) = self.outcome {
            let _ = waiting.send(outcome);
        }
    }
}

impl Owner {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        self.finish_open().await;
        while let Some(job) = jobs.recv().await {
            self.take(job).await;
        }
    }

    /// Sees to the entries of an earlier run. Their bytes may have been submitted, so they are submitted again, never made anew.
    async fn finish_open(&self) {
        let open = loop {
            match self.journal.open(self.address()).await {
                Ok(open) => break open,
                Err(error) => {
                    warn!(%error, "the journal of transactions cannot be read");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        };
        for entry in open {
            info!(hash = %entry.hash, sequence = entry.sequence, "going on with a transaction of before");
            self.see_through(entry, Waiting::nobody(), false).await;
        }
    }

    async fn take(&self, job: Job) {
        match self.journal.of_request(self.address(), &job.request_id).await {
            Err(error) => drop(job.reply.send(Err(error.into()))),
            // Asked before: the answer is about the same transaction.
            Ok(Some(entry)) => {
                let waiting = Waiting { reply: Some(job.reply), outcome: None };
                match entry.outcome.clone() {
                    Some(outcome) => waiting.concluded(&entry, outcome),
                    None => self.see_through(entry, waiting, false).await,
                }
            }
            Ok(None) => match self.prepare(&job).await {
                Ok(entry) => {
                    self.see_through(entry, Waiting { reply: Some(job.reply), outcome: None }, true).await;
                }
                Err(error) => drop(job.reply.send(Err(error))),
            },
        }
    }

    /// Signs the request with the account's next sequence, and writes it to the journal.
    async fn prepare(&self, job: &Job) -> Result<JournalEntry, SendError> {
        job.request.check(&self.address())?;
        let account = self.chain.account(self.address()).await?;
        let height = fee_height(self.chain.finalized_height().await?);
        // Nothing is open, so the finalized sequence is the last one used, unless another program uses the key.
        let sequence = account.map_or(0, |account| account.sequence) + 1;
        let signed = job.request.sign(&self.wallet, sequence, &self.rules, height);
        let tx = signed.map_err(|error| match error {
            WalletError::Locked => SendError::Locked,
            _ => SendError::Stopped,
        })?;
        let raw = tx.encode();
        let entry = JournalEntry {
            request_id: job.request_id.clone(),
            sender: self.address(),
            sequence,
            hash: Transaction::hash_of_raw(&raw),
            raw,
            outcome: None,
        };
        self.journal.record(entry.clone()).await?;
        Ok(entry)
    }

    /// Submits, and stays until the transaction's end is in the journal. `fresh` says that the bytes were never submitted before.
    async fn see_through(&self, entry: JournalEntry, mut waiting: Waiting, fresh: bool) {
        let mut heights = self.chain.heights();
        let mut certainly_nowhere = fresh;
        let mut refusals = 0;
        let outcome = loop {
            match self.chain.submit(entry.raw.clone()).await {
                Ok(_) => {
                    certainly_nowhere = false;
                    refusals = 0;
                    waiting.taken(&entry);
                }
                Err(ChainError::Refused(reason)) if certainly_nowhere => break TxOutcome::Refused { reason },
                Err(ChainError::Refused(reason)) => {
                    debug!(hash = %entry.hash, reason, "refused when submitted again");
                    refusals += 1;
                    if refusals >= REFUSALS_UNTIL_GIVEN_UP {
                        break TxOutcome::Refused { reason };
                    }
                }
                Err(error) => {
                    // It may have got through before the answer was lost.
                    certainly_nowhere = false;
                    warn!(hash = %entry.hash, %error, "submitting failed, trying again");
                }
            }
            if let Some(outcome) = self.wait_for_end(&entry, &mut heights, &mut waiting).await {
                break outcome;
            }
        };
        self.conclude(&entry, &outcome).await;
        info!(hash = %entry.hash, ?outcome, "transaction concluded");
        waiting.concluded(&entry, outcome);
    }

    /// Waits for its end; `None` when it is to be submitted again.
    async fn wait_for_end(
        &self,
        entry: &JournalEntry,
        heights: &mut tokio::sync::watch::Receiver<theta_types::Height>,
        waiting: &mut Waiting,
    ) -> Option<TxOutcome> {
        loop {
            // A closed channel or a standing chain must not make this spin or sleep for ever.
            match tokio::time::timeout(PATIENCE, heights.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(_)) => tokio::time::sleep(PATIENCE).await,
            }
            // The account first: what it has consumed, the second question must know.
            let Ok(account) = self.chain.account(self.address()).await else { continue };
            let Ok(status) = self.chain.transaction(entry.hash).await else { continue };
            let consumed = account.is_some_and(|account| account.sequence >= entry.sequence);
            match status {
                TxStatus::Finalized { height } => return Some(TxOutcome::Final { height }),
                TxStatus::Pending => waiting.taken(entry),
                TxStatus::NotFound | TxStatus::Abandoned if consumed => return Some(TxOutcome::Superseded),
                TxStatus::NotFound | TxStatus::Abandoned => return None,
            }
        }
    }

    async fn conclude(&self, entry: &JournalEntry, outcome: &TxOutcome) {
        while let Err(error) = self.journal.conclude(entry.hash, outcome.clone()).await {
            // Going on without it would show the transaction as open after a restart, or give its sequence away too early.
            warn!(%error, "the journal of transactions cannot be written, trying again");
            tokio::time::sleep(PATIENCE).await;
        }
    }

    fn address(&self) -> Address {
        self.wallet.address()
    }
}
