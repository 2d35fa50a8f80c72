//! A payer's book as a value: what it agreed to pay, what it signed, what the chain recorded.
//!
//! For each provider there is one number that only grows, `agreed`: the price of every unit that was delivered, checked
//! and accepted. Everything signed or settled is an instalment on it. The next voucher of a line carries whatever is
//! agreed and not covered by other lines; so a lost voucher, a crash, or a settlement of an older voucher shifts an
//! amount from one line to the next, and never doubles it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use edge_jobs::{JobId, JobKind};
use theta_types::{
    Account, Address, Encode, Height, RESERVED_FUND_FREEZE_PERIOD, ReservedFund, ResourceId, Wei,
};
use theta_wallet::{PaymentLine, Voucher, Wallet};

use super::{
    PayerAccount, PayerChange, PayerLine, PayerReserve, PayerStore, PayerTerms, ReserveState, SignError,
};
use crate::{JobShare, LineId, StoreError, clock::DAY_SECONDS};

/// Why a payment was not made. Nothing was agreed or signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayError {
    /// No reserve for the provider has room for it. Open one and try again.
    #[error("the reserves for this provider have no room for {needed} TFuelWei")]
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

/// Units to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitsDue {
    /// Who delivered them.
    pub provider: Address,
    /// In which job.
    pub job: JobId,
    /// What kind of work it is.
    pub kind: JobKind,
    /// TFuelWei for one unit.
    pub price: Wei,
    /// Units of the job in all, the paid ones included: paying twice for the same count pays once.
    pub units: u64,
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

#[derive(Debug)]
struct Provider {
    account: PayerAccount,
    reserves: BTreeMap<u64, Reserve>,
}

#[derive(Debug)]
struct Reserve {
    record: PayerReserve,
    lines: BTreeMap<u64, PayerLine>,
    /// The largest payment sequence that the chain has recorded for the provider.
    recorded: u64,
}

impl Reserve {
    fn value(&self) -> Wei {
        self.lines.values().map(PayerLine::value).sum()
    }

    /// The line that takes the next voucher: the last one, or a new one above it.
    fn current(&self) -> Option<&PayerLine> {
        self.lines.values().next_back().filter(|line| !line.frozen && line.settled.is_none())
    }

    fn current_sequence(&self) -> u64 {
        match self.current() {
            Some(line) => line.id.sequence,
            None => {
                let last = self.lines.keys().next_back().copied().unwrap_or(0);
                last.max(self.recorded).saturating_add(1)
            }
        }
    }

    fn blocks_left(&self, height: Height) -> u64 {
        self.record.end.0.saturating_sub(height.0)
    }
}

impl Provider {
    fn committed(&self) -> Wei {
        self.account.past.clone() + self.reserves.values().map(Reserve::value).sum::<Wei>()
    }
}

#[derive(Debug, Clone)]
struct JobPaid {
    provider: Address,
    price: Wei,
    units: u64,
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
            provider
                .reserves
                .insert(record.reserve, Reserve { record, lines: BTreeMap::new(), recorded: 0 });
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

