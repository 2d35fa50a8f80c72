//! A provider's book as a value: what it delivered, what it holds in vouchers, what the chain recorded.
//!
//! For each payer, `delivered` is the price of all that went out, and everything received stands against it: what the chain took from the
//! payer's reserves for this provider, and the vouchers that still fit into them. The difference is the debt. Each open
//! session may owe its one unit; a voucher that does not bring the debt down to what the other sessions owe acknowledges
//! nothing, whether it is a replay, late, or too small.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use edge_jobs::{JobId, JobKind};
use theta_types::{
    Account, Address, Encode, Height, ReservedFund, ResourceId, SplitRule, Transaction, TxHash, Wei,
};
use theta_wallet::{PaymentLine, ReserveError, ReserveTerms, Voucher, VoucherError, check_reserve};

use super::{
    HeldVoucher, LineState, PayeeAccount, PayeeChange, PayeeLine, PayeeReserve, PayeeStore, PayeeTerms,
};
use crate::{JobShare, LineId, StoreError};

/// Lines of one reserve that may wait for settlement at one time.
const MAX_WAITING_LINES: usize = 8;
/// Blocks for which a voucher that crossed its line's settlement counts. By then the payer has seen the settlement, and
/// carries the difference over to its next line.
const PROMISE_BLOCKS: u64 = 20;

/// Why a voucher is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoucherFault {
    /// It is from another payer, for another provider or resource, or not signed by its payer.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
    /// Its reserve secures nothing.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// Its line is being settled, or was: the next voucher belongs on a line above it.
    #[error("line {sequence} is settled, sign on the next one")]
    LineClosed {
        /// The line's payment sequence.
        sequence: u64,
    },
    /// It asks for more than is left of the reserve.
    #[error("the reserve has {left} TFuelWei left for it")]
    Overspent {
        /// TFuelWei.
        left: Wei,
    },
    /// Too many lines wait for settlement.
    #[error("too many lines wait for settlement")]
    TooManyLines,
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no work is done for a payer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpaid {
    /// The unit before is not paid.
    #[error("the unit before is not paid")]
    UnitOwed,
    /// No reserve covers the next unit, and the credit does not either.
    #[error("no reserve covers the next unit, and {owed} TFuelWei are owed of a credit of {credit}")]
    NotCovered {
        /// What is owed.
        owed: Wei,
        /// What may be owed.
        credit: Wei,
    },
    /// The payer left too much unpaid.
    #[error("{lost} TFuelWei of earlier work were never paid")]
    Lost {
        /// What was lost.
        lost: Wei,
    },
    /// The payer has too many sessions, or too many payers are on credit.
    #[error("too many sessions at one time")]
    TooMany,
    /// The session is over.
    #[error("the session is over")]
    NoSession,
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names an open session of this run of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// What a voucher did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its line.
    pub line: LineId,
    /// Whether it says more than those before it.
    pub larger: bool,
}

/// A payment to make now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementDue {
    /// The line.
    pub line: LineId,
    /// TFuelWei that it asks for.
    pub amount: Wei,
    /// The voucher in RLP.
    pub voucher: Vec<u8>,
}

/// A payment that was made and is not final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmittedPayment {
    /// The line.
    pub line: LineId,
    /// TFuelWei.
    pub amount: Wei,
    /// Its hash.
    pub transaction: TxHash,
    /// The signed transaction.
    pub raw: Vec<u8>,
}

/// Earnings in the numbers that are never added silently, all in TFuelWei.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Earnings {
    /// On the chain: recorded in the payers' finalized accounts. Fees of the payments are not taken off.
    pub settled: Wei,
    /// In vouchers that still fit into their reserves.
    pub signed: Wei,
    /// Delivered, and no voucher holds it.
    pub owed: Wei,
    /// Delivered and never paid by payers that went away.
    pub lost: Wei,
    /// Signed, and not settled in time because it was less than a fee or this node was away.
    pub forgone: Wei,
}

#[derive(Debug)]
struct Payer {
    account: PayeeAccount,
    reserves: BTreeMap<u64, Reserve>,
    /// Reserves that this provider does not trust, and why.
    refused: BTreeMap<u64, ReserveError>,
    /// The height at which its account was last seen.
    seen_at: Height,
}

#[derive(Debug, Clone)]
struct Reserve {
    record: PayeeReserve,
    lines: BTreeMap<u64, Line>,
    /// What vouchers that crossed a settlement say beyond it, and the height until which that counts.
    promises: BTreeMap<u64, (Wei, Height)>,
}

#[derive(Debug, Clone)]
struct Line {
    record: PayeeLine,
    /// Totals and raw vouchers, by rising total.
    vouchers: Vec<(Wei, Arc<[u8]>)>,
    closing: Option<Closing>,
}

