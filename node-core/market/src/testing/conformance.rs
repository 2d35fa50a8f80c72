//! What every implementation of a store must do. Each function panics with the first difference.
//!
//! `reopen` gives the store again as after a restart of the program: what was kept must be there.

use std::sync::Arc;

use edge_jobs::{JobId, JobKind};
use theta_types::{Address, Height, ResourceId, TxHash, Wei};

use crate::{
    JobShare, LineId,
    jobs::{JobOutcome, JobRecord, JobSide, JobStore},
    payee::{HeldVoucher, LineState, PayeeAccount, PayeeChange, PayeeLine, PayeeReserve, PayeeStore},
    payer::{PayerAccount, PayerChange, PayerLine, PayerReserve, PayerStore, ReserveState},
    standing::{Fault, FaultRecord, StandingRecord, StandingStore},
};

/// An amount that fits no 64 bits.
fn large() -> Wei {
    Wei::from(u128::MAX) * 1_000
}

fn party(number: u8) -> Address {
    Address::repeat_byte(number)
}

fn share(job: u8, counterparty: Address, units: u64, line: Option<(u64, u64)>) -> JobShare {
    let price = Wei::from(12_345u64);
    JobShare { job: JobId([job; 16]), counterparty, kind: JobKind::Chat, price, units, line }
}

/// Checks a [`PayerStore`], empty at first.
pub fn payer_store_keeps_its_promise(mut reopen: impl FnMut() -> Arc<dyn PayerStore>) {
    let store = reopen();
    assert_eq!(store.load().expect("an empty store loads"), Default::default());
    let account = PayerAccount {
        provider: party(1),
        resource: ResourceId::from(&[0u8, 0xff, b'x'][..]),
        agreed: large(),
        past: Wei::zero(),
    };
    let reserve = |number: u64, state| PayerReserve {
        provider: party(1),
        reserve: number,
        fund: large(),
        collateral: large() + Wei::from(1u64),
        end: Height(1_300),
        state,
        transaction: number.is_multiple_of(2).then(|| TxHash(theta_types::B256::repeat_byte(7))),
    };
    let id = |reserve: u64, sequence: u64| LineId { counterparty: party(1), reserve, sequence };
    let line = |reserve: u64, sequence: u64| PayerLine {
        id: id(reserve, sequence),
        signed: large(),
        voucher: vec![1, 2, 3],
        frozen: sequence == 1,
        settled: (sequence == 1).then(large),
    };
    store
        .apply(&[
            PayerChange::Account(account.clone()),
            PayerChange::Reserve(reserve(3, ReserveState::Opening)),
            PayerChange::Reserve(reserve(4, ReserveState::Open)),
            PayerChange::Line(line(4, 1)),
            PayerChange::Line(line(4, 2)),
            PayerChange::Share(share(1, party(1), 2, None)),
            PayerChange::Share(share(1, party(2), 5, None)),
            PayerChange::Share(share(1, party(1), 1, Some((4, 2)))),
            PayerChange::Day { day: 20_000, agreed: Wei::from(1u64) },
            PayerChange::Day { day: 20_000, agreed: large() },
        ])
        .expect("changes are kept");
    let store = reopen();
    let book = store.load().expect("a store loads");
    assert_eq!(book.accounts, std::slice::from_ref(&account));
    assert_eq!(book.reserves, [reserve(3, ReserveState::Opening), reserve(4, ReserveState::Open)]);
    assert_eq!(book.lines, [line(4, 1), line(4, 2)]);
    assert_eq!(book.day, Some((20_000, large())));

    // A share of the same job and line grows; what has no line moves to the line that covers it, and merges there.
    store.apply(&[PayerChange::Cover(id(4, 2))]).expect("shares move");
    let shares = store.shares(JobId([1; 16])).expect("shares are read");
    assert_eq!(shares, [share(1, party(1), 3, Some((4, 2))), share(1, party(2), 5, None)]);
    store.apply(&[PayerChange::Uncover(id(4, 2))]).expect("shares move back");
    let shares = store.shares(JobId([1; 16])).expect("shares are read");
    assert_eq!(shares, [share(1, party(1), 3, None), share(1, party(2), 5, None)]);
    assert_eq!(store.shares(JobId([9; 16])).expect("shares are read"), []);

    // A reserve that ended is not loaded, nor are its lines; a line can still be asked for.
    store
        .apply(&[
            PayerChange::Reserve(reserve(4, ReserveState::Ended)),
            PayerChange::Reserve(reserve(3, ReserveState::Failed)),
            PayerChange::Account(PayerAccount { past: large(), ..account.clone() }),
        ])
        .expect("changes are kept");
    let book = reopen().load().expect("a store loads");
    assert_eq!(book.accounts, [PayerAccount { past: large(), ..account }]);
    assert_eq!((book.reserves, book.lines), (vec![], vec![]));
    assert_eq!(reopen().line(id(4, 2)).expect("a line is read"), Some(line(4, 2)));
    assert_eq!(reopen().line(id(4, 3)).expect("a line is read"), None);
}

