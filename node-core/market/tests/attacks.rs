//! What a payer may try with reserves and vouchers, on a chain that executes the ledger: none of it makes the provider
//! lose more than one unit; and what a provider may try costs the payer no more than it agreed to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use edge_jobs::{JobId, JobKind};
use edge_market::{
    LineId,
    payee::{LineState, PayeeLedger, PayeeTerms, SessionId, SettlementDue, Unpaid, VoucherFault},
    payer::{PayerLedger, PayerReserve, PayerTerms, ReserveState, UnitsDue},
    testing::{MemoryPayeeStore, MemoryPayerStore},
};
use support::{chain::TestChain, fee, milli, wallet};
use theta_types::{Coins, ResourceId, ServicePaymentTx, Split, Transaction, TxInput, Wei};
use theta_wallet::{PaymentLine, ReserveError, Voucher, VoucherError, Wallet};

const NOW: u64 = 1_700_000_000;

/// A payer and a provider, their books, and the chain between them.
struct Pair {
    chain: Arc<TestChain>,
    payer: Wallet,
    provider: Wallet,
    resource: ResourceId,
    book: PayerLedger,
    till: PayeeLedger,
    payer_store: Arc<MemoryPayerStore>,
    payee_store: Arc<MemoryPayeeStore>,
}

fn unit() -> Wei {
    milli(50)
}

impl Pair {
    /// With the provider's rule, and a reserve of the payer.
    fn with_reserve(fund: Wei, duration: u64) -> Self {
        let mut pair = Self::new();
        pair.chain.register(&pair.provider, &pair.resource, whole(&pair.provider), 1_000_000);
        pair.open_reserve(fund, duration);
        pair
    }

    fn new() -> Self {
        let (payer, provider) = (wallet(1), wallet(2));
        let accomplice = wallet(3);
        let chain = TestChain::new(&[payer.address(), provider.address(), accomplice.address()]);
        let resource = ResourceId::from("provider-1");
        let (payer_store, payee_store) =
            (Arc::<MemoryPayerStore>::default(), Arc::<MemoryPayeeStore>::default());
        let book =
            PayerLedger::open(payer.clone(), chain.id(), PayerTerms::default(), payer_store.clone()).unwrap();
        let till = PayeeLedger::open(
            provider.address(),
            chain.id(),
            resource.clone(),
            PayeeTerms { credit: Wei::zero(), ..PayeeTerms::default() },
            payee_store.clone(),
        )
        .unwrap();
        Self { chain, payer, provider, resource, book, till, payer_store, payee_store }
    }

    fn open_reserve(&mut self, fund: Wei, duration: u64) -> u64 {
        let reserve = self.chain.reserve(&self.payer, vec![self.resource.clone()], fund, duration);
        self.book.introduce(self.provider.address(), self.resource.clone()).unwrap();
        self.observe();
        reserve
    }

    fn observe(&mut self) {
        let account = self.chain.of(self.payer.address());
        let height = self.chain.height();
        self.till.set_rule(self.chain.rule(&self.resource));
        self.book.observe(&account, height).unwrap();
        self.till.observe(self.payer.address(), Some(&account), height).unwrap();
    }

    fn session(&mut self) -> (SessionId, JobId) {
        let job = JobId::random();
        (self.till.open_session(self.payer.address(), job, JobKind::Chat, unit()).unwrap(), job)
    }

    fn voucher(&mut self, job: JobId, units: u64) -> Voucher {
        let due =
            UnitsDue { provider: self.provider.address(), job, kind: JobKind::Chat, price: unit(), units };
        self.book.pay(&due, &Wei::zero(), NOW).unwrap().unwrap()
    }

    /// A voucher that a payer signs by itself, past its book.
    fn signed(&self, reserve: u64, sequence: u64, total: Wei) -> Voucher {
        let line = PaymentLine {
            chain_id: self.chain.id(),
            payer: self.payer.address(),
            provider: self.provider.address(),
            reserve_sequence: reserve,
            resource_id: self.resource.clone(),
        };
        line.voucher(&self.payer, sequence, total).unwrap()
    }

    fn take(&mut self, voucher: &Voucher) -> Result<LineId, VoucherFault> {
        self.till.receive(self.payer.address(), voucher).map(|received| received.line)
    }

    /// Delivers and pays one unit after the other.
    fn work(&mut self, session: SessionId, job: JobId, units: std::ops::RangeInclusive<u64>) -> Voucher {
        let mut last = None;
        for number in units {
            self.till.deliver(session, 1).unwrap();
            let voucher = self.voucher(job, number);
            let line = self.take(&voucher).unwrap();
            self.till.acknowledge(session, number, Some(line)).unwrap();
            last = Some(voucher);
        }
        last.unwrap()
    }

    /// Settles what is due, as the provider's task does, and makes the block.
    fn settle(&mut self) -> usize {
        let due = self.due();
        for settlement in &due {
            let voucher = Voucher::decode(&settlement.voucher).unwrap();
            assert_eq!(voucher.total, settlement.amount);
            let payment = voucher.settlement(&self.chain.id(), fee(), &self.provider).unwrap();
            let transaction = Transaction::ServicePayment(payment);
            let (raw, hash) = (transaction.encode(), transaction.hash());
            self.till.submitted(settlement.line, settlement.amount.clone(), hash, raw).unwrap();
            // It may be refused: then it is followed up like one that got lost.
            let _ = self.chain.submit_now(transaction);
        }
        self.chain.produce(1);
        self.observe();
        due.len()
    }

