//! Stores in memory. They forget at the end of the program, and are for tests alone.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use edge_jobs::JobId;
use theta_types::{Address, ResourceId, Wei};

use crate::{
    JobShare, LineId, StoreError,
    jobs::{JobOutcome, JobRecord, JobSide, JobStore},
    payee::{
        HeldVoucher, LineState, PayeeAccount, PayeeBook, PayeeChange, PayeeLine, PayeeReserve, PayeeStore,
    },
    payer::{PayerAccount, PayerBook, PayerChange, PayerLine, PayerReserve, PayerStore, ReserveState},
    standing::{FaultRecord, StandingRecord, StandingStore},
};

/// A payer's book in memory.
#[derive(Debug, Default)]
pub struct MemoryPayerStore {
    kept: Mutex<PayerKept>,
    broken: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct PayerKept {
    accounts: BTreeMap<Address, PayerAccount>,
    reserves: BTreeMap<(Address, u64), PayerReserve>,
    lines: BTreeMap<LineId, PayerLine>,
    shares: Shares,
    days: BTreeMap<u64, Wei>,
}

impl MemoryPayerStore {
    /// From now on every change fails, or none.
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }
}

impl PayerStore for MemoryPayerStore {
    fn load(&self) -> Result<PayerBook, StoreError> {
        let kept = lock(&self.kept);
        let open =
            |reserve: &PayerReserve| matches!(reserve.state, ReserveState::Opening | ReserveState::Open);
        Ok(PayerBook {
            accounts: kept.accounts.values().cloned().collect(),
            reserves: kept.reserves.values().filter(|reserve| open(reserve)).cloned().collect(),
            lines: kept
                .lines
                .values()
                .filter(|line| kept.reserves.get(&(line.id.counterparty, line.id.reserve)).is_some_and(open))
                .cloned()
                .collect(),
            day: kept.days.last_key_value().map(|(day, agreed)| (*day, agreed.clone())),
        })
    }

    fn apply(&self, changes: &[PayerChange]) -> Result<(), StoreError> {
        refuse_if(&self.broken)?;
        let mut kept = lock(&self.kept);
        for change in changes.iter().cloned() {
            match change {
                PayerChange::Account(account) => drop(kept.accounts.insert(account.provider, account)),
                PayerChange::Reserve(reserve) => {
                    drop(kept.reserves.insert((reserve.provider, reserve.reserve), reserve));
                }
                PayerChange::Line(line) => drop(kept.lines.insert(line.id, line)),
                PayerChange::Share(share) => kept.shares.add(share),
                PayerChange::Cover(line) => kept.shares.cover(line),
                PayerChange::Uncover(line) => kept.shares.uncover(line),
                PayerChange::Day { day, agreed } => drop(kept.days.insert(day, agreed)),
            }
        }
        Ok(())
    }

    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError> {
        Ok(lock(&self.kept).shares.of(job))
    }

    fn line(&self, id: LineId) -> Result<Option<PayerLine>, StoreError> {
        Ok(lock(&self.kept).lines.get(&id).cloned())
    }
}

/// A provider's book in memory.
#[derive(Debug, Default)]
pub struct MemoryPayeeStore {
    kept: Mutex<PayeeKept>,
    broken: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct PayeeKept {
    resource: Option<ResourceId>,
    accounts: BTreeMap<Address, PayeeAccount>,
    reserves: BTreeMap<(Address, u64), PayeeReserve>,
    lines: BTreeMap<LineId, PayeeLine>,
    vouchers: BTreeMap<(LineId, Wei), HeldVoucher>,
    shares: Shares,
}

impl MemoryPayeeStore {
    /// From now on every change fails, or none.
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }
}

impl PayeeStore for MemoryPayeeStore {
    fn load(&self) -> Result<PayeeBook, StoreError> {
        let kept = lock(&self.kept);
        let open = |id: &LineId| {
            kept.reserves.get(&(id.counterparty, id.reserve)).is_some_and(|reserve| !reserve.closed)
        };
        let waiting = |line: &PayeeLine| matches!(line.state, LineState::Open | LineState::Submitted { .. });
        Ok(PayeeBook {
            resource: kept.resource.clone(),
            accounts: kept.accounts.values().cloned().collect(),
            reserves: kept.reserves.values().filter(|reserve| !reserve.closed).cloned().collect(),
            lines: kept.lines.values().filter(|line| open(&line.id)).cloned().collect(),
            vouchers: kept
                .vouchers
                .values()
                .filter(|held| open(&held.line) && kept.lines.get(&held.line).is_some_and(waiting))
                .cloned()
                .collect(),
        })
    }

