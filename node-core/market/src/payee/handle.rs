//! The provider's side as the rest of the node uses it: a handle to the book, and what settles it.

use std::{sync::Arc, time::Duration};

use edge_jobs::{JobId, JobKind};
use theta_types::{Address, Height, ResourceId, Wei};
use theta_wallet::{ChainAccess, ChainError, ReserveError, TransactionSender, Voucher, Wallet};
use tokio::{sync::watch, task::AbortHandle};
use tracing::{debug, warn};

use super::{
    Earnings, PayeeChange, PayeeLedger, PayeeStore, PayeeTerms, SessionId, Unpaid, VoucherFault, rule, settle,
};
use crate::{Clock, LineId, StoreError, owner::Closed, owner::Owner};

/// How long a voucher on a reserve that is not final here yet is waited for. Two nodes do not finalize at one moment.
const RESERVE_WAIT: Duration = Duration::from_secs(15);

/// Why a payment was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayeeError {
    /// The voucher is worth nothing.
    #[error(transparent)]
    Voucher(#[from] VoucherFault),
    /// The work is not paid, or not covered.
    #[error(transparent)]
    Unpaid(#[from] Unpaid),
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain did not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The operating system gave no randomness for a resource id.
    #[error("the operating system gave no randomness")]
    Randomness,
    /// The program is ending.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What a provider needs to be paid.
pub struct PayeeConfig {
    /// Who is paid.
    pub wallet: Wallet,
    /// The chain.
    pub chain: Arc<dyn ChainAccess>,
    /// Puts the own rule on it.
    pub transactions: TransactionSender,
    /// Keeps the book.
    pub store: Arc<dyn PayeeStore>,
    /// The settings.
    pub terms: PayeeTerms,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PayeeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayeeConfig").field("wallet", &self.wallet).finish_non_exhaustive()
    }
}

/// The provider's side of payments. Clones are the same; its tasks end with the last one.
#[derive(Clone)]
pub struct Payee {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Address,
    ledger: Owner<PayeeLedger>,
    chain: Arc<dyn ChainAccess>,
    clock: Arc<dyn Clock>,
    terms: PayeeTerms,
    /// The resource, once its rule is in force.
    resource: watch::Receiver<Option<ResourceId>>,
    /// Changes when a line wants its last voucher.
    closings: watch::Receiver<u64>,
    poke: watch::Sender<u64>,
    tasks: [AbortHandle; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Payee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payee").field("provider", &self.shared.provider).finish_non_exhaustive()
    }
}

/// What a payment did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Units of the session that are paid.
    pub units: u64,
    /// The line whose last voucher is wanted, because it is about to be settled.
    pub freeze: Option<LineId>,
}