/// The payer was asked for its last voucher of the line.
#[derive(Debug, Clone, Copy)]
struct Closing {
    since: u64,
    answered: bool,
}

#[derive(Debug, Clone)]
struct Session {
    payer: Address,
    job: JobId,
    kind: JobKind,
    price: Wei,
    delivered: u64,
    acknowledged: u64,
}

impl Session {
    fn outstanding(&self) -> Wei {
        &self.price * self.delivered.saturating_sub(self.acknowledged)
    }
}

/// A provider's book. It keeps every change in its store before it answers; a caller may act on what it returns.
pub struct PayeeLedger {
    provider: Address,
    chain_id: String,
    resource: ResourceId,
    terms: PayeeTerms,
    store: Arc<dyn PayeeStore>,
    payers: BTreeMap<Address, Payer>,
    sessions: HashMap<SessionId, Session>,
    next_session: u64,
    height: Height,
    rule: Option<SplitRule>,
    settle_all: bool,
}

impl std::fmt::Debug for PayeeLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayeeLedger")
            .field("provider", &self.provider)
            .field("payers", &self.payers)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

impl Line {
    fn unsettled(&self) -> bool {
        matches!(self.record.state, LineState::Open | LineState::Submitted { .. })
    }

    /// The amount of a settlement that is on its way, or was seen just now.
    fn settling(&self, height: Height) -> Option<Wei> {
        match &self.record.state {
            LineState::Submitted { amount, .. } => Some(amount.clone()),
            LineState::Settled { amount, seen_at, .. }
                if height.0.saturating_sub(seen_at.0) <= PROMISE_BLOCKS =>
            {
                Some(amount.clone())
            }
            _ => None,
        }
    }

    /// The largest voucher that fits into `left`.
    fn best_within(&self, left: &Wei) -> Option<&(Wei, Arc<[u8]>)> {
        self.vouchers.iter().rev().find(|(total, _)| total <= left)
    }
}

impl Reserve {
    fn new(record: PayeeReserve) -> Self {
        Self { record, lines: BTreeMap::new(), promises: BTreeMap::new() }
    }

    fn promised(&self) -> Wei {
        self.promises.values().map(|(amount, _)| amount).sum()
    }

    fn left(&self) -> Wei {
        self.record.fund.saturating_sub(&self.record.used)
    }

    /// What the unsettled lines can still bring in, the lowest first.
    fn waiting(&self) -> Wei {
        let mut left = self.left();
        let mut sum = Wei::zero();
        for line in self.lines.values().filter(|line| line.unsettled()) {
            let worth = match &line.record.state {
                LineState::Submitted { amount, .. } if *amount <= left => Some(amount),
                _ => line.best_within(&left).map(|(total, _)| total),
            };
            if let Some(total) = worth {
                sum += total;
                left = left.saturating_sub(total);
            }
        }
        sum
    }

    fn blocks_left(&self, height: Height) -> u64 {
        self.record.end.0.saturating_sub(height.0)
    }
}

impl Payer {
    fn new(account: PayeeAccount) -> Self {
        Self { account, reserves: BTreeMap::new(), refused: BTreeMap::new(), seen_at: Height(0) }
    }

    /// Takes back from lost, then from forgone, what came in after all.
    fn reconcile(&mut self) {
        let shortfall = self.shortfall();
        let account = &mut self.account;
        account.lost = account.lost.clone().min(shortfall.clone());
        account.forgone = account.forgone.clone().min(shortfall.saturating_sub(&account.lost));
    }

    /// Whether it may owe `amount` more without a voucher: it never signed one on a reserve that is open, and all that
    /// it ever left unpaid stays within the credit.
    fn may_owe(&self, amount: &Wei, credit: &Wei) -> bool {
        self.reserves.values().all(|reserve| reserve.lines.is_empty())
            && self.unpaid() + amount.clone() <= *credit
    }

    fn is_only(&self, account: &PayeeAccount) -> bool {
        self.reserves.is_empty() && self.account == *account
    }

    fn put_line(&mut self, id: LineId, line: Option<Line>) {
        if let Some(reserve) = self.reserves.get_mut(&id.reserve) {
            match line {
                Some(line) => reserve.lines.insert(id.sequence, line),
                None => reserve.lines.remove(&id.sequence),
            };
        }
    }

    /// Delivered and not received, what was lost included; what this side did not settle in time is not.
    fn unpaid(&self) -> Wei {
        self.shortfall().saturating_sub(&self.account.forgone)
    }

    fn received(&self) -> Wei {
        self.account.past.clone()
            + self
                .reserves
                .values()
                .map(|reserve| &reserve.record.used + &reserve.waiting() + reserve.promised())
                .sum::<Wei>()
    }

