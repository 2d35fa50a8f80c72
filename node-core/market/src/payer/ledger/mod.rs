//! A payer's book as a value: what it agreed to pay, what it signed, what the chain recorded.
//!
//! For each provider there is one number that only grows, `agreed`: the price of every unit that was delivered, checked
//! and accepted. Everything signed or settled is an instalment on it. The next voucher of a line carries whatever is
//! agreed and not covered by other lines; so a lost voucher, a crash, or a settlement of an older voucher shifts an
//! amount from one line to the next, and never doubles it.

mod account;
mod observe;
mod paying;
mod reserves;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use edge_jobs::JobId;
use theta_types::{Address, Height, ResourceId, Wei};
use theta_wallet::Wallet;

use self::{
    account::{JobPaid, Provider, Reserve},
    observe::freed_at,
};
use super::{
    PayerAccount, PayerChange, PayerLine, PayerReserve, PayerStore, PayerTerms, ReserveState, SignError,
};
use crate::{LineId, StoreError};

pub use paying::UnitsDue;

/// Why a payment was not made. Nothing was agreed or signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayError {
    /// No reserve for the provider has room for it. Open one and try again.
    #[error("the reserves for this provider have no room: a new one must hold {needed} TFuelWei")]
    NoRoom {
        /// TFuelWei that a new reserve must hold at least.
        needed: Wei,
    },
    /// The limit of the day does not allow it. It does tomorrow, or when the user raises it.
    #[error("the spending limit of the day, {limit} TFuelWei, is reached")]
    DayLimit {
        /// The limit.
        limit: Wei,
    },
    /// Too much is locked already. Wait until reserves end, or raise the limit.
    #[error("{locked} TFuelWei are locked in reserves, and the limit is {limit}")]
    LockLimit {
        /// What is locked.
        locked: Wei,
        /// The limit.
        limit: Wei,
    },
    /// Nothing is known of the provider: it was never introduced.
    #[error("no account with this provider")]
    UnknownProvider,
    /// A job has one price and one provider.
    #[error("the job was agreed at another price, or with another provider")]
    PriceChanged,
    /// The voucher could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a payer has with one provider, or with all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendingSummary {
    /// Recorded on the chain.
    pub settled: Wei,
    /// Signed, not settled.
    pub signed: Wei,
    /// Agreed to, and not signed yet.
    pub owed: Wei,
    /// What the account's reserves hold now: what is left of their funds, and their collaterals.
    pub locked: Wei,
    /// The height from which the last of them can come back: its end and the freeze of 5 blocks.
    pub locked_until: Option<Height>,
}

/// A payer's book. It keeps every change in its store before it answers; a caller may act on what it returns.
pub struct PayerLedger {
    wallet: Wallet,
    chain_id: String,
    terms: PayerTerms,
    store: Arc<dyn PayerStore>,
    providers: BTreeMap<Address, Provider>,
    jobs: HashMap<JobId, JobPaid>,
    /// What a running job may agree to with its next unit.
    holds: HashMap<JobId, Wei>,
    /// Providers for which a reserve is being sent.
    sending: HashSet<Address>,
    day: (u64, Wei),
    height: Height,
    /// What all reserves of the payer's account lock at that height, and when the last of it can come back.
    locked: (Wei, Option<Height>),
}

impl std::fmt::Debug for PayerLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayerLedger")
            .field("wallet", &self.wallet)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

impl PayerLedger {
    /// Opens the book that `store` holds.
    pub fn open(
        wallet: Wallet,
        chain_id: String,
        terms: PayerTerms,
        store: Arc<dyn PayerStore>,
    ) -> Result<Self, StoreError> {
        let book = store.load()?;
        let mut providers: BTreeMap<Address, Provider> = book
            .accounts
            .into_iter()
            .map(|account| (account.provider, Provider { account, reserves: BTreeMap::new() }))
            .collect();
        for record in book.reserves {
            let provider = providers
                .get_mut(&record.provider)
                .ok_or_else(|| StoreError::Damaged("a reserve without its account".into()))?;
            provider.reserves.insert(record.reserve, Reserve { record, lines: BTreeMap::new(), recorded: 0 });
        }
        for line in book.lines {
            providers
                .get_mut(&line.id.counterparty)
                .and_then(|provider| provider.reserves.get_mut(&line.id.reserve))
                .ok_or_else(|| StoreError::Damaged("a line without its reserve".into()))?
                .lines
                .insert(line.id.sequence, line);
        }
        Ok(Self {
            wallet,
            chain_id,
            terms,
            store,
            providers,
            jobs: HashMap::new(),
            holds: HashMap::new(),
            sending: HashSet::new(),
            day: book.day.unwrap_or_default(),
            height: Height(0),
            locked: Default::default(),
        })
    }