    /// The payment that settles a line.
    fn payment(&self, due: &SettlementDue) -> Transaction {
        let voucher = Voucher::decode(&due.voucher).unwrap();
        Transaction::ServicePayment(voucher.settlement(&self.chain.id(), fee(), &self.provider).unwrap())
    }

    /// What is due once the payer has had its time to answer.
    fn due(&mut self) -> Vec<SettlementDue> {
        self.till.settle_all(true);
        let _ = self.till.due(NOW);
        self.till.due(NOW + 100)
    }

    /// What the provider delivered.
    fn delivered(&self, units: u64) -> Wei {
        unit() * units
    }

    /// What reached the provider, fees not counted.
    fn came_in(&self) -> Wei {
        self.till.earnings().settled
    }

    /// A payment on the provider's resource that the payer makes itself, to a target of its own.
    fn drain(&self, target: &Wallet, reserve: u64, amount: Wei) {
        let line = PaymentLine {
            chain_id: self.chain.id(),
            payer: self.payer.address(),
            provider: target.address(),
            reserve_sequence: reserve,
            resource_id: self.resource.clone(),
        };
        let voucher = line.voucher(&self.payer, 1, amount).unwrap();
        self.chain.include(voucher.settlement(&self.chain.id(), fee(), target).unwrap());
    }
}

/// The provider's book as a restart finds it.
fn reopened(pair: &Pair) -> PayeeLedger {
    PayeeLedger::open(
        pair.provider.address(),
        pair.chain.id(),
        pair.resource.clone(),
        pair.till.terms().clone(),
        pair.payee_store.clone(),
    )
    .unwrap()
}

fn whole(owner: &Wallet) -> Vec<Split> {
    vec![Split { address: owner.address(), percentage: 100 }]
}

#[test]
fn an_honest_line_is_paid_to_the_wei() {
    let mut pair = Pair::with_reserve(Wei::from_coins(20), 400);
    let (session, job) = pair.session();
    let before = pair.chain.balance(pair.provider.address());
    let last = pair.work(session, job, 1..=10);
    assert_eq!(last.total, pair.delivered(10));
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(10));
    // The line begins anew, from zero and on the next sequence.
    let next = pair.work(session, job, 11..=20);
    assert_eq!((next.payment_sequence, next.total), (last.payment_sequence + 1, pair.delivered(10)));
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.chain.balance(pair.provider.address()) + fee() * 2, before + pair.delivered(20));
    let summary = pair.book.summary();
    assert_eq!(
        (summary.settled, summary.signed, summary.owed),
        (pair.delivered(20), Wei::zero(), Wei::zero())
    );
    pair.chain.audit();
}

#[test]
fn a_second_target_drains_nothing_past_the_provider() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, job) = pair.session();
    pair.work(session, job, 1..=100);
    assert_eq!(pair.delivered(100), Wei::from_coins(5));
    // The payer sends 7 of the 10 to its second address: the rule sends them to the provider.
    pair.drain(&wallet(3), reserve, Wei::from_coins(7));
    pair.observe();
    assert_eq!(pair.came_in(), Wei::from_coins(7));
    // The voucher of 5 does not fit any more. A smaller one of the line does.
    pair.settle();
    assert!(pair.came_in() >= pair.delivered(100));
    pair.chain.audit();
}

#[test]
fn a_reserve_that_is_drained_under_a_large_voucher_has_paid_for_it() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, job) = pair.session();
    // One fee of the fund stays free: neither side goes on to 195.
    pair.work(session, job, 1..=194);
    assert_eq!(pair.delivered(194) + fee(), Wei::from_coins(10));
    assert!(matches!(pair.till.deliver(session, 1), Err(Unpaid::NotCovered { .. })));
    let due =
        UnitsDue { provider: pair.provider.address(), job, kind: JobKind::Chat, price: unit(), units: 195 };
    assert!(pair.book.pay(&due, &Wei::zero(), NOW).is_err());
    // 9.7 are signed. With 0.325 gone the reserve has 9.675: the last voucher is worth nothing, the one before is.
    pair.drain(&wallet(3), reserve, milli(325));
    pair.observe();
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), milli(325 + 9_650));
    pair.chain.audit();
}

#[test]
fn a_drain_that_overtakes_the_settlement_has_paid_its_fee_and_costs_one_unit_at_most() {
    let fund = Wei::from_coins(10);
    let mut pair = Pair::with_reserve(fund.clone(), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, job) = pair.session();
    let before = pair.chain.balance(pair.provider.address());
    // As far as the provider goes.
    let mut units = 0;
    while pair.till.deliver(session, 1).is_ok() {
        units += 1;
        let voucher = pair.voucher(job, units);
        let line = pair.take(&voucher).unwrap();
        pair.till.acknowledge(session, units, Some(line)).unwrap();
    }
    let signed = pair.delivered(units);
    let due = pair.due();
    assert_eq!(due[0].amount, signed);
    let transaction = pair.payment(&due[0]);
    let (raw, hash) = (transaction.encode(), transaction.hash());
    pair.till.submitted(due[0].line, signed.clone(), hash, raw).unwrap();
    // The smallest drain that does it is in the block before: the payment is valid, costs its fee, and moves nothing.
    let drain = fund.saturating_sub(&signed) + Wei::from(1u64);
    pair.drain(&wallet(3), reserve, drain.clone());
    pair.chain.include(transaction);
    pair.observe();
    assert_eq!(pair.came_in(), drain);
    assert_eq!(pair.till.pending().len(), 1, "it does not count as settled");
    pair.till.submission_failed(due[0].line).unwrap();
    assert_eq!(pair.settle(), 1);
    // As if there had been one settlement: both fees are paid, and the drain made up for one.
    let honest = before + signed.saturating_sub(&fee());
    let lost = honest.saturating_sub(&pair.chain.balance(pair.provider.address()));
    assert!(lost <= unit(), "lost {lost}");
    pair.chain.audit();
}