/// Checks a [`PayeeStore`], empty at first.
pub fn payee_store_keeps_its_promise(mut reopen: impl FnMut() -> Arc<dyn PayeeStore>) {
    let store = reopen();
    assert_eq!(store.load().expect("an empty store loads"), Default::default());
    let account = PayeeAccount {
        payer: party(1),
        delivered: large(),
        past: Wei::from(1u64),
        lost: Wei::from(2u64),
        forgone: Wei::from(3u64),
    };
    let reserve = |closed| PayeeReserve {
        payer: party(1),
        reserve: 4,
        fund: large(),
        used: Wei::from(9u64),
        end: Height(1_300),
        closed,
    };
    let id = |sequence: u64| LineId { counterparty: party(1), reserve: 4, sequence };
    let transaction = TxHash(theta_types::B256::repeat_byte(7));
    let line = |sequence: u64, state| PayeeLine { id: id(sequence), signed: large(), state };
    let settled = LineState::Settled { amount: large(), transaction, seen_at: Height(77) };
    let submitted = LineState::Submitted { amount: large(), transaction, raw: vec![4, 5] };
    let held =
        |sequence: u64, total: Wei| HeldVoucher { line: id(sequence), total, raw: vec![sequence as u8] };
    let (small, middle) = (Wei::from(999u64), Wei::from(1_000u64));
    store
        .apply(&[
            PayeeChange::Resource("first".into()),
            PayeeChange::Resource("abc".into()),
            PayeeChange::Account(account.clone()),
            PayeeChange::Reserve(reserve(false)),
            PayeeChange::Line(line(1, LineState::Open)),
            PayeeChange::Voucher(held(1, small.clone())),
            PayeeChange::Line(line(1, settled.clone())),
            PayeeChange::Line(line(2, submitted.clone())),
            PayeeChange::Voucher(held(2, small.clone())),
            PayeeChange::Voucher(held(2, middle.clone())),
            PayeeChange::Line(line(3, LineState::Open)),
            PayeeChange::Voucher(held(3, large())),
            PayeeChange::Voucher(held(3, middle.clone())),
            PayeeChange::Voucher(held(3, small.clone())),
            // Nobody has the first; the second is not that line's.
            PayeeChange::DropVoucher { line: id(3), total: Wei::from(5u64) },
            PayeeChange::DropVoucher { line: id(3), total: small.clone() },
            PayeeChange::Share(share(1, party(1), 2, None)),
            PayeeChange::Share(share(1, party(1), 3, None)),
            PayeeChange::Share(share(2, party(1), 4, Some((4, 3)))),
        ])
        .expect("changes are kept");
    let store = reopen();
    let book = store.load().expect("a store loads");
    assert_eq!(book.resource, Some("abc".into()));
    assert_eq!(book.accounts, [account]);
    assert_eq!(book.reserves, [reserve(false)]);
    let lines = [line(1, settled), line(2, submitted), line(3, LineState::Open)];
    assert_eq!(book.lines, lines);
    // Those of lines that wait, by rising total within a line.
    let vouchers = [held(2, small), held(2, middle.clone()), held(3, middle), held(3, large())];
    assert_eq!(book.vouchers, vouchers);
    assert_eq!(store.shares(JobId([1; 16])).expect("shares are read"), [share(1, party(1), 5, None)]);
    store.apply(&[PayeeChange::Cover(id(3))]).expect("shares move");
    let carried = [share(1, party(1), 5, Some((4, 3)))];
    assert_eq!(store.shares(JobId([1; 16])).expect("shares are read"), carried);

    store
        .apply(&[
            PayeeChange::Reserve(reserve(true)),
            PayeeChange::Line(line(3, LineState::Lapsed)),
            PayeeChange::Uncover(id(3)),
        ])
        .expect("changes are kept");
    let book = reopen().load().expect("a store loads");
    assert_eq!((book.reserves, book.lines, book.vouchers), (vec![], vec![], vec![]));
    let uncovered = [share(2, party(1), 4, None)];
    assert_eq!(reopen().shares(JobId([2; 16])).expect("shares are read"), uncovered);
    assert_eq!(reopen().line(id(3)).expect("a line is read"), Some(line(3, LineState::Lapsed)));
}