    /// Delivered and not received, what is lost or forgone included.
    fn shortfall(&self) -> Wei {
        self.account.delivered.saturating_sub(&self.received())
    }

    /// What is owed beside what was given up.
    fn debt(&self) -> Wei {
        self.shortfall().saturating_sub(&(&self.account.lost + &self.account.forgone))
    }
}

impl PayeeLedger {
    /// Opens the book that `store` holds. What was owed when the program ended is owed by nobody's session any more and
    /// counts as lost, until its payer pays late.
    pub fn open(
        provider: Address,
        chain_id: String,
        resource: ResourceId,
        terms: PayeeTerms,
        store: Arc<dyn PayeeStore>,
    ) -> Result<Self, StoreError> {
        let book = store.load()?;
        let mut payers: BTreeMap<Address, Payer> = book
            .accounts
            .into_iter()
            .map(|account| {
                (account.payer, Payer::new(account))
            })
            .collect();
        let orphan = || StoreError::Damaged("a line or reserve without its account".into());
        for record in book.reserves {
            let payer = payers.get_mut(&record.payer).ok_or_else(orphan)?;
            payer.reserves.insert(record.reserve, Reserve::new(record));
        }
        for record in book.lines {
            payers
                .get_mut(&record.id.counterparty)
                .and_then(|payer| payer.reserves.get_mut(&record.id.reserve))
                .ok_or_else(orphan)?
                .lines
                .insert(record.id.sequence, Line { record, vouchers: Vec::new(), closing: None });
        }
        for voucher in book.vouchers {
            let line = payers
                .get_mut(&voucher.line.counterparty)
                .and_then(|payer| payer.reserves.get_mut(&voucher.line.reserve))
                .and_then(|reserve| reserve.lines.get_mut(&voucher.line.sequence));
            line.ok_or_else(orphan)?.vouchers.push((voucher.total, voucher.raw.into()));
        }
        let mut ledger = Self {
            provider,
            chain_id,
            resource,
            terms,
            store,
            payers,
            sessions: HashMap::new(),
            next_session: 1,
            height: Height(0),
            rule: None,
            settle_all: false,
        };
        for payer in ledger.payers() {
            ledger.write_off(payer)?;
        }
        Ok(ledger)
    }

    /// Whose book it is.
    pub fn provider(&self) -> Address {
        self.provider
    }

    /// The resource that payments name.
    pub fn resource(&self) -> &ResourceId {
        &self.resource
    }

    /// The settings.
    pub fn terms(&self) -> &PayeeTerms {
        &self.terms
    }

    /// Every payer with an account.
    pub fn payers(&self) -> Vec<Address> {
        self.payers.keys().copied().collect()
    }

    /// Payers whose accounts matter now: they have lines that are not settled, or open sessions.
    pub fn watched(&self) -> Vec<Address> {
        let mut watched: Vec<Address> = self
            .payers
            .iter()
            .filter(|(_, payer)| !payer.reserves.is_empty())
            .map(|(address, _)| *address)
            .chain(self.sessions.values().map(|session| session.payer))
            .collect();
        watched.sort_unstable();
        watched.dedup();
        watched
    }

    /// The height at which a payer's account was last taken in.
    pub fn seen_at(&self, payer: Address) -> Height {
        self.payers.get(&payer).map_or(Height(0), |payer| payer.seen_at)
    }

    /// The rule of the own resource as the chain has it; while there is none, no reserve is good.
    pub fn set_rule(&mut self, rule: Option<SplitRule>) {
        self.rule = rule;
    }

    /// Takes another resource, while no reserve lists the present one.
    pub fn change_resource(&mut self, resource: ResourceId) -> Result<(), StoreError> {
        if self.payers.values().any(|payer| !payer.reserves.is_empty()) {
            return Ok(());
        }
        self.store.apply(&[PayeeChange::Resource(resource.clone())])?;
        self.resource = resource;
        self.rule = None;
        Ok(())
    }

    /// Whether a reserve of the payer is known, good or not.
    pub fn has_reserve(&self, payer: Address, reserve: u64) -> bool {
        self.payers.get(&payer).is_some_and(|payer| {
            payer.reserves.contains_key(&reserve) || payer.refused.contains_key(&reserve)
        })
    }