#[test]
fn small_lines_cannot_be_left_behind_one_after_the_other() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 300);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, _) = pair.session();
    // The payer moves to a new line whenever the old one has all but reached the fee. None would be worth its settlement.
    let mut delivered = 0;
    'work: for sequence in 1..=8 {
        for units in 1..=5 {
            if pair.till.deliver(session, 1).is_err() {
                break 'work;
            }
            delivered += 1;
            let line = pair.take(&pair.signed(reserve, sequence, unit() * units)).ok();
            if pair.till.acknowledge(session, delivered, line).is_err() {
                break 'work;
            }
        }
    }
    // The second line is not taken, and nothing is delivered behind it.
    assert_eq!(delivered, 6);
    let second = pair.signed(reserve, 2, unit());
    assert_eq!(pair.take(&second), Err(VoucherFault::LineTooEarly));
    pair.till.close_session(session).unwrap();
    let end = pair.chain.of(pair.payer.address()).reserved_funds[0].end_height;
    pair.chain.produce(end.0 + 1 - pair.chain.height().0);
    pair.observe();
    let earnings = pair.till.earnings();
    assert!(earnings.forgone <= fee(), "less than a fee is not settled: {earnings:?}");
    assert_eq!(earnings.lost, unit());
}

#[test]
fn lines_that_are_just_worth_their_fee_cannot_be_piled_up() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, _) = pair.session();
    let mut delivered = 0;
    for sequence in [1, 2] {
        for units in 1..=7 {
            pair.till.deliver(session, 1).unwrap();
            delivered += 1;
            let line = pair.take(&pair.signed(reserve, sequence, unit() * units)).unwrap();
            pair.till.acknowledge(session, delivered, Some(line)).unwrap();
        }
    }
    // Each costs a fee to settle. An honest payer has two at most: one that is being settled, and the next.
    pair.till.deliver(session, 1).unwrap();
    let third = pair.signed(reserve, 3, unit());
    assert_eq!(pair.take(&third), Err(VoucherFault::LineTooEarly));
    assert_eq!(pair.settle(), 1);
    let line = pair.take(&third).unwrap();
    pair.till.acknowledge(session, delivered + 1, Some(line)).unwrap();
}

#[test]
fn no_line_is_opened_below_another() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, _) = pair.session();
    for units in 1..=7 {
        pair.till.deliver(session, 1).unwrap();
        let line = pair.take(&pair.signed(reserve, 5, unit() * units)).unwrap();
        pair.till.acknowledge(session, units, Some(line)).unwrap();
    }
    // The settlement of line 5 would pass it over.
    pair.till.deliver(session, 1).unwrap();
    let below = pair.signed(reserve, 4, unit());
    assert_eq!(pair.take(&below), Err(VoucherFault::LineTooEarly));
    assert!(pair.take(&pair.signed(reserve, 6, unit())).is_ok());
}

#[test]
fn many_small_vouchers_are_thinned_out_and_a_drain_still_finds_one_that_fits() {
    use edge_market::payee::PayeeStore;
    let mut pair = Pair::with_reserve(milli(1_400), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (payer, price) = (pair.payer.address(), milli(1));
    let session = pair.till.open_session(payer, JobId::random(), JobKind::Chat, price.clone()).unwrap();
    for units in 1..=1_000 {
        pair.till.deliver(session, 1).unwrap();
        let line = pair.take(&pair.signed(reserve, 1, &price * units)).unwrap();
        pair.till.acknowledge(session, units, Some(line)).unwrap();
    }
    // Eight to sixteen for each fee's worth, of which there are 3.3.
    let kept = pair.payee_store.load().unwrap().vouchers;
    assert!((27..=54).contains(&kept.len()), "{} vouchers are kept", kept.len());
    assert_eq!(kept.last().unwrap().total, milli(1_000));
    // A wei at a time is no payment.
    pair.till.deliver(session, 1).unwrap();
    let dust = pair.signed(reserve, 1, milli(1_000) + Wei::from(1u64));
    assert_eq!(pair.take(&dust), Err(VoucherFault::TooLittle { least: price.clone() }));
    // 0.9 are left. What fits best is no more than an eighth of a fee below.
    pair.drain(&wallet(3), reserve, milli(500));
    pair.observe();
    let due = pair.due();
    assert!(due[0].amount <= milli(900) && due[0].amount >= milli(900 - 38), "{due:?}");
    // The book that a restart finds is the same.
    pair.till = reopened(&pair);
    pair.observe();
    assert_eq!(pair.due(), due);
}

#[test]
fn what_can_no_longer_be_settled_keeps_nobody_waiting() {
    let mut pair = Pair::with_reserve(milli(800), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, job) = pair.session();
    pair.work(session, job, 1..=7);
    assert_eq!(pair.till.unsettled_worth(), pair.delivered(7));
    // With 0.3 left no voucher brings more than its fee.
    pair.drain(&wallet(3), reserve, milli(500));
    pair.observe();
    assert_eq!(pair.till.unsettled_worth(), Wei::zero());
}

#[test]
fn an_older_look_at_the_same_height_takes_nothing_back() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    pair.work(session, job, 1..=10);
    let (payer, height) = (pair.payer.address(), pair.chain.height());
    let before = pair.chain.of(payer);
    let mut empty = before.clone();
    empty.reserved_funds.clear();
    assert_eq!(pair.settle(), 1);
    // Two that asked at one height, and the one that saw less comes last.
    let (after, next) = (pair.chain.of(payer), theta_types::Height(height.0 + 1));
    for older in [&before, &empty] {
        pair.till.observe(payer, Some(&after), next).unwrap();
        pair.till.observe(payer, Some(older), next).unwrap();
        assert_eq!(pair.came_in(), pair.delivered(10));
        assert!(pair.till.has_reserve(payer, pair.book.open_reserve(pair.provider.address()).unwrap()));
    }
    pair.work(session, job, 11..=11);
}