    /// Whose book it is.
    pub fn payer(&self) -> Address {
        self.wallet.address()
    }

    /// The settings.
    pub fn terms(&self) -> &PayerTerms {
        &self.terms
    }

    /// Whether the provider was introduced with this resource.
    pub fn knows(&self, provider: Address, resource: &ResourceId) -> bool {
        self.providers.get(&provider).is_some_and(|known| known.account.resource == *resource)
    }

    /// Introduces a provider and its resource. A provider that changed its resource gets new reserves for the new one;
    /// the old ones are used no more.
    pub fn introduce(&mut self, provider: Address, resource: ResourceId) -> Result<(), StoreError> {
        if self.knows(provider, &resource) {
            return Ok(());
        }
        let (agreed, past) = match self.providers.get(&provider) {
            // What the old reserves may still pay stays counted as paid.
            Some(known) => (known.account.agreed.clone(), known.committed()),
            None => Default::default(),
        };
        let mut changes = Vec::new();
        if let Some(known) = self.providers.get(&provider) {
            for reserve in known.reserves.values() {
                changes.push(PayerChange::Reserve(PayerReserve {
                    state: ReserveState::Ended,
                    ..reserve.record.clone()
                }));
            }
        }
        let account = PayerAccount { provider, resource, agreed, past };
        changes.push(PayerChange::Account(account.clone()));
        self.store.apply(&changes)?;
        self.providers.insert(provider, Provider { account, reserves: BTreeMap::new() });
        Ok(())
    }

    /// The last finalized height that was taken in.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Spent, signed, owed and locked, over all providers.
    pub fn summary(&self) -> SpendingSummary {
        let mut summary = SpendingSummary {
            locked: self.locked.0.clone(),
            locked_until: self.locked.1,
            ..SpendingSummary::default()
        };
        for side in self.providers.values() {
            summary.settled += side.account.past.clone();
            for reserve in side.reserves.values() {
                for line in reserve.lines.values() {
                    match &line.settled {
                        Some(settled) => summary.settled += settled,
                        None => summary.signed += &line.signed,
                    }
                }
                if reserve.record.state == ReserveState::Opening {
                    summary.locked += &reserve.record.fund + &reserve.record.collateral;
                    summary.locked_until = summary.locked_until.max(Some(freed_at(reserve.record.end)));
                }
            }
            summary.owed += side.account.agreed.saturating_sub(&side.committed());
        }
        summary
    }

    /// What was agreed with one provider in all, in TFuelWei.
    pub fn agreed(&self, provider: Address) -> Wei {
        self.providers.get(&provider).map(|side| side.account.agreed.clone()).unwrap_or_default()
    }

    /// What is agreed with one provider and covered by no voucher.
    pub fn owed(&self, provider: Address) -> Wei {
        let Some(side) = self.providers.get(&provider) else { return Wei::zero() };
        side.account.agreed.saturating_sub(&side.committed())
    }

    /// Reserves and their lines with one provider, as they stand.
    pub fn reserves(&self, provider: Address) -> Vec<(PayerReserve, Vec<PayerLine>)> {
        let Some(side) = self.providers.get(&provider) else { return Vec::new() };
        side.reserves
            .values()
            .map(|reserve| (reserve.record.clone(), reserve.lines.values().cloned().collect()))
            .collect()
    }

    /// Every provider with an account.
    pub fn providers(&self) -> Vec<Address> {
        self.providers.keys().copied().collect()
    }

    fn line(&self, id: LineId) -> Option<&PayerLine> {
        self.providers.get(&id.counterparty)?.reserves.get(&id.reserve)?.lines.get(&id.sequence)
    }

    fn put_account(&mut self, account: PayerAccount) {
        if let Some(side) = self.providers.get_mut(&account.provider) {
            side.account = account;
        }
    }

    fn put_line(&mut self, line: PayerLine) {
        let reserve = self
            .providers
            .get_mut(&line.id.counterparty)
            .and_then(|side| side.reserves.get_mut(&line.id.reserve));
        if let Some(reserve) = reserve {
            reserve.lines.insert(line.id.sequence, line);
        }
    }
}