    /// Takes in a payer's account at a finalized height; `None` when the chain has no such account.
    pub fn observe(
        &mut self,
        payer: Address,
        account: Option<&Account>,
        height: Height,
    ) -> Result<(), StoreError> {
        self.height = self.height.max(height);
        let known = self.payers.get(&payer);
        if known.is_some_and(|known| height < known.seen_at) {
            return Ok(());
        }
        let mut next = Payer::new(PayeeAccount::new(payer));
        if let Some(known) = known {
            next.account = known.account.clone();
            next.reserves = known.reserves.clone();
        }
        next.seen_at = height;
        let mut changes = Vec::new();
        let funds = account.map(|account| account.reserved_funds.as_slice()).unwrap_or_default();
        for fund in funds {
            let number = fund.reserve_sequence;
            if !next.reserves.contains_key(&number)
                && let Err(fault) = self.check(payer, account, number, height)
            {
                next.refused.insert(number, fault);
                continue;
            }
            let seen = PayeeReserve {
                payer,
                reserve: number,
                fund: fund.initial_fund.tfuel.clone(),
                used: fund.used_fund.tfuel.clone(),
                end: fund.end_height,
                closed: height > fund.end_height,
            };
            if next.reserves.get(&number).is_none_or(|reserve| reserve.record != seen) {
                changes.push(PayeeChange::Reserve(seen.clone()));
            }
            let reserve = next
                .reserves
                .entry(number)
                .or_insert_with(|| Reserve::new(seen.clone()));
            reserve.record = seen;
            settle_recorded(reserve, fund, self.provider, height, &mut changes);
        }
        for (number, reserve) in &mut next.reserves {
            reserve.promises.retain(|_, (_, until)| height <= *until);
            // It came back to the payer before this node looked: the last state seen is all that can be known.
            if !reserve.record.closed && !funds.iter().any(|fund| fund.reserve_sequence == *number) {
                reserve.record.closed = true;
                changes.push(PayeeChange::Reserve(reserve.record.clone()));
            }
            if reserve.record.closed {
                next.account.forgone += reserve.waiting();
                next.account.past += &reserve.record.used;
                for line in reserve.lines.values_mut().filter(|line| line.unsettled()) {
                    line.record.state = LineState::Lapsed;
                    changes.push(PayeeChange::Line(line.record.clone()));
                    changes.push(PayeeChange::Uncover(line.record.id));
                }
            }
        }
        next.reserves.retain(|_, reserve| !reserve.record.closed);
        next.reconcile();
        if known.map_or(!next.reserves.is_empty(), |known| known.account != next.account) {
            // The account goes before what refers to it.
            changes.insert(0, PayeeChange::Account(next.account.clone()));
        }
        if !changes.is_empty() {
            self.store.apply(&changes)?;
        }
        self.payers.insert(payer, next);
        Ok(())
    }