#[test]
fn a_foreign_rule_on_the_resource_secures_nothing() {
    let mut pair = Pair::new();
    // Somebody else registered the name first, or the rule gives a part away.
    pair.chain.register(&wallet(3), &pair.resource.clone(), whole(&wallet(3)), 1_000_000);
    pair.open_reserve(Wei::from_coins(10), 400);
    assert_eq!(
        pair.till.open_session(pair.payer.address(), JobId::random(), JobKind::Chat, unit()),
        Err(Unpaid::NotCovered { owed: Wei::zero(), credit: Wei::zero() })
    );
    let voucher = pair.voucher(JobId::random(), 1);
    assert!(matches!(pair.take(&voucher), Err(VoucherFault::Reserve(ReserveError::NoRule))));

    let mut pair = Pair::new();
    let split = vec![
        Split { address: pair.provider.address(), percentage: 50 },
        Split { address: wallet(3).address(), percentage: 50 },
    ];
    pair.chain.register(&pair.provider.clone(), &pair.resource.clone(), split, 1_000_000);
    pair.open_reserve(Wei::from_coins(10), 400);
    let voucher = pair.voucher(JobId::random(), 1);
    assert!(matches!(pair.take(&voucher), Err(VoucherFault::Reserve(ReserveError::NoRule))));
}

#[test]
fn a_rule_that_ends_before_the_reserve_secures_nothing() {
    let mut pair = Pair::new();
    pair.chain.register(&pair.provider.clone(), &pair.resource.clone(), whole(&pair.provider), 100);
    pair.open_reserve(Wei::from_coins(10), 400);
    let voucher = pair.voucher(JobId::random(), 1);
    assert!(matches!(pair.take(&voucher), Err(VoucherFault::Reserve(ReserveError::NoRule))));
}

#[test]
fn a_reserve_that_lists_another_resource_too_secures_nothing() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let other = ResourceId::from("payers-own");
    let resources = vec![pair.resource.clone(), other];
    let reserve = pair.chain.reserve(&pair.payer, resources, Wei::from_coins(50), 400);
    pair.observe();
    let line = PaymentLine {
        chain_id: pair.chain.id(),
        payer: pair.payer.address(),
        provider: pair.provider.address(),
        reserve_sequence: reserve,
        resource_id: pair.resource.clone(),
    };
    let voucher = line.voucher(&pair.payer, 1, unit()).unwrap();
    let taken = pair.take(&voucher);
    assert!(matches!(taken, Err(VoucherFault::Reserve(ReserveError::OtherResources(_)))), "{taken:?}");
}

#[test]
fn no_more_is_signed_or_taken_than_the_reserve_holds() {
    let mut pair = Pair::with_reserve(milli(500) + fee(), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, job) = pair.session();
    pair.work(session, job, 1..=10);
    // The provider does not begin what the reserve cannot pay, less the fee that stays free.
    assert!(matches!(pair.till.deliver(session, 1), Err(Unpaid::NotCovered { .. })));
    // An honest payer does not sign it; a dishonest one's voucher is refused.
    let due =
        UnitsDue { provider: pair.provider.address(), job, kind: JobKind::Chat, price: unit(), units: 11 };
    assert!(pair.book.pay(&due, &Wei::zero(), NOW).is_err());
    let taken = pair.take(&pair.signed(reserve, 1, milli(850)));
    assert_eq!(taken, Err(VoucherFault::Overspent { left: milli(800) }));
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(10));
}

