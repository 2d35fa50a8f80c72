//! The payer as the rest of the node uses it: a handle to the book, and what keeps it in step with the chain.

use std::{sync::Arc, time::Duration};

use edge_jobs::JobId;
use theta_types::{Address, Height, ResourceId, Wei};
use theta_wallet::{ChainAccess, ChainError, SendError, TransactionSender, TxRequest, Voucher, Wallet};
use tokio::{sync::watch, task::AbortHandle};
use tracing::{info, warn};

use super::{
    PayError, PayerLedger, PayerReserve, PayerStore, PayerTerms, ReserveState, SpendingSummary, UnitsDue,
};
use crate::{Clock, LineId, StoreError, owner::Closed, owner::Owner};

/// How long a caller waits for a reserve to be final.
const RESERVE_WAIT: Duration = Duration::from_secs(120);
/// Without a new height for this long, the chain is asked all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing could be paid, or no reserve could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayerError {
    /// See [`PayError`].
    #[error(transparent)]
    Pay(#[from] PayError),
    /// The provider's resource has no rule that pays it: a reserve for it would lock coins for nothing.
    #[error("the provider's resource has no rule of its own")]
    NoRule,
    /// The balance does not reach.
    #[error(
        "a reserve of {fund} TFuelWei, as much collateral and the fee are more than the balance of {balance}"
    )]
    Balance {
        /// TFuelWei that would be reserved.
        fund: Wei,
        /// TFuelWei that are there.
        balance: Wei,
    },
    /// The reserve could not be sent.
    #[error("the reserve could not be sent: {0}")]
    Send(#[from] SendError),
    /// The reserve was not final in time. It may be soon.
    #[error("the reserve is not final yet")]
    NotFinal,
    /// The chain did not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The program is ending.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl From<StoreError> for PayerError {
    fn from(error: StoreError) -> Self {
        Self::Pay(error.into())
    }
}

/// What a payer needs.
pub struct PayerConfig {
    /// Who pays.
    pub wallet: Wallet,
    /// The chain.
    pub chain: Arc<dyn ChainAccess>,
    /// Puts reserves on it.
    pub transactions: TransactionSender,
    /// Keeps the book.
    pub store: Arc<dyn PayerStore>,
    /// The settings.
    pub terms: PayerTerms,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PayerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayerConfig").field("wallet", &self.wallet).finish_non_exhaustive()
    }
}