    /// Opens a session for a job at a price. The payer's account must have been taken in, and its standing voucher
    /// received, before.
    pub fn open_session(
        &mut self,
        payer: Address,
        job: JobId,
        kind: JobKind,
        price: Wei,
    ) -> Result<SessionId, Unpaid> {
        if self.sessions_of(payer).count() >= self.terms.sessions_per_payer {
            return Err(Unpaid::TooMany);
        }
        let known = self.payers.get(&payer);
        if let Some(lost) = known.map(|known| &known.account.lost).filter(|lost| **lost > self.terms.credit) {
            return Err(Unpaid::Lost { lost: lost.clone() });
        }
        if !price.is_zero() && !known.is_some_and(|known| self.covers(known, &price)) {
            self.on_credit(payer, &price, false)?;
            let mut others: Vec<Address> = self
                .sessions
                .values()
                .map(|session| session.payer)
                .filter(|other| *other != payer)
                .filter(|other| {
                    self.payers.get(other).is_none_or(|other| !self.covers(other, &Wei::zero()))
                })
                .collect();
            others.sort_unstable();
            others.dedup();
            if others.len() >= self.terms.payers_on_credit {
                return Err(Unpaid::TooMany);
            }
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(id, Session { payer, job, kind, price, delivered: 0, acknowledged: 0 });
        Ok(id)
    }

    /// Records that `units` more of a session go out now. Refused while an earlier one is unpaid.
    pub fn deliver(&mut self, id: SessionId, units: u64) -> Result<u64, Unpaid> {
        let session = self.sessions.get(&id).ok_or(Unpaid::NoSession)?;
        if session.delivered > session.acknowledged {
            return Err(Unpaid::UnitOwed);
        }
        let amount = &session.price * units;
        let payer = session.payer;
        let delivered = session.delivered + units;
        if !amount.is_zero() {
            let known = self.payers.get(&payer);
            let covered = known.is_some_and(|known| self.covers(known, &amount));
            let others: Wei = self.sessions_of(payer).map(Session::outstanding).sum();
            let paid = known.is_none_or(|known| known.debt() <= others);
            if !(covered && paid) {
                self.on_credit(payer, &amount, covered)?;
            }
            let mut account = known.map_or_else(|| PayeeAccount::new(payer), |known| known.account.clone());
            account.delivered += &amount;
            self.put_account(account)?;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.delivered = delivered;
        }
        Ok(delivered)
    }

    /// Takes a voucher of `payer`, if it is good.
    pub fn receive(&mut self, payer: Address, voucher: &Voucher) -> Result<Received, VoucherFault> {
        self.line_of(payer, voucher.reserve_sequence).verify(voucher)?;
        let known = self.payers.get(&payer).ok_or(ReserveError::Missing)?;
        let reserve = known.reserves.get(&voucher.reserve_sequence).ok_or_else(|| {
            known.refused.get(&voucher.reserve_sequence).cloned().unwrap_or(ReserveError::Missing)
        })?;
        let end = reserve.record.end;
        if self.height > end {
            return Err(ReserveError::EndsSoon { end, now: self.height }.into());
        }
        let sequence = voucher.payment_sequence;
        let id = LineId { counterparty: payer, reserve: voucher.reserve_sequence, sequence };
        let line = reserve.lines.get(&sequence);
        if let Some(line) = line
            && line.record.signed >= voucher.total
        {
            return Ok(Received { line: id, larger: false });
        }
        if let Some(settled) = line.and_then(|line| line.settling(self.height)) {
            return self.promise(id, voucher, settled);
        }
        let last_closed = reserve
            .lines
            .iter()
            .filter(|(_, line)| line.record.state != LineState::Open)
            .map(|(sequence, _)| *sequence)
            .next_back();
        if last_closed.is_some_and(|closed| sequence <= closed) || sequence == 0 {
            return Err(VoucherFault::LineClosed { sequence });
        }
        if line.is_none()
            && reserve.lines.values().filter(|line| line.unsettled()).count() >= MAX_WAITING_LINES
        {
            return Err(VoucherFault::TooManyLines);
        }
        let elsewhere: Wei = reserve
            .lines
            .iter()
            .filter(|(other, line)| **other != sequence && line.unsettled())
            .map(|(_, line)| &line.record.signed)
            .sum();
        let left = reserve.left().saturating_sub(&elsewhere);
        if voucher.total > left {
            return Err(VoucherFault::Overspent { left });
        }

        let raw = voucher.to_rlp();
        let before = known.account.clone();
        let previous = line.cloned();
        let record = PayeeLine { id, signed: voucher.total.clone(), state: LineState::Open };
        let mut changed = previous.clone().unwrap_or_else(|| Line {
            record: record.clone(),
            vouchers: Vec::new(),
            closing: None,
        });
        changed.record = record.clone();
        changed.vouchers.push((voucher.total.clone(), raw.as_slice().into()));
        let Some(payer) = self.payers.get_mut(&payer) else { return Err(ReserveError::Missing.into()) };
        payer.put_line(id, Some(changed));
        payer.reconcile();
        let mut changes = vec![
            PayeeChange::Line(record),
            PayeeChange::Voucher(HeldVoucher { line: id, total: voucher.total.clone(), raw }),
        ];
        if payer.account != before {
            changes.push(PayeeChange::Account(payer.account.clone()));
        }
        if payer.shortfall().is_zero() {
            changes.push(PayeeChange::Cover(id));
        }
        if let Err(error) = self.store.apply(&changes) {
            payer.put_line(id, previous);
            payer.account = before;
            return Err(error.into());
        }
        Ok(Received { line: id, larger: true })
    }

    /// Takes a voucher that crossed the settlement of its line: the payer signed it before it knew. It cannot be settled
    /// any more, but an honest payer carries what it says beyond the settlement over to its next line. That counts for a
    /// while, up to what the payer's open sessions may owe in any case.
    fn promise(
        &mut self,
        id: LineId,
        voucher: &Voucher,
        settled: Wei,
    ) -> Result<Received, VoucherFault> {
        let allowance: Wei = self.sessions_of(id.counterparty).map(|session| &session.price).sum();
        let until = Height(self.height.0.saturating_add(PROMISE_BLOCKS));
        let reserve = self
            .payers
            .get_mut(&id.counterparty)
            .and_then(|payer| payer.reserves.get_mut(&id.reserve))
            .ok_or(ReserveError::Missing)?;
        let amount = voucher.total.saturating_sub(&settled).min(allowance);
        let promise = reserve.promises.entry(id.sequence).or_insert((Wei::zero(), until));
        let larger = amount > promise.0;
        promise.0 = promise.0.clone().max(amount);
        Ok(Received { line: id, larger })
    }

    /// Whether a line takes vouchers as they should be; false when it is settled or about to be.
    pub fn takes_vouchers(&self, id: LineId) -> bool {
        self.payers
            .get(&id.counterparty)
            .and_then(|payer| payer.reserves.get(&id.reserve))
            .and_then(|reserve| reserve.lines.get(&id.sequence))
            .is_some_and(|line| line.record.state == LineState::Open)
    }

    /// Takes a payer's word that `units` of a session are paid, after its voucher was received. `line` is the voucher's.
    ///
    /// Nothing is acknowledged unless the debt is down to what other sessions of the payer owe, or, for a payer without
    /// a reserve, within the credit.
    pub fn acknowledge(&mut self, id: SessionId, units: u64, line: Option<LineId>) -> Result<(), Unpaid> {
        let session = self.sessions.get(&id).ok_or(Unpaid::NoSession)?.clone();
        let units = units.min(session.delivered);
        let new_units = units.saturating_sub(session.acknowledged);
        if new_units == 0 {
            return Ok(());
        }
        if !session.price.is_zero() {
            let payer = self.payers.get(&session.payer).ok_or(Unpaid::UnitOwed)?;
            let still_open = &session.price * (session.delivered - units);
            let others: Wei = self
                .sessions
                .iter()
                .filter(|(other, session)| **other != id && session.payer == payer.account.payer)
                .map(|(_, session)| session.outstanding())
                .sum();
            let paid = payer.debt() <= others + still_open;
            let on_credit = payer.may_owe(&Wei::zero(), &self.terms.credit);
            if !paid && !on_credit {
                return Err(Unpaid::UnitOwed);
            }
            let share = JobShare {
                job: session.job,
                counterparty: session.payer,
                kind: session.kind,
                price: session.price.clone(),
                units: new_units,
                line: line.filter(|_| paid).map(|line| (line.reserve, line.sequence)),
            };
            self.store.apply(&[PayeeChange::Share(share)])?;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.acknowledged = units;
        }
        Ok(())
    }

    /// Units of a session that were delivered, and those that are paid.
    pub fn session_units(&self, id: SessionId) -> Option<(u64, u64)> {
        self.sessions.get(&id).map(|session| (session.delivered, session.acknowledged))
    }

    /// Takes back what a session delivered and was not paid for, because this side broke it off: nobody owes for it.
    pub fn retract(&mut self, id: SessionId) -> Result<(), StoreError> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let amount = session.outstanding();
        let payer = session.payer;
        session.delivered = session.acknowledged;
        match self.payers.get(&payer) {
            Some(known) if !amount.is_zero() => {
                let delivered = known.account.delivered.saturating_sub(&amount);
                self.put_account(PayeeAccount { delivered, ..known.account.clone() })
            }
            _ => Ok(()),
        }
    }