/// Checks a [`StandingStore`], empty at first.
pub fn standing_store_keeps_its_promise(mut reopen: impl FnMut() -> Arc<dyn StandingStore>) {
    let store = reopen();
    assert_eq!(store.load().expect("an empty store loads"), []);
    let record = |penalty, at| StandingRecord { node: party(1), penalty, at };
    let fault = |at| FaultRecord { node: party(1), fault: Fault::BrokeOff, at, detail: "gone".into() };
    store.put(&record(15, 1_000), &fault(1_000)).expect("a fault is kept");
    store.put(&record(30, 1_001), &fault(1_001)).expect("a fault is kept");
    assert_eq!(reopen().load().expect("a store loads"), [record(30, 1_001)]);
}

/// Checks a [`JobStore`], empty at first.
pub fn job_store_keeps_its_promise(mut reopen: impl FnMut() -> Arc<dyn JobStore>) {
    let job = |number: u8, side, outcome: JobOutcome| JobRecord {
        id: JobId([number; 16]),
        first: (number > 1).then_some(JobId([1; 16])),
        side,
        kind: JobKind::Chat,
        model: Some("small".into()),
        counterparty: party(number),
        price: large(),
        units: 3,
        bytes: 44,
        tokens: 45,
        started: 1_000,
        ended: (outcome != JobOutcome::Running).then_some(1_010),
        outcome,
    };
    let store = reopen();
    let failed = JobOutcome::Failed { code: edge_jobs::JobErrorCode::Internal, message: "driver".into() };
    store.put(&job(1, JobSide::Provider, JobOutcome::Running)).expect("a job is kept");
    store.put(&job(1, JobSide::Provider, failed.clone())).expect("a job is kept");
    store.put(&job(1, JobSide::Requester, JobOutcome::Done)).expect("a job is kept");
    store.put(&job(2, JobSide::Provider, JobOutcome::Running)).expect("a job is kept");
    let store = reopen();
    let get = |number: u8, side| store.get(JobId([number; 16]), side).expect("a job is read");
    assert_eq!(get(1, JobSide::Provider), Some(job(1, JobSide::Provider, failed)));
    assert_eq!(get(1, JobSide::Requester), Some(job(1, JobSide::Requester, JobOutcome::Done)));
    assert_eq!(get(2, JobSide::Requester), None);
    assert_eq!(store.interrupt_running(2_000).expect("jobs are marked"), 1);
    assert_eq!(store.interrupt_running(3_000).expect("jobs are marked"), 0);
    let interrupted = get(2, JobSide::Provider).expect("the job is there");
    assert_eq!((&interrupted.outcome, interrupted.ended), (&JobOutcome::Interrupted, Some(2_000)));
    let of = |side, counterparty| store.interrupted(side, counterparty).expect("jobs are read");
    assert_eq!(of(JobSide::Provider, party(2)), [interrupted]);
    assert_eq!(of(JobSide::Requester, party(2)), []);
    assert_eq!(of(JobSide::Provider, party(1)), []);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryJobStore, MemoryPayeeStore, MemoryPayerStore, MemoryStandingStore};

    #[test]
    fn the_stores_in_memory_keep_their_promises() {
        let payer = Arc::new(MemoryPayerStore::default());
        payer_store_keeps_its_promise(|| payer.clone());
        let payee = Arc::new(MemoryPayeeStore::default());
        payee_store_keeps_its_promise(|| payee.clone());
        let standing = Arc::new(MemoryStandingStore::default());
        standing_store_keeps_its_promise(|| standing.clone());
        let jobs = Arc::new(MemoryJobStore::default());
        job_store_keeps_its_promise(|| jobs.clone());
    }
}