impl Payee {
    /// Opens the book, registers the own resource if it is not, and starts to settle.
    ///
    /// # Errors
    /// The store cannot be read, or the system gives no randomness or thread.
    pub fn start(config: PayeeConfig) -> Result<Self, PayeeError> {
        let PayeeConfig { wallet, chain, transactions, store, terms, clock } = config;
        let provider = wallet.address();
        let resource = match store.load()?.resource {
            Some(resource) => resource,
            None => {
                let fresh = theta_wallet::random_resource_id().map_err(|_| PayeeError::Randomness)?;
                store.apply(&[PayeeChange::Resource(fresh.clone())])?;
                fresh
            }
        };
        let ledger = PayeeLedger::open(provider, chain.chain_id(), resource, terms.clone(), store)?;
        let ledger = Owner::start("payee-book", ledger)
            .map_err(|error| StoreError::Unavailable(format!("no thread for it: {error}")))?;
        let (in_force, resource) = watch::channel(None);
        let (closing, closings) = watch::channel(0);
        let (poke, poked) = watch::channel(0);
        let keeper = rule::RuleKeeper {
            chain: chain.clone(),
            transactions,
            ledger: ledger.clone(),
            provider,
            in_force,
            in_vain: 0,
        };
        let settler = settle::Settler {
            chain: chain.clone(),
            wallet,
            ledger: ledger.clone(),
            clock: clock.clone(),
            closing,
            poked,
            refusals: Default::default(),
        };
        let tasks = [tokio::spawn(keeper.run()).abort_handle(), tokio::spawn(settler.run()).abort_handle()];
        let shared = Shared { provider, ledger, chain, clock, terms, resource, closings, poke, tasks };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Who is paid.
    pub fn provider(&self) -> Address {
        self.shared.provider
    }

    /// The settings.
    pub fn terms(&self) -> &PayeeTerms {
        &self.shared.terms
    }

    /// The resource that reserves must list; `None` until its rule is on the chain, and no offer is made before.
    pub fn resource(&self) -> watch::Receiver<Option<ResourceId>> {
        self.shared.resource.clone()
    }

    /// Takes in what the chain says of a payer that wants a session. `reserve` is one that the payer says it has opened, or
    /// the one of its voucher; it is waited for, because two nodes do not finalize at one moment.
    pub async fn look_at(
        &self,
        payer: Address,
        reserve: Option<u64>,
        voucher: Option<&Voucher>,
    ) -> Result<(), PayeeError> {
        self.take_in(payer, voucher.map(|voucher| voucher.reserve_sequence).or(reserve)).await
    }

    /// Opens a session for a job at a price, after [`Payee::look_at`]. `voucher` covers what the payer still owes from
    /// before.
    pub async fn open(
        &self,
        payer: Address,
        job: JobId,
        kind: JobKind,
        price: Wei,
        voucher: Option<Voucher>,
    ) -> Result<SessionId, PayeeError> {
        if let Some(voucher) = voucher {
            // One that is worth nothing changes nothing: the session stands on what is known without it.
            if let Err(fault) = self.shared.ledger.with(move |ledger| ledger.receive(payer, &voucher)).await?
            {
                debug!(%payer, %fault, "a payer's first voucher is not taken");
            }
        }
        Ok(self.shared.ledger.with(move |ledger| ledger.open_session(payer, job, kind, price)).await??)
    }

    /// See [`PayeeLedger::forget_stranger`].
    pub async fn forget_stranger(&self, payer: Address) -> Result<(), PayeeError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.forget_stranger(payer)).await?)
    }

    /// See [`PayeeLedger::deliver`].
    pub async fn deliver(&self, session: SessionId, units: u64) -> Result<u64, PayeeError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.deliver(session, units)).await??)
    }

    /// Takes a payment: the voucher, if there is one, and the payer's word that `units` of the session are paid.
    pub async fn pay(
        &self,
        payer: Address,
        session: SessionId,
        units: u64,
        voucher: Option<Voucher>,
    ) -> Result<Paid, PayeeError> {
        let line = match voucher {
            Some(voucher) => self.receive(payer, voucher).await?,
            None => None,
        };
        let now = self.shared.clock.unix_seconds();
        let paid = self.shared.ledger.with(move |ledger| {
            // A voucher on a line that is being settled: the payer does not know it yet.
            let crossed = line.filter(|line| !ledger.takes_vouchers(*line));
            ledger.acknowledge(session, units, line.filter(|_| crossed.is_none()))?;
            let freeze = crossed.or_else(|| ledger.closing(payer, now));
            let units = ledger.session_units(session).map_or(0, |(_, paid)| paid);
            Ok::<_, Unpaid>(Paid { units, freeze })
        });
        Ok(paid.await??)
    }

    /// Takes a payer's last voucher of a line that is about to be settled.
    pub async fn frozen(
        &self,
        payer: Address,
        line: LineId,
        voucher: Option<Voucher>,
    ) -> Result<(), PayeeError> {
        if line.counterparty != payer {
            return Ok(());
        }
        let received = match voucher {
            Some(voucher) => self.receive(payer, voucher).await.map(|_| ()),
            None => Ok(()),
        };
        self.shared.ledger.with(move |ledger| ledger.frozen(line)).await?;
        self.shared.poke.send_modify(|count| *count += 1);
        received
    }

    /// The line of a payer whose last voucher is wanted; and a watch that changes when there may be one.
    pub async fn closing(&self, payer: Address) -> Result<Option<LineId>, PayeeError> {
        let now = self.shared.clock.unix_seconds();
        Ok(self.shared.ledger.with(move |ledger| ledger.closing(payer, now)).await?)
    }

    /// Changes when some line wants its last voucher; see [`Payee::closing`].
    pub fn closings(&self) -> watch::Receiver<u64> {
        self.shared.closings.clone()
    }

    /// Units of a session that were delivered, and those that are paid.
    pub async fn session_units(&self, session: SessionId) -> Result<Option<(u64, u64)>, PayeeError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.session_units(session)).await?)
    }

    /// See [`PayeeLedger::retract`].
    pub async fn retract(&self, session: SessionId) -> Result<(), PayeeError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.retract(session)).await??)
    }

    /// See [`PayeeLedger::close_session`].
    pub async fn close(&self, session: SessionId) -> Result<(), PayeeError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.close_session(session)).await??)
    }

    /// Settles every line that is worth more than the fee, and waits until none is left or `limit` is over. What is left
    /// then, in TFuelWei.
    pub async fn settle_all(&self, limit: Duration) -> Result<Wei, PayeeError> {
        self.shared.ledger.with(|ledger| ledger.settle_all(true)).await?;
        self.shared.poke.send_modify(|count| *count += 1);
        let deadline = tokio::time::Instant::now() + limit;
        let mut heights = self.shared.chain.heights();
        let left = loop {
            let left = self.shared.ledger.with(|ledger| ledger.unsettled_worth()).await?;
            if left.is_zero() {
                break left;
            }
            let short = Duration::from_millis(500);
            let next = async {
                let _ = tokio::time::timeout(short, heights.changed()).await;
            };
            if tokio::time::timeout_at(deadline, next).await.is_err() {
                break left;
            }
        };
        self.shared.ledger.with(|ledger| ledger.settle_all(false)).await?;
        Ok(left)
    }

    /// Earnings over all payers.
    pub async fn earnings(&self) -> Result<Earnings, PayeeError> {
        Ok(self.shared.ledger.with(|ledger| ledger.earnings()).await?)
    }

    /// Asks the book anything else.
    pub async fn read<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&PayeeLedger) -> R + Send + 'static,
    ) -> Result<R, PayeeError> {
        Ok(self.shared.ledger.with(move |ledger| ask(ledger)).await?)
    }

    async fn receive(&self, payer: Address, voucher: Voucher) -> Result<Option<LineId>, PayeeError> {
        let reserve = voucher.reserve_sequence;
        let first = voucher.clone();
        match self.shared.ledger.with(move |ledger| ledger.receive(payer, &first)).await? {
            Ok(received) => Ok(Some(received.line)),
            Err(VoucherFault::Reserve(ReserveError::Missing)) => {
                self.take_in(payer, Some(reserve)).await?;
                let again = self.shared.ledger.with(move |ledger| ledger.receive(payer, &voucher)).await?;
                Ok(Some(again?.line))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Takes in a payer's account; waits for `reserve` to appear in it.
    async fn take_in(&self, payer: Address, reserve: Option<u64>) -> Result<(), PayeeError> {
        let deadline = tokio::time::Instant::now() + RESERVE_WAIT;
        let mut heights = self.shared.chain.heights();
        loop {
            let height = *heights.borrow_and_update();
            let known = self
                .shared
                .ledger
                .with(move |ledger| {
                    let there = reserve.is_none_or(|reserve| ledger.has_reserve(payer, reserve));
                    (ledger.seen_at(payer) >= height && height > Height(0), there)
                })
                .await?;
            if known == (true, true) {
                return Ok(());
            }
            if !known.0 {
                let account = self.shared.chain.account(payer).await?;
                let there = self.shared.ledger.with(move |ledger| {
                    ledger.observe(payer, account.as_ref(), height)?;
                    Ok::<_, StoreError>(reserve.is_none_or(|reserve| ledger.has_reserve(payer, reserve)))
                });
                if there.await?? {
                    return Ok(());
                }
            }
            match tokio::time::timeout_at(deadline, heights.changed()).await {
                Ok(Ok(())) => {}
                // Not there in time: whoever asked is told by what it tries next.
                Ok(Err(_)) | Err(_) => return Ok(()),
            }
        }
    }
}

/// Logs what a background task could not do.
pub(super) fn report(error: &dyn std::fmt::Display, what: &str) {
    warn!(%error, "{what}");
}