    /// What a payer has not paid of what was delivered, in TFuelWei; what this side did not settle in time is not in it.
    pub fn unpaid(&self, payer: Address) -> Wei {
        self.payers.get(&payer).map(Payer::unpaid).unwrap_or_default()
    }

    /// Ends a session. What it still owes counts as lost until its payer pays late.
    pub fn close_session(&mut self, id: SessionId) -> Result<(), StoreError> {
        let Some(session) = self.sessions.remove(&id) else { return Ok(()) };
        let unpaid = session.delivered.saturating_sub(session.acknowledged);
        if unpaid > 0 && !session.price.is_zero() {
            self.store.apply(&[PayeeChange::Share(JobShare {
                job: session.job,
                counterparty: session.payer,
                kind: session.kind,
                price: session.price,
                units: unpaid,
                line: None,
            })])?;
        }
        self.write_off(session.payer)?;
        // A stranger that never had work leaves no trace.
        let stranger = PayeeAccount::new(session.payer);
        let idle = self.sessions_of(session.payer).next().is_none();
        if idle && self.payers.get(&session.payer).is_some_and(|payer| payer.is_only(&stranger)) {
            self.payers.remove(&session.payer);
        }
        Ok(())
    }

    /// The line of a payer whose last voucher is wanted now, because it is about to be settled.
    pub fn closing(&mut self, payer: Address, now: u64) -> Option<LineId> {
        let (threshold, fee) = (self.terms.threshold(), self.terms.fee.clone());
        let (before_end, height, settle_all) = (self.terms.settle_before_end, self.height, self.settle_all);
        let payer = self.payers.get_mut(&payer)?;
        for reserve in payer.reserves.values_mut() {
            let near_end = reserve.blocks_left(height) <= before_end;
            let Some(line) = lowest_worth(reserve, &fee) else { continue };
            if line.record.state != LineState::Open {
                continue;
            }
            let wanted = line.record.signed > threshold || near_end || settle_all;
            match line.closing {
                Some(closing) if !closing.answered => return Some(line.record.id),
                None if wanted => {
                    line.closing = Some(Closing { since: now, answered: false });
                    return Some(line.record.id);
                }
                _ => {}
            }
        }
        None
    }