#[test]
fn an_expired_reserve_takes_no_work_and_was_settled_before() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 300);
    let (session, job) = pair.session();
    let last = pair.work(session, job, 1..=20);
    // 20 blocks before its end the line is settled although it is small, and nothing is begun any more.
    let end = pair.chain.of(pair.payer.address()).reserved_funds[0].end_height;
    pair.chain.produce(end.0 - 20 - pair.chain.height().0);
    pair.observe();
    assert!(matches!(pair.till.deliver(session, 1), Err(Unpaid::NotCovered { .. })));
    assert_eq!(
        pair.till.closing(pair.payer.address(), NOW),
        Some(LineId {
            counterparty: pair.payer.address(),
            reserve: last.reserve_sequence,
            sequence: last.payment_sequence,
        })
    );
    let due = pair.till.due(NOW + 100);
    assert_eq!(due.len(), 1);
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(20));
    // Behind its end a voucher on it is refused.
    pair.chain.produce(21);
    pair.observe();
    let line = PaymentLine {
        chain_id: pair.chain.id(),
        payer: pair.payer.address(),
        provider: pair.provider.address(),
        reserve_sequence: last.reserve_sequence,
        resource_id: pair.resource.clone(),
    };
    let late = line.voucher(&pair.payer, last.payment_sequence + 1, unit()).unwrap();
    assert!(matches!(pair.take(&late), Err(VoucherFault::Reserve(_))));
    pair.chain.audit();
}

#[test]
fn a_line_below_the_fee_is_not_settled_at_a_loss_and_the_next_reserve_pays_it() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 300);
    let (session, job) = pair.session();
    pair.work(session, job, 1..=5);
    assert!(pair.delivered(5) < fee());
    let end = pair.chain.of(pair.payer.address()).reserved_funds[0].end_height;
    pair.chain.produce(end.0 + 1 - pair.chain.height().0);
    pair.till.close_session(session).unwrap();
    assert_eq!(pair.settle(), 0);
    assert_eq!(pair.till.earnings().forgone, pair.delivered(5));
    assert_eq!(pair.book.owed(pair.provider.address()), pair.delivered(5));
    // A new reserve: the first voucher carries what is owed.
    pair.open_reserve(Wei::from_coins(10), 400);
    let voucher = pair.book.settle_up(pair.provider.address()).unwrap().unwrap();
    assert_eq!(voucher.total, pair.delivered(5));
    pair.take(&voucher).unwrap();
    assert_eq!(pair.till.earnings().forgone, Wei::zero());
    let (session, job) = pair.session();
    pair.work(session, job, 1..=5);
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(10));
    pair.chain.audit();
}

#[test]
fn who_was_away_while_a_reserve_ended_pays_nothing_twice() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 300);
    let (session, job) = pair.session();
    pair.work(session, job, 1..=20);
    let end = pair.chain.of(pair.payer.address()).reserved_funds[0].end_height;
    // Both look again when the reserve has come back to the payer: the chain does not tell any more what it paid.
    pair.chain.produce(end.0 + 10 - pair.chain.height().0);
    pair.observe();
    assert_eq!(pair.book.owed(pair.provider.address()), Wei::zero());
    assert_eq!(pair.book.summary().settled, pair.delivered(20));
    // The provider did not settle in time: that is its own loss, and no fault of the payer's.
    let earnings = pair.till.earnings();
    assert_eq!((earnings.forgone, earnings.lost), (pair.delivered(20), Wei::zero()));
    pair.open_reserve(Wei::from_coins(10), 400);
    pair.till.close_session(session).unwrap();
    let (session, job) = pair.session();
    pair.work(session, job, 1..=10);
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(10));
    pair.chain.audit();
}

#[test]
fn a_replayed_late_or_smaller_voucher_acknowledges_nothing() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    let first = pair.work(session, job, 1..=1);
    let second = pair.work(session, job, 2..=2);
    pair.till.deliver(session, 1).unwrap();
    for stale in [&second, &first] {
        let received = pair.till.receive(pair.payer.address(), stale).unwrap();
        assert!(!received.larger);
        assert_eq!(pair.till.acknowledge(session, 3, Some(received.line)), Err(Unpaid::UnitOwed));
    }
    // Only one unit is out, and none goes after it.
    assert_eq!(pair.till.deliver(session, 1), Err(Unpaid::UnitOwed));
    assert_eq!(pair.till.unpaid(pair.payer.address()), unit());
    // Less than the unit costs is no payment either.
    let (reserve, sequence) = (second.reserve_sequence, second.payment_sequence);
    let little = pair.signed(reserve, sequence, second.total + Wei::from(1u64));
    assert_eq!(pair.take(&little), Err(VoucherFault::TooLittle { least: unit() }));
    assert_eq!(pair.till.acknowledge(session, 3, None), Err(Unpaid::UnitOwed));
    // After the session the loss is known, and the payer is not served until it pays.
    pair.till.close_session(session).unwrap();
    let again = pair.till.open_session(pair.payer.address(), JobId::random(), JobKind::Chat, unit());
    assert!(matches!(again, Err(Unpaid::Lost { .. })), "{again:?}");
    let third = pair.voucher(job, 3);
    pair.take(&third).unwrap();
    assert_eq!(pair.till.earnings().lost, Wei::zero());
    pair.session();
}

#[test]
fn a_voucher_of_a_settled_line_is_not_paid_again() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    let old = pair.work(session, job, 1..=10);
    assert_eq!(pair.settle(), 1);
    pair.till.deliver(session, 1).unwrap();
    let received = pair.till.receive(pair.payer.address(), &old).unwrap();
    assert!(!received.larger);
    assert_eq!(pair.till.acknowledge(session, 11, Some(received.line)), Err(Unpaid::UnitOwed));
    // Nor does the chain take it again: its sequence is recorded.
    let payment = old.settlement(&pair.chain.id(), fee() * 2, &pair.provider).unwrap();
    assert!(pair.chain.submit_now(payment).is_err());
}