/// The payer. Clones are the same payer; its tasks end with the last one.
#[derive(Clone)]
pub struct Payer {
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    ledger: Owner<PayerLedger>,
    chain: Arc<dyn ChainAccess>,
    transactions: TransactionSender,
    clock: Arc<dyn Clock>,
    observed: watch::Receiver<Height>,
    /// Changes when an attempt to open a reserve ends.
    attempts: watch::Sender<u64>,
    watcher: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl std::fmt::Debug for Payer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payer").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Payer {
    /// Opens the book and starts to follow the chain.
    ///
    /// # Errors
    /// The store cannot be read, or the system gives no thread.
    pub fn start(config: PayerConfig) -> Result<Self, StoreError> {
        let PayerConfig { wallet, chain, transactions, store, terms, clock } = config;
        let address = wallet.address();
        let ledger = PayerLedger::open(wallet, chain.chain_id(), terms, store)?;
        let ledger = Owner::start("payer-book", ledger)
            .map_err(|error| StoreError::Unavailable(format!("no thread for it: {error}")))?;
        let (seen, observed) = watch::channel(Height(0));
        let watcher = tokio::spawn(follow(chain.clone(), ledger.clone(), address, seen)).abort_handle();
        let attempts = watch::Sender::new(0);
        let shared = Shared { address, ledger, chain, transactions, clock, observed, attempts, watcher };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Who pays.
    pub fn address(&self) -> Address {
        self.shared.address
    }

    /// Introduces a provider, after a look at the chain: its resource must be its own, and pay nobody else.
    pub async fn introduce(&self, provider: Address, resource: ResourceId) -> Result<(), PayerError> {
        let wanted = resource.clone();
        let known = self.shared.ledger.with(move |ledger| ledger.knows(provider, &wanted)).await?;
        if known {
            return Ok(());
        }
        let rule = self.shared.chain.split_rule(&resource.to_string()).await?;
        let own = rule.is_some_and(|rule| {
            rule.initiator_address == provider
                && rule.resource_id == resource
                && matches!(rule.splits.as_slice(), [only] if only.address == provider && only.percentage == 100)
        });
        if !own {
            return Err(PayerError::NoRule);
        }
        Ok(self.shared.ledger.with(move |ledger| ledger.introduce(provider, resource)).await??)
    }

    /// Sees to it that `amount` more can be paid to a provider: opens a reserve, and waits until it is final, if it must.
    pub async fn ensure(&self, provider: Address, amount: Wei) -> Result<(), PayerError> {
        let deadline = tokio::time::Instant::now() + RESERVE_WAIT;
        let mut observed = self.shared.observed.clone();
        let mut attempts = self.shared.attempts.subscribe();
        let mut tried = false;
        loop {
            observed.borrow_and_update();
            attempts.borrow_and_update();
            let wanted = amount.clone();
            // Both at one moment: between two questions the reserve on its way could arrive, and seem to be neither.
            let state = self
                .shared
                .ledger
                .with(move |ledger| (ledger.missing_room(provider, &wanted), ledger.is_opening(provider)));
            let (Some(needed), opening) = state.await? else { return Ok(()) };
            if !opening {
                if tried {
                    // The one that was opened is there and does not do, or did not come about.
                    return Err(PayError::NoRoom { needed }.into());
                }
                tried = true;
                self.open_reserve(provider, needed).await?;
            }
            let changed = async {
                tokio::select! {
                    changed = observed.changed() => changed.is_ok(),
                    changed = attempts.changed() => changed.is_ok(),
                }
            };
            match tokio::time::timeout_at(deadline, changed).await {
                Ok(true) => {}
                Ok(false) => return Err(Closed.into()),
                Err(_) => return Err(PayerError::NotFinal),
            }
        }
    }

    /// Opens a new reserve in the background when the present one is nearly used up or near its end.
    pub async fn refill(&self, provider: Address) -> Result<(), PayerError> {
        if !self.shared.ledger.with(move |ledger| ledger.wants_refill(provider)).await? {
            return Ok(());
        }
        let payer = self.clone();
        tokio::spawn(async move {
            if let Err(error) = payer.open_reserve(provider, Wei::zero()).await {
                warn!(%provider, %error, "the reserve could not be renewed; work goes on while the old one lasts");
            }
        });
        Ok(())
    }

    /// See [`PayerLedger::authorize`].
    pub async fn authorize(&self, job: JobId, price: Wei) -> Result<(), PayerError> {
        let now = self.shared.clock.unix_seconds();
        Ok(self.shared.ledger.with(move |ledger| ledger.authorize(job, &price, now)).await??)
    }

    /// See [`PayerLedger::pay`].
    pub async fn pay(&self, due: UnitsDue, credit: Wei) -> Result<Option<Voucher>, PayerError> {
        let now = self.shared.clock.unix_seconds();
        Ok(self.shared.ledger.with(move |ledger| ledger.pay(&due, &credit, now)).await??)
    }

    /// See [`PayerLedger::settle_up`].
    pub async fn settle_up(&self, provider: Address) -> Result<Option<Voucher>, PayerError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.settle_up(provider)).await??)
    }

    /// See [`PayerLedger::freeze`].
    pub async fn freeze(&self, line: LineId) -> Result<Option<Voucher>, PayerError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.freeze(line)).await??)
    }

    /// See [`PayerLedger::release`].
    pub async fn release(&self, job: JobId) -> Result<(), PayerError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.release(job)).await?)
    }

    /// Whether a reserve for the provider is open and far enough from its end.
    pub async fn has_open_reserve(&self, provider: Address) -> Result<bool, PayerError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.has_open_reserve(provider)).await?)
    }

    /// What is agreed with one provider and covered by no voucher.
    pub async fn owed(&self, provider: Address) -> Result<Wei, PayerError> {
        Ok(self.shared.ledger.with(move |ledger| ledger.owed(provider)).await?)
    }

    /// Spent, signed, owed and locked.
    pub async fn summary(&self) -> Result<SpendingSummary, PayerError> {
        Ok(self.shared.ledger.with(|ledger| ledger.summary()).await?)
    }

    /// Asks the book anything else.
    pub async fn read<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&PayerLedger) -> R + Send + 'static,
    ) -> Result<R, PayerError> {
        Ok(self.shared.ledger.with(move |ledger| ask(ledger)).await?)
    }

    /// The last finalized height whose account was taken in.
    pub fn observed(&self) -> watch::Receiver<Height> {
        self.shared.observed.clone()
    }

    /// Sends a reserve. Goes on when the caller does not wait: the coins may be locked already.
    async fn open_reserve(&self, provider: Address, needed: Wei) -> Result<(), PayerError> {
        let begun = self.shared.ledger.with(move |ledger| ledger.begin_opening(provider)).await?;
        let Some((terms, resource)) = begun else { return Ok(()) };
        let payer = self.clone();
        let opening = tokio::spawn(async move {
            let outcome = payer.send_reserve(provider, needed, terms, resource).await;
            let _ = payer.shared.ledger.with(move |ledger| ledger.end_opening(provider)).await;
            payer.shared.attempts.send_modify(|count| *count += 1);
            outcome
        });
        opening.await.map_err(|_| Closed)?
    }

    async fn send_reserve(
        &self,
        provider: Address,
        needed: Wei,
        terms: PayerTerms,
        resource: ResourceId,
    ) -> Result<(), PayerError> {
        let account = self.shared.chain.account(self.address()).await?;
        let balance = account.map(|account| account.balance.tfuel).unwrap_or_default();
        let fund = self.choose_fund(&terms, &needed, &balance).await?;
        let duration = terms.chain_duration();
        let request = TxRequest::Reserve { fund: fund.clone(), resource_id: resource, duration };
        let name = format!("reserve/{provider}/{}", hex_of(rand::random::<[u8; 8]>()));
        let sent = self.shared.transactions.send(&name, request).await?;
        info!(%provider, %fund, reserve = sent.sequence, transaction = %sent.hash, "reserve sent");
        let height = *self.shared.observed.borrow();
        let record = PayerReserve {
            provider,
            reserve: sent.sequence,
            collateral: PayerTerms::collateral_for(&fund),
            fund,
            end: Height(height.0.saturating_add(duration)),
            state: ReserveState::Opening,
            transaction: Some(sent.hash),
        };
        Ok(self.shared.ledger.with(move |ledger| ledger.reserve_made(record)).await??)
    }

    /// The usual fund, or more when more is needed, or less when that is all that can be locked and it does.
    async fn choose_fund(&self, terms: &PayerTerms, needed: &Wei, balance: &Wei) -> Result<Wei, PayerError> {
        let ample = needed + &needed.percent(25);
        let wanted = terms.fund.clone().max(ample);
        let one = Wei::from(1u64);
        let affordable = balance.saturating_sub(&terms.fee).saturating_sub(&one).mul_div(1, 2);
        let least = needed.clone().max(one);
        let mut fund = wanted.min(affordable);
        if fund < least {
            return Err(PayerError::Balance { fund: least, balance: balance.clone() });
        }
        let try_fund = fund.clone();
        if self.shared.ledger.with(move |ledger| ledger.may_lock(&try_fund)).await?.is_err() {
            fund = least.clone();
            self.shared.ledger.with(move |ledger| ledger.may_lock(&least)).await??;
        }
        Ok(fund)
    }
}

/// Takes in the payer's account whenever the chain's finalized height changes.
async fn follow(
    chain: Arc<dyn ChainAccess>,
    ledger: Owner<PayerLedger>,
    address: Address,
    seen: watch::Sender<Height>,
) {
    let mut heights = chain.heights();
    loop {
        // The height first: the account is then at that height, or a later one.
        let height = *heights.borrow_and_update();
        match chain.account(address).await {
            Ok(Some(account)) => match ledger.with(move |ledger| ledger.observe(&account, height)).await {
                Ok(Ok(())) => drop(seen.send_replace(height)),
                Ok(Err(error)) => warn!(%error, "the payer's book could not follow the chain"),
                Err(Closed) => return,
            },
            // Nothing was ever sent to this address: it has no reserves.
            Ok(None) => drop(seen.send_replace(height)),
            Err(error) => warn!(%error, "the payer's account could not be read"),
        }
        match tokio::time::timeout(PATIENCE, heights.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => tokio::time::sleep(PATIENCE).await,
        }
    }
}

fn hex_of(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}