    /// The payer has frozen the line; its last voucher, if there was one, was received before.
    pub fn frozen(&mut self, id: LineId) {
        let line = self
            .payers
            .get_mut(&id.counterparty)
            .and_then(|payer| payer.reserves.get_mut(&id.reserve))
            .and_then(|reserve| reserve.lines.get_mut(&id.sequence));
        if let Some(closing) = line.and_then(|line| line.closing.as_mut()) {
            closing.answered = true;
        }
    }

    /// Settle every line that is worth more than the fee, whatever its size. Ends when nothing is left.
    pub fn settle_all(&mut self, wanted: bool) {
        self.settle_all = wanted;
    }

    /// The payments to make now: at most one a reserve, the lowest line first, none while one below is not final.
    pub fn due(&mut self, now: u64) -> Vec<SettlementDue> {
        let mut due = Vec::new();
        for address in self.payers() {
            // Starts closing what has to be closed, with or without a session to ask.
            let _ = self.closing(address, now);
            let has_sessions = self.sessions_of(address).next().is_some();
            let (fee, wait) = (self.terms.fee.clone(), self.terms.freeze_wait);
            let Some(payer) = self.payers.get_mut(&address) else { continue };
            for reserve in payer.reserves.values_mut() {
                if reserve.blocks_left(self.height) == 0
                    || reserve.lines.values().any(|line| matches!(line.record.state, LineState::Submitted { .. }))
                {
                    continue;
                }
                let left = reserve.left();
                let Some(line) = lowest_worth(reserve, &fee) else { continue };
                let Some(closing) = line.closing else { continue };
                if has_sessions && !closing.answered && now < closing.since.saturating_add(wait) {
                    continue;
                }
                if let Some((amount, raw)) = line.best_within(&left).filter(|(total, _)| *total > fee) {
                    due.push(SettlementDue {
                        line: line.record.id,
                        amount: amount.clone(),
                        voucher: raw.to_vec(),
                    });
                }
            }
        }
        due
    }

    /// Records a payment that is signed and not sent yet. From here on the line takes no voucher.
    pub fn submitted(
        &mut self,
        id: LineId,
        amount: Wei,
        transaction: TxHash,
        raw: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.set_state(id, LineState::Submitted { amount, transaction, raw })
    }

    /// A payment can take effect no more (refused, or final without moving anything): the line may be settled with
    /// another voucher.
    pub fn submission_failed(&mut self, id: LineId) -> Result<(), StoreError> {
        let is_submitted = self
            .payers
            .get(&id.counterparty)
            .and_then(|payer| payer.reserves.get(&id.reserve))
            .and_then(|reserve| reserve.lines.get(&id.sequence))
            .is_some_and(|line| matches!(line.record.state, LineState::Submitted { .. }));
        if is_submitted { self.set_state(id, LineState::Open) } else { Ok(()) }
    }

    /// Payments that were made and are not final.
    pub fn pending(&self) -> Vec<SubmittedPayment> {
        let lines = self
            .payers
            .values()
            .flat_map(|payer| payer.reserves.values())
            .flat_map(|reserve| reserve.lines.values());
        lines
            .filter_map(|line| match &line.record.state {
                LineState::Submitted { amount, transaction, raw } => Some(SubmittedPayment {
                    line: line.record.id,
                    amount: amount.clone(),
                    transaction: *transaction,
                    raw: raw.clone(),
                }),
                _ => None,
            })
            .collect()
    }

    /// Earnings over all payers.
    pub fn earnings(&self) -> Earnings {
        let mut sum = Earnings::default();
        for payer in self.payers.values() {
            sum.settled += &payer.account.past;
            for reserve in payer.reserves.values() {
                sum.settled += &reserve.record.used;
                sum.signed += reserve.waiting();
            }
            sum.owed += payer.debt();
            sum.lost += &payer.account.lost;
            sum.forgone += &payer.account.forgone;
        }
        sum
    }

    /// Whether some line is worth a payment but has none, or one that is not final: what quitting now would leave.
    pub fn unsettled_worth(&self) -> Wei {
        let reserves = self.payers.values().flat_map(|payer| payer.reserves.values());
        let lines = reserves.flat_map(|reserve| reserve.lines.values().filter(|line| line.unsettled()));
        lines.map(|line| &line.record.signed).filter(|signed| **signed > self.terms.fee).sum()
    }

    /// Whether a reserve of the payer holds enough for what it owes and `amount` more, far enough from its end.
    fn covers(&self, payer: &Payer, amount: &Wei) -> bool {
        let wanted = payer.debt() + amount.clone();
        payer.reserves.values().any(|reserve| {
            reserve.blocks_left(self.height) > self.terms.settle_before_end
                && reserve.left().saturating_sub(&reserve.waiting()) >= wanted
        })
    }