#[test]
fn a_forged_or_foreign_voucher_is_refused() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    pair.till.deliver(session, 1).unwrap();
    let good = pair.voucher(job, 1);
    let larger = Voucher { total: good.total.clone() * 2, ..good.clone() };
    assert_eq!(pair.take(&larger), Err(VoucherFault::Voucher(VoucherError::Signature)));
    let to_another = Voucher { provider: wallet(3).address(), ..good.clone() };
    assert_eq!(pair.take(&to_another), Err(VoucherFault::Voucher(VoucherError::OtherLine)));
    // Signed for another chain.
    let line = PaymentLine {
        chain_id: "mainnet".into(),
        payer: pair.payer.address(),
        provider: pair.provider.address(),
        reserve_sequence: good.reserve_sequence,
        resource_id: pair.resource.clone(),
    };
    let other_chain = line.voucher(&pair.payer, good.payment_sequence, good.total.clone()).unwrap();
    assert_eq!(pair.take(&other_chain), Err(VoucherFault::Voucher(VoucherError::Signature)));
    pair.take(&good).unwrap();
}

#[test]
fn a_settlement_of_an_older_voucher_is_carried_over_and_not_paid_twice() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    pair.work(session, job, 1..=10);
    // The provider settles what it has; the payer's next voucher is on its way and crosses it.
    let due = pair.due();
    let payment = Voucher::decode(&due[0].voucher)
        .unwrap()
        .settlement(&pair.chain.id(), fee(), &pair.provider)
        .unwrap();
    let transaction = Transaction::ServicePayment(payment);
    pair.till
        .submitted(due[0].line, due[0].amount.clone(), transaction.hash(), transaction.encode())
        .unwrap();
    let crossing = {
        // Delivered before the settlement began, as far as the payer knows.
        pair.till.deliver(session, 1).unwrap();
        pair.voucher(job, 11)
    };
    assert_eq!(crossing.payment_sequence, due[0].line.sequence);
    let line = pair.take(&crossing).unwrap();
    assert!(!pair.till.takes_vouchers(line));
    pair.till.acknowledge(session, 11, None).unwrap();
    // The payer is told, freezes the line, and goes on on the next; the crossed unit is not in it yet.
    let at_payer = LineId { counterparty: pair.provider.address(), ..line };
    assert_eq!(pair.book.freeze(at_payer).unwrap().unwrap(), crossing);
    pair.till.deliver(session, 1).unwrap();
    let next = pair.voucher(job, 12);
    assert_eq!((next.payment_sequence, next.total.clone()), (crossing.payment_sequence + 1, unit()));
    let line = pair.take(&next).unwrap();
    pair.till.acknowledge(session, 12, Some(line)).unwrap();
    // When the settlement is final, the next voucher carries the difference.
    pair.chain.include(transaction);
    pair.observe();
    let after = pair.work(session, job, 13..=13);
    assert_eq!(after.total, unit() * 3);
    pair.chain.produce(30);
    pair.observe();
    let last = pair.work(session, job, 14..=14);
    assert_eq!(last.total, unit() * 4);
    pair.till.settle_all(true);
    pair.chain.produce(1);
    // 0.2 is below the fee: one more, and it is worth a payment.
    pair.work(session, job, 15..=20);
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(20));
    assert_eq!(pair.book.summary().settled, pair.delivered(20));
    pair.chain.audit();
}

#[test]
fn whoever_promises_everything_on_a_settled_line_gains_one_unit_beside_the_one_on_its_way() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    let last = pair.work(session, job, 1..=10);
    let due = pair.due();
    let transaction = pair.payment(&due[0]);
    let (raw, hash) = (transaction.encode(), transaction.hash());
    pair.till.submitted(due[0].line, due[0].amount.clone(), hash, raw).unwrap();
    // A voucher over everything, on the line that is being settled: it can never be settled itself.
    let everything = pair.signed(last.reserve_sequence, last.payment_sequence, Wei::from_coins(10));
    pair.till.deliver(session, 1).unwrap();
    pair.take(&everything).unwrap();
    pair.till.acknowledge(session, 11, None).unwrap();
    pair.till.deliver(session, 1).unwrap();
    pair.take(&everything).unwrap();
    assert_eq!(pair.till.acknowledge(session, 12, None), Err(Unpaid::UnitOwed));
    // The payer goes away, and the promise is never kept.
    pair.till.close_session(session).unwrap();
    pair.chain.include(transaction);
    pair.chain.produce(30);
    pair.observe();
    assert_eq!(pair.delivered(12).saturating_sub(&pair.came_in()), unit() * 2);
    assert_eq!(pair.till.unpaid(pair.payer.address()), unit() * 2);
    let again = pair.till.open_session(pair.payer.address(), JobId::random(), JobKind::Chat, unit());
    assert!(again.is_err(), "it is not served again");
}