    fn apply(&self, changes: &[PayeeChange]) -> Result<(), StoreError> {
        refuse_if(&self.broken)?;
        let mut kept = lock(&self.kept);
        for change in changes.iter().cloned() {
            match change {
                PayeeChange::Resource(resource) => kept.resource = Some(resource),
                PayeeChange::Account(account) => drop(kept.accounts.insert(account.payer, account)),
                PayeeChange::Reserve(reserve) => {
                    drop(kept.reserves.insert((reserve.payer, reserve.reserve), reserve));
                }
                PayeeChange::Line(line) => drop(kept.lines.insert(line.id, line)),
                PayeeChange::Voucher(held) => {
                    drop(kept.vouchers.insert((held.line, held.total.clone()), held));
                }
                PayeeChange::DropVoucher { line, total } => drop(kept.vouchers.remove(&(line, total))),
                PayeeChange::Share(share) => kept.shares.add(share),
                PayeeChange::Cover(line) => kept.shares.cover(line),
                PayeeChange::Uncover(line) => kept.shares.uncover(line),
            }
        }
        Ok(())
    }

    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError> {
        Ok(lock(&self.kept).shares.of(job))
    }

    fn line(&self, id: LineId) -> Result<Option<PayeeLine>, StoreError> {
        Ok(lock(&self.kept).lines.get(&id).cloned())
    }
}

/// Standing in memory.
#[derive(Debug, Default)]
pub struct MemoryStandingStore {
    kept: Mutex<(BTreeMap<Address, StandingRecord>, Vec<FaultRecord>)>,
}

impl MemoryStandingStore {
    /// Every fault so far.
    pub fn faults(&self) -> Vec<FaultRecord> {
        lock(&self.kept).1.clone()
    }
}

impl StandingStore for MemoryStandingStore {
    fn load(&self) -> Result<Vec<StandingRecord>, StoreError> {
        Ok(lock(&self.kept).0.values().cloned().collect())
    }

    fn put(&self, record: &StandingRecord, fault: &FaultRecord) -> Result<(), StoreError> {
        let mut kept = lock(&self.kept);
        kept.0.insert(record.node, record.clone());
        kept.1.push(fault.clone());
        Ok(())
    }
}

/// Jobs in memory.
#[derive(Debug, Default)]
pub struct MemoryJobStore {
    kept: Mutex<Vec<JobRecord>>,
    broken: AtomicBool,
}

impl MemoryJobStore {
    /// From now on every change fails, or none.
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    /// Every job, in the order of their first records.
    pub fn all(&self) -> Vec<JobRecord> {
        lock(&self.kept).clone()
    }
}

impl JobStore for MemoryJobStore {
    fn put(&self, job: &JobRecord) -> Result<(), StoreError> {
        refuse_if(&self.broken)?;
        let mut kept = lock(&self.kept);
        match kept.iter_mut().find(|known| known.id == job.id && known.side == job.side) {
            Some(known) => *known = job.clone(),
            None => kept.push(job.clone()),
        }
        Ok(())
    }

    fn get(&self, id: JobId, side: JobSide) -> Result<Option<JobRecord>, StoreError> {
        Ok(lock(&self.kept).iter().find(|known| known.id == id && known.side == side).cloned())
    }

    fn interrupted(&self, side: JobSide, counterparty: Address) -> Result<Vec<JobRecord>, StoreError> {
        let wanted = |job: &&JobRecord| {
            job.outcome == JobOutcome::Interrupted && job.side == side && job.counterparty == counterparty
        };
        Ok(lock(&self.kept).iter().filter(wanted).cloned().collect())
    }

    fn interrupt_running(&self, at: u64) -> Result<u64, StoreError> {
        let mut kept = lock(&self.kept);
        let running = kept.iter_mut().filter(|job| job.outcome == JobOutcome::Running);
        Ok(running.map(|job| (job.outcome, job.ended) = (JobOutcome::Interrupted, Some(at))).count() as u64)
    }
}

#[derive(Debug, Default, Clone)]
struct Shares(Vec<JobShare>);

impl Shares {
    fn add(&mut self, share: JobShare) {
        let twin = self.0.iter_mut().find(|known| {
            (known.job, known.counterparty, known.line) == (share.job, share.counterparty, share.line)
        });
        match twin {
            Some(known) => known.units += share.units,
            None => self.0.push(share),
        }
    }

    fn cover(&mut self, line: LineId) {
        self.change(line.counterparty, None, Some((line.reserve, line.sequence)));
    }

    fn uncover(&mut self, line: LineId) {
        self.change(line.counterparty, Some((line.reserve, line.sequence)), None);
    }

    fn change(&mut self, counterparty: Address, from: Option<(u64, u64)>, to: Option<(u64, u64)>) {
        for mut share in std::mem::take(&mut self.0) {
            if share.counterparty == counterparty && share.line == from {
                share.line = to;
            }
            self.add(share);
        }
    }

    fn of(&self, job: JobId) -> Vec<JobShare> {
        self.0.iter().filter(|share| share.job == job).cloned().collect()
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse_if(broken: &AtomicBool) -> Result<(), StoreError> {
    if broken.load(Ordering::Relaxed) {
        return Err(StoreError::Unavailable("the disk is full".into()));
    }
    Ok(())
}