    /// Replaces the settings.
    pub fn set_terms(&mut self, terms: PayerTerms) {
        self.terms = terms;
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

    /// Sets one unit's price aside for a job, so that the unit may be delivered: the day's limit can still pay for it.
    pub fn authorize(&mut self, job: JobId, price: &Wei, now: u64) -> Result<(), PayError> {
        self.turn_day(now);
        if let Some(limit) = &self.terms.per_day {
            let held: Wei = self.holds.iter().filter(|(id, _)| **id != job).map(|(_, hold)| hold).sum();
            if &self.day.1 + &held + price > *limit {
                return Err(PayError::DayLimit { limit: limit.clone() });
            }
        }
        self.holds.insert(job, price.clone());
        Ok(())
    }

    /// Ends a job: what was set aside for its next unit is free again.
    pub fn release(&mut self, job: JobId) {
        self.holds.remove(&job);
        self.jobs.remove(&job);
    }

    /// Agrees to units that were delivered, and signs for them.
    ///
    /// `None` when no reserve can pay, and all that is owed to the provider stays within its `credit`.
    pub fn pay(
        &mut self,
        due: &UnitsDue,
        credit: &Wei,
        now: u64,
    ) -> Result<Option<Voucher>, PayError> {
        let paid = self.paid_units(due)?;
        if paid.provider != due.provider || paid.price != due.price {
            return Err(PayError::PriceChanged);
        }
        let new_units = due.units.saturating_sub(paid.units);
        let side = self.providers.get(&due.provider).ok_or(PayError::UnknownProvider)?;
        if new_units == 0 {
            return side.latest().map(voucher_of).transpose();
        }
        self.turn_day(now);
        let amount = &due.price * new_units;
        let side = self.providers.get(&due.provider).ok_or(PayError::UnknownProvider)?;
        let agreed = &side.account.agreed + &amount;
        let next = self.next_line(side, &agreed)?;
        let owed = agreed.saturating_sub(&side.committed());
        if next.is_none() && owed > *credit {
            return Err(PayError::NoRoom { needed: owed });
        }

        let account = PayerAccount { agreed, ..side.account.clone() };
        let day = (self.day.0, &self.day.1 + &amount);
        let mut changes = vec![
            PayerChange::Account(account.clone()),
            PayerChange::Day { day: day.0, agreed: day.1.clone() },
            PayerChange::Share(JobShare {
                job: due.job,
                counterparty: due.provider,
                kind: due.kind,
                price: due.price.clone(),
                units: new_units,
                line: next.as_ref().map(|(line, _)| (line.id.reserve, line.id.sequence)),
            }),
        ];
        if let Some((line, _)) = &next {
            changes.push(PayerChange::Line(line.clone()));
            changes.push(PayerChange::Cover(line.id));
        }
        self.store.apply(&changes)?;
        self.day = day;
        self.jobs.insert(due.job, JobPaid { units: due.units, ..paid });
        self.put_account(account);
        Ok(next.map(|(line, voucher)| {
            self.put_line(line);
            voucher
        }))
    }

    /// A voucher for everything agreed with the provider so far; `None` when a voucher for it cannot be signed or
    /// nothing was ever agreed. What a new session begins with: it heals whatever a crash or a lost message left.
    pub fn settle_up(&mut self, provider: Address) -> Result<Option<Voucher>, PayError> {
        let side = self.providers.get(&provider).ok_or(PayError::UnknownProvider)?;
        if side.account.agreed <= side.committed() {
            return side.latest().map(voucher_of).transpose();
        }
        let Some((line, voucher)) = self.next_line(side, &side.account.agreed)? else { return Ok(None) };
        self.store.apply(&[PayerChange::Line(line.clone()), PayerChange::Cover(line.id)])?;
        self.put_line(line);
        Ok(Some(voucher))
    }

    /// Signs nothing more on a line, because the provider is about to settle it. Its last voucher, if there is one.
    pub fn freeze(&mut self, id: LineId) -> Result<Option<Voucher>, PayError> {
        let Some(line) = self.line(id) else { return Ok(None) };
        let voucher = voucher_of(line)?;
        if !line.frozen {
            let line = PayerLine { frozen: true, ..line.clone() };
            self.store.apply(&[PayerChange::Line(line.clone())])?;
            self.put_line(line);
        }
        Ok(Some(voucher))
    }

    /// How much a new reserve must hold so that `amount` more can be agreed; `None` when the reserves do.
    pub fn missing_room(&self, provider: Address, amount: &Wei) -> Option<Wei> {
        let Some(side) = self.providers.get(&provider) else { return Some(amount.clone()) };
        let agreed = &side.account.agreed + amount;
        if side.fitting(&agreed, self.height, &self.terms).is_some() {
            return None;
        }
        Some(agreed.saturating_sub(&side.committed()))
    }

    /// Whether a new reserve should be opened now, so that work can go on without a pause.
    pub fn wants_refill(&self, provider: Address) -> bool {
        let Some(side) = self.providers.get(&provider) else { return false };
        !self.is_opening(provider)
            && !side.reserves.values().any(|reserve| match reserve.record.state {
            ReserveState::Open => {
                let left = reserve.record.fund.saturating_sub(&reserve.value());
                reserve.blocks_left(self.height) > self.terms.renew_before_end
                    && left >= reserve.record.fund.percent(self.terms.refill_below_percent)
            }
            _ => false,
        })
    }

    /// Whether a reserve for the provider is on its way.
    pub fn is_opening(&self, provider: Address) -> bool {
        let opening = |reserve: &Reserve| reserve.record.state == ReserveState::Opening;
        self.sending.contains(&provider)
            || self.providers.get(&provider).is_some_and(|side| side.reserves.values().any(opening))
    }

    /// Claims the opening of a reserve: settings and resource for it, or `None` when one is on its way already.
    pub fn begin_opening(&mut self, provider: Address) -> Option<(PayerTerms, ResourceId)> {
        let resource = self.providers.get(&provider)?.account.resource.clone();
        if self.is_opening(provider) {
            return None;
        }
        self.sending.insert(provider);
        Some((self.terms.clone(), resource))
    }

    /// Ends what [`PayerLedger::begin_opening`] claimed.
    pub fn end_opening(&mut self, provider: Address) {
        self.sending.remove(&provider);
    }

    /// Whether `fund` more, with its collateral, may be locked.
    pub fn may_lock(&self, fund: &Wei) -> Result<(), PayError> {
        let locked = self.summary().locked;
        if &locked + fund + PayerTerms::collateral_for(fund) > self.terms.max_locked {
            return Err(PayError::LockLimit { locked, limit: self.terms.max_locked.clone() });
        }
        Ok(())
    }

    /// Records a reserve whose transaction the mempool has taken.
    pub fn reserve_made(&mut self, record: PayerReserve) -> Result<(), PayError> {
        if !self.providers.contains_key(&record.provider) {
            return Err(PayError::UnknownProvider);
        }
        // The chain may have been faster than the answer to the sender: then the reserve was found already.
        let found = self
            .providers
            .get_mut(&record.provider)
            .and_then(|side| side.reserves.get_mut(&record.reserve));
        if let Some(found) = found {
            let known = PayerReserve { transaction: record.transaction, ..found.record.clone() };
            self.store.apply(&[PayerChange::Reserve(known.clone())])?;
            found.record = known;
            return Ok(());
        }
        self.store.apply(&[PayerChange::Reserve(record.clone())])?;
        if let Some(side) = self.providers.get_mut(&record.provider) {
            side.reserves
                .insert(record.reserve, Reserve { record, lines: BTreeMap::new(), recorded: 0 });
        }
        Ok(())
    }

    /// Takes in this payer's own account at a finalized height. Heights below the last one are ignored.
    pub fn observe(&mut self, account: &Account, height: Height) -> Result<(), StoreError> {
        if height < self.height {
            return Ok(());
        }
        let mut changes = Vec::new();
        let mut removed = Vec::new();
        for side in self.providers.values_mut() {
            for fund in &account.reserved_funds {
                if fund.resource_ids == [side.account.resource.clone()]
                    && height <= fund.end_height
                    && !side.reserves.contains_key(&fund.reserve_sequence)
                {
                    let record = found(side.account.provider, fund);
                    changes.push(PayerChange::Reserve(record.clone()));
                    let reserve = Reserve { record, lines: BTreeMap::new(), recorded: 0 };
                    side.reserves.insert(fund.reserve_sequence, reserve);
                }
            }
            let mut past = side.account.past.clone();
            for reserve in side.reserves.values_mut() {
                let seen = account
                    .reserved_fund(reserve.record.reserve)
                    .filter(|fund| fund.resource_ids == [side.account.resource.clone()]);
                let mut lines = reserve.lines.clone();
                let mut record = reserve.record.clone();
                let mut recorded = reserve.recorded;
                let mut uncovered = Vec::new();
                if let Some(fund) = seen {
                    record.state = ReserveState::Open;
                    record.end = fund.end_height;
                    for payment in fund.payments_to(&side.account.provider) {
                        recorded = recorded.max(payment.payment_sequence);
                        if let Some(line) = lines.get_mut(&payment.payment_sequence) {
                            line.frozen = true;
                            line.settled = Some(payment.source.coins.tfuel.clone());
                        }
                    }
                    for line in lines.values_mut() {
                        // Sequences only grow on the chain: one that was passed over can never be recorded.
                        if line.settled.is_none() && line.id.sequence < recorded {
                            (line.frozen, line.settled) = (true, Some(Wei::zero()));
                            uncovered.push(line.id);
                        }
                    }
                }
                match (seen.is_some(), record.state) {
                    // Another transaction took its sequence, so this one can never be executed.
                    (false, ReserveState::Opening) if account.sequence >= record.reserve => {
                        record.state = ReserveState::Failed;
                    }
                    // It came back to the balance before this node looked. What was signed counts as paid: the chain
                    // does not tell any more, and this side must not pay twice.
                    (false, ReserveState::Open) => record.state = ReserveState::Ended,
                    // No later block can take a payment from it (spec 02 section 6.4), so what is not recorded never
                    // will be, and is owed again.
                    (true, _) if height > record.end => {
                        record.state = ReserveState::Ended;
                        for line in lines.values_mut().filter(|line| line.settled.is_none()) {
                            (line.frozen, line.settled) = (true, Some(Wei::zero()));
                            uncovered.push(line.id);
                        }
                    }
                    _ => {}
                }
                let changed_lines =
                    lines.iter().filter(|(sequence, line)| reserve.lines.get(sequence) != Some(line));
                changes.extend(changed_lines.map(|(_, line)| PayerChange::Line(line.clone())));
                changes.extend(uncovered.into_iter().map(PayerChange::Uncover));
                if record != reserve.record {
                    changes.push(PayerChange::Reserve(record.clone()));
                }
                if matches!(record.state, ReserveState::Ended | ReserveState::Failed) {
                    past += lines.values().map(PayerLine::value).sum::<Wei>();
                    removed.push((side.account.provider, record.reserve));
                }
                *reserve = Reserve { record, lines, recorded };
            }
            if past != side.account.past {
                side.account.past = past;
                changes.push(PayerChange::Account(side.account.clone()));
            }
        }
        let kept = if changes.is_empty() { Ok(()) } else { self.store.apply(&changes) };
        if let Err(error) = kept {
            // The book in memory ran ahead of the store: take the store's.
            self.reload()?;
            return Err(error);
        }
        for (provider, reserve) in removed {
            if let Some(side) = self.providers.get_mut(&provider) {
                side.reserves.remove(&reserve);
            }
        }
        self.height = height;
        let funds = account.reserved_funds.iter();
        self.locked = (
            funds.clone().map(|fund| fund.returned_on_release().tfuel).sum(),
            funds.map(|fund| freed_at(fund.end_height)).max(),
        );
        Ok(())
    }

    /// The last finalized height that was taken in.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Whether a reserve for the provider is open and can take vouchers.
    pub fn has_open_reserve(&self, provider: Address) -> bool {
        self.providers.get(&provider).is_some_and(|side| {
            side.reserves.values().any(|reserve| {
                reserve.record.state == ReserveState::Open
                    && reserve.blocks_left(self.height) > self.terms.stop_before_end
            })
        })
    }

    /// The newest open reserve for a provider.
    pub fn open_reserve(&self, provider: Address) -> Option<u64> {
        let side = self.providers.get(&provider)?;
        let open = side.reserves.values().filter(|reserve| reserve.record.state == ReserveState::Open);
        open.map(|reserve| reserve.record.reserve).next_back()
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

    /// The line on which `agreed` can be signed, with the voucher; `None` when no reserve has room.
    fn next_line(&self, side: &Provider, agreed: &Wei) -> Result<Option<(PayerLine, Voucher)>, SignError> {
        let Some((reserve, total)) = side.fitting(agreed, self.height, &self.terms) else { return Ok(None) };
        let id = LineId {
            counterparty: side.account.provider,
            reserve: reserve.record.reserve,
            sequence: reserve.current_sequence(),
        };
        let line = PaymentLine {
            chain_id: self.chain_id.clone(),
            payer: self.payer(),
            provider: id.counterparty,
            reserve_sequence: id.reserve,
            resource_id: side.account.resource.clone(),
        };
        let voucher = line.voucher(&self.wallet, id.sequence, total.clone())?;
        let line = PayerLine { id, signed: total, voucher: voucher.to_rlp(), frozen: false, settled: None };
        Ok(Some((line, voucher)))
    }

    fn paid_units(&self, due: &UnitsDue) -> Result<JobPaid, StoreError> {
        if let Some(paid) = self.jobs.get(&due.job) {
            return Ok(paid.clone());
        }
        let shares = self.store.shares(due.job)?;
        let Some(first) = shares.first() else {
            return Ok(JobPaid { provider: due.provider, price: due.price.clone(), units: 0 });
        };
        Ok(JobPaid {
            provider: first.counterparty,
            price: first.price.clone(),
            units: shares.iter().map(|share| share.units).sum(),
        })
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

    fn turn_day(&mut self, now: u64) {
        let today = now / DAY_SECONDS;
        if today > self.day.0 {
            self.day = (today, Wei::zero());
        }
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        let fresh = Self::open(
            self.wallet.clone(),
            self.chain_id.clone(),
            self.terms.clone(),
            self.store.clone(),
        )?;
        self.providers = fresh.providers;
        self.day = fresh.day;
        self.jobs.clear();
        Ok(())
    }
}

/// A reserve that the chain has and the book does not: the program ended between the two.
fn found(provider: Address, fund: &ReservedFund) -> PayerReserve {
    PayerReserve {
        provider,
        reserve: fund.reserve_sequence,
        fund: fund.initial_fund.tfuel.clone(),
        collateral: fund.collateral.tfuel.clone(),
        end: fund.end_height,
        state: ReserveState::Open,
        transaction: None,
    }
}

fn voucher_of(line: &PayerLine) -> Result<Voucher, PayError> {
    Voucher::decode(&line.voucher)
        .map_err(|error| StoreError::Damaged(format!("a signed voucher: {error}")).into())
}

/// The height from which a reserve can come back (spec 02 section 7.4).
fn freed_at(end: Height) -> Height {
    Height(end.0.saturating_add(RESERVED_FUND_FREEZE_PERIOD))
}

impl Provider {
    /// The reserve that can carry a voucher for everything agreed, and that voucher's total. One that is far from its
    /// end goes first, then the older one.
    fn fitting(&self, agreed: &Wei, height: Height, terms: &PayerTerms) -> Option<(&Reserve, Wei)> {
        let committed = self.committed();
        let fit = |reserve: &Reserve| {
            let current = reserve.current().map(|line| line.value().clone()).unwrap_or_default();
            let elsewhere = committed.saturating_sub(&current);
            let total = agreed.saturating_sub(&elsewhere);
            let others = reserve.value().saturating_sub(&current);
            (!total.is_zero() && others + total.clone() <= reserve.record.fund).then_some(total)
        };
        let open = self.reserves.values().filter(|reserve| reserve.record.state == ReserveState::Open);
        let (far, near): (Vec<_>, Vec<_>) =
            open.partition(|reserve| reserve.blocks_left(height) > terms.renew_before_end);
        let near = near.into_iter().filter(|reserve| reserve.blocks_left(height) > terms.stop_before_end);
        far.into_iter().chain(near).find_map(|reserve| fit(reserve).map(|total| (reserve, total)))
    }

    /// The newest line that was signed on, if its voucher may still be of use.
    fn latest(&self) -> Option<&PayerLine> {
        self.reserves
            .values()
            .rev()
            .flat_map(|reserve| reserve.lines.values().rev())
            .find(|line| line.settled.is_none())
    }
}