#[test]
fn promises_on_several_lines_are_no_more_than_one() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    let first = pair.work(session, job, 1..=10);
    // Ten more on a second reserve, and both lines are being settled.
    let other = pair.open_reserve(Wei::from_coins(10), 400);
    for units in 1..=10 {
        pair.till.deliver(session, 1).unwrap();
        let line = pair.take(&pair.signed(other, 1, unit() * units)).unwrap();
        pair.till.acknowledge(session, 10 + units, Some(line)).unwrap();
    }
    for _ in 0..2 {
        let settlement = pair.due().remove(0);
        let transaction = pair.payment(&settlement);
        let (raw, hash) = (transaction.encode(), transaction.hash());
        pair.till.submitted(settlement.line, settlement.amount, hash, raw).unwrap();
    }
    pair.till.deliver(session, 1).unwrap();
    pair.take(&pair.signed(first.reserve_sequence, first.payment_sequence, Wei::from_coins(9))).unwrap();
    pair.till.acknowledge(session, 21, None).unwrap();
    pair.till.deliver(session, 1).unwrap();
    pair.take(&pair.signed(other, 1, Wei::from_coins(9))).unwrap();
    assert_eq!(pair.till.acknowledge(session, 22, None), Err(Unpaid::UnitOwed));
}

#[test]
fn a_loss_is_forgiven_little_by_little_so_that_a_broken_connection_shuts_nobody_out_for_ever() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 3_000);
    let patience = pair.till.terms().forgive_after;
    let (payer, price) = (pair.payer.address(), milli(250));
    let open =
        |pair: &mut Pair| pair.till.open_session(payer, JobId::random(), JobKind::Transcode, milli(250));
    // The connection breaks while the first unit is on its way. Its payer never sees it, and can never agree to it.
    let session = open(&mut pair).unwrap();
    pair.till.deliver(session, 1).unwrap();
    pair.till.close_session(session).unwrap();
    assert_eq!(open(&mut pair), Err(Unpaid::Lost { lost: price.clone() }));
    pair.chain.produce(patience - 1);
    pair.observe();
    assert!(open(&mut pair).is_err());
    pair.chain.produce(1);
    pair.observe();
    let first = open(&mut pair).unwrap();
    let earnings = pair.till.earnings();
    assert_eq!((earnings.lost, earnings.forgone), (Wei::zero(), price.clone()));
    // Who takes twice as much for nothing waits twice as long: a fee's worth is forgiven at a time.
    let second = open(&mut pair).unwrap();
    for session in [first, second] {
        pair.till.deliver(session, 1).unwrap();
        pair.till.close_session(session).unwrap();
    }
    pair.chain.produce(patience);
    pair.observe();
    let left = milli(500).saturating_sub(&fee());
    assert_eq!(open(&mut pair), Err(Unpaid::Lost { lost: left.clone() }));
    pair.chain.produce(patience - 1);
    pair.observe();
    assert_eq!(open(&mut pair), Err(Unpaid::Lost { lost: left }));
    // Nor is a restart of this node a pardon.
    pair.till = reopened(&pair);
    pair.observe();
    assert!(open(&mut pair).is_err());
    pair.chain.produce(1);
    pair.observe();
    assert!(open(&mut pair).is_err());
    pair.chain.produce(patience - 1);
    pair.observe();
    open(&mut pair).unwrap();
}

#[test]
fn without_a_reserve_the_credit_is_all_there_is() {
    let mut pair = Pair::new();
    let terms = PayeeTerms { credit: milli(120), ..PayeeTerms::default() };
    pair.till = PayeeLedger::open(
        pair.provider.address(),
        pair.chain.id(),
        pair.resource.clone(),
        terms,
        pair.payee_store.clone(),
    )
    .unwrap();
    pair.observe();
    let (session, job) = pair.session();
    for number in 1..=2 {
        pair.till.deliver(session, 1).unwrap();
        pair.till.acknowledge(session, number, None).unwrap();
    }
    assert!(matches!(pair.till.deliver(session, 1), Err(Unpaid::NotCovered { .. })));
    pair.till.close_session(session).unwrap();
    // A new session, or a restart, is no new credit.
    let session = pair.till.open_session(pair.payer.address(), job, JobKind::Chat, unit());
    assert!(session.is_err());
    // The payer opens a reserve and pays what it owes: the shares of the job are carried by the line.
    pair.chain.register(&pair.provider.clone(), &pair.resource.clone(), whole(&pair.provider), 1_000_000);
    pair.open_reserve(Wei::from_coins(10), 400);
    let voucher = pair.voucher(job, 2);
    assert_eq!(voucher.total, unit() * 2);
    pair.take(&voucher).unwrap();
    use edge_market::payee::PayeeStore;
    let shares = pair.payee_store.shares(job).unwrap();
    assert_eq!(shares.len(), 1);
    assert_eq!((shares[0].units, shares[0].line), (2, Some((voucher.reserve_sequence, 1))));
}