    /// Whether `amount` more may be owed on credit.
    fn on_credit(&self, payer: Address, amount: &Wei, covered: bool) -> Result<(), Unpaid> {
        let credit = &self.terms.credit;
        let Some(known) = self.payers.get(&payer) else {
            let owed = Wei::zero();
            return if amount <= credit {
                Ok(())
            } else {
                Err(Unpaid::NotCovered { owed, credit: credit.clone() })
            };
        };
        if known.may_owe(amount, credit) {
            Ok(())
        } else if covered {
            Err(Unpaid::UnitOwed)
        } else {
            Err(Unpaid::NotCovered { owed: known.unpaid(), credit: credit.clone() })
        }
    }

    /// Checks a reserve that is not known yet: it lists exactly the own resource, whose rule sends everything here
    /// whatever target a payment names, for as long as the reserve pays.
    fn check(
        &self,
        payer: Address,
        account: Option<&Account>,
        reserve: u64,
        height: Height,
    ) -> Result<(), ReserveError> {
        let terms = ReserveTerms { needed: Wei::zero(), blocks_left: 0 };
        let line = self.line_of(payer, reserve);
        check_reserve(&line, account, self.rule.as_ref(), height, &terms).map(|_| ())
    }

    fn line_of(&self, payer: Address, reserve: u64) -> PaymentLine {
        PaymentLine {
            chain_id: self.chain_id.clone(),
            payer,
            provider: self.provider,
            reserve_sequence: reserve,
            resource_id: self.resource.clone(),
        }
    }

    fn sessions_of(&self, payer: Address) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| session.payer == payer)
    }

    fn put_account(&mut self, account: PayeeAccount) -> Result<(), StoreError> {
        self.store.apply(&[PayeeChange::Account(account.clone())])?;
        match self.payers.get_mut(&account.payer) {
            Some(payer) => payer.account = account,
            None => {
                self.payers.insert(account.payer, Payer::new(account));
            }
        }
        Ok(())
    }

    fn set_state(&mut self, id: LineId, state: LineState) -> Result<(), StoreError> {
        let line = self
            .payers
            .get_mut(&id.counterparty)
            .and_then(|payer| payer.reserves.get_mut(&id.reserve))
            .and_then(|reserve| reserve.lines.get_mut(&id.sequence));
        let Some(line) = line else { return Ok(()) };
        let record = PayeeLine { state, ..line.record.clone() };
        self.store.apply(&[PayeeChange::Line(record.clone())])?;
        line.record = record;
        Ok(())
    }

    /// Counts as lost what no open session of the payer owes.
    fn write_off(&mut self, payer: Address) -> Result<(), StoreError> {
        let outstanding: Wei = self.sessions_of(payer).map(Session::outstanding).sum();
        let Some(known) = self.payers.get(&payer) else { return Ok(()) };
        let excess = known.debt().saturating_sub(&outstanding);
        if excess.is_zero() {
            return Ok(());
        }
        let account = PayeeAccount { lost: &known.account.lost + &excess, ..known.account.clone() };
        self.put_account(account)
    }
}

/// The lowest unsettled line that is worth more than the fee. Those below it that are not are left behind: settling them
/// would cost more than they bring.
fn lowest_worth<'a>(reserve: &'a mut Reserve, fee: &Wei) -> Option<&'a mut Line> {
    let left = reserve.left();
    reserve
        .lines
        .values_mut()
        .filter(|line| line.unsettled())
        .find(|line| line.best_within(&left).is_some_and(|(total, _)| total > fee))
}

/// Marks the lines whose payments the payer's finalized account records, and those that sequence order rules out.
fn settle_recorded(
    reserve: &mut Reserve,
    fund: &ReservedFund,
    provider: Address,
    height: Height,
    changes: &mut Vec<PayeeChange>,
) {
    let recorded = fund.last_payment_sequence(&provider).unwrap_or(0);
    for line in reserve.lines.values_mut().filter(|line| line.unsettled()) {
        let payment =
            fund.payments_to(&provider).find(|payment| payment.payment_sequence == line.record.id.sequence);
        line.record.state = match payment {
            Some(payment) => {
                let transaction = Transaction::ServicePayment(payment.clone()).hash();
                let amount = payment.source.coins.tfuel.clone();
                LineState::Settled { amount, transaction, seen_at: height }
            }
            None if line.record.id.sequence < recorded => LineState::Lapsed,
            None => continue,
        };
        line.vouchers.clear();
        changes.push(PayeeChange::Line(line.record.clone()));
        if line.record.state == LineState::Lapsed {
            changes.push(PayeeChange::Uncover(line.record.id));
        }
    }
}