#[test]
fn nothing_is_forgotten_over_a_restart_at_any_point() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    pair.work(session, job, 1..=10);
    pair.till.deliver(session, 1).unwrap();
    let lost_voucher = pair.voucher(job, 11);
    // Both end here: the voucher was signed and kept, and never arrived.
    pair.till = reopened(&pair);
    pair.book = PayerLedger::open(
        pair.payer.clone(),
        pair.chain.id(),
        PayerTerms::default(),
        pair.payer_store.clone(),
    )
    .unwrap();
    pair.observe();
    assert_eq!(pair.till.earnings().signed, pair.delivered(10));
    // What was on its way when this side ended is not held against the payer, which may have got nothing of it.
    assert_eq!((pair.till.earnings().forgone, pair.till.earnings().lost), (unit(), Wei::zero()));
    let session = pair.till.open_session(pair.payer.address(), JobId::random(), JobKind::Chat, unit());
    pair.till.close_session(session.unwrap()).unwrap();
    // The same units are paid again: the same voucher, and no more.
    assert_eq!(pair.voucher(job, 11), lost_voucher);
    assert_eq!(pair.book.settle_up(pair.provider.address()).unwrap(), Some(lost_voucher.clone()));
    pair.take(&lost_voucher).unwrap();
    assert_eq!(pair.till.earnings().forgone, Wei::zero());
    // A payment that was made and not sent is sent after the restart, byte for byte.
    let due = pair.due();
    let payment = Voucher::decode(&due[0].voucher)
        .unwrap()
        .settlement(&pair.chain.id(), fee(), &pair.provider)
        .unwrap();
    let transaction = Transaction::ServicePayment(payment);
    pair.till
        .submitted(due[0].line, due[0].amount.clone(), transaction.hash(), transaction.encode())
        .unwrap();
    pair.till = reopened(&pair);
    pair.observe();
    let pending = pair.till.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].raw, transaction.encode());
    assert!(pair.till.due(NOW + 100).is_empty(), "none is made while one is on its way");
    pair.chain.include(Transaction::decode(&pending[0].raw).unwrap());
    pair.observe();
    assert_eq!(pair.came_in(), pair.delivered(11));
    let line = pair.till.pending();
    assert!(line.is_empty());
    use edge_market::payee::PayeeStore;
    let kept = pair.payee_store.line(due[0].line).unwrap().unwrap();
    assert!(matches!(kept.state, LineState::Settled { ref amount, .. } if *amount == pair.delivered(11)));
}

#[test]
fn what_cannot_be_kept_is_not_acted_on() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let (session, job) = pair.session();
    pair.work(session, job, 1..=1);
    pair.payer_store.break_down(true);
    let due =
        UnitsDue { provider: pair.provider.address(), job, kind: JobKind::Chat, price: unit(), units: 2 };
    assert!(pair.book.pay(&due, &Wei::zero(), NOW).is_err());
    pair.payer_store.break_down(false);
    assert_eq!(pair.book.agreed(pair.provider.address()), unit());
    pair.payee_store.break_down(true);
    assert!(pair.till.deliver(session, 1).is_err());
    pair.payee_store.break_down(false);
    pair.till.deliver(session, 1).unwrap();
    let voucher = pair.voucher(job, 2);
    pair.payee_store.break_down(true);
    assert!(matches!(pair.take(&voucher), Err(VoucherFault::Store(_))));
    assert_eq!(pair.till.acknowledge(session, 2, None), Err(Unpaid::UnitOwed));
    pair.payee_store.break_down(false);
    let line = pair.take(&voucher).unwrap();
    pair.till.acknowledge(session, 2, Some(line)).unwrap();
}

#[test]
fn a_reserve_that_cannot_come_about_is_given_up() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let sequence = pair.chain.of(pair.payer.address()).sequence + 1;
    let record = PayerReserve {
        provider: pair.provider.address(),
        reserve: sequence,
        fund: Wei::from_coins(5),
        collateral: Wei::from_coins(6),
        end: theta_types::Height(1_000),
        state: ReserveState::Opening,
        transaction: None,
    };
    pair.book.reserve_made(record).unwrap();
    assert!(pair.book.is_opening(pair.provider.address()));
    assert_eq!(pair.book.summary().locked, Wei::from_coins(31) + Wei::from(1u64));
    pair.observe();
    assert!(pair.book.is_opening(pair.provider.address()));
    // Another transaction takes the sequence.
    pair.chain.reserve(&pair.payer, vec!["other".into()], Wei::from_coins(1), 300);
    pair.observe();
    assert!(!pair.book.is_opening(pair.provider.address()));
}

#[test]
fn a_payment_that_names_no_listed_resource_moves_nothing_and_settles_nothing() {
    let mut pair = Pair::with_reserve(Wei::from_coins(10), 400);
    let reserve = pair.book.open_reserve(pair.provider.address()).unwrap();
    let (session, job) = pair.session();
    pair.work(session, job, 1..=10);
    let mut payment = ServicePaymentTx {
        fee: Coins::tfuel(fee()),
        source: TxInput::unsigned(pair.payer.address(), Coins::tfuel(Wei::from_coins(1)), 0),
        target: TxInput::unsigned(wallet(3).address(), Coins::zero(), 0),
        payment_sequence: 9,
        reserve_sequence: reserve,
        resource_id: "elsewhere".into(),
    };
    pair.payer.sign_payment(&pair.chain.id(), &mut payment).unwrap();
    wallet(3).sign_settlement(&pair.chain.id(), &mut payment).unwrap();
    pair.chain.include(payment);
    pair.observe();
    assert_eq!(pair.came_in(), Wei::zero());
    assert_eq!(pair.settle(), 1);
    assert_eq!(pair.came_in(), pair.delivered(10));
}
