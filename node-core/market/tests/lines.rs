//! Payment lines under everything that can happen to them, in any order: vouchers that are lost, crashes of either side,
//! settlements at any time, reserves that run out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use edge_jobs::{JobId, JobKind};
use edge_market::{
    payee::{PayeeLedger, PayeeTerms, SessionId},
    payer::{PayError, PayerLedger, PayerTerms, UnitsDue},
    testing::{MemoryPayeeStore, MemoryPayerStore},
};
use proptest::prelude::*;
use support::{chain::TestChain, fee, milli, wallet};
use theta_types::{ResourceId, Split, Transaction, Wei};
use theta_wallet::{PaymentLine, Voucher};

const NOW: u64 = 1_700_000_000;
const SESSIONS: usize = 3;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A unit is delivered in a session and paid; the voucher arrives, or is lost.
    Unit { session: usize, arrives: bool },
    /// The payer ends and starts again.
    PayerRestarts,
    /// The provider ends and starts again; its sessions are over.
    ProviderRestarts,
    /// The provider settles what is worth it. The payer is asked for the last voucher, or is not there to be asked.
    Settle { asked: bool },
    /// Blocks pass.
    Blocks(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (0..SESSIONS, prop::bool::weighted(0.9))
            .prop_map(|(session, arrives)| Step::Unit { session, arrives }),
        1 => Just(Step::PayerRestarts),
        1 => Just(Step::ProviderRestarts),
        2 => any::<bool>().prop_map(|asked| Step::Settle { asked }),
        2 => (1u64..40).prop_map(Step::Blocks),
    ];
    prop::collection::vec(step, 1..80)
}

struct World {
    chain: Arc<TestChain>,
    payer_store: Arc<MemoryPayerStore>,
    payee_store: Arc<MemoryPayeeStore>,
    book: PayerLedger,
    till: PayeeLedger,
    resource: ResourceId,
    /// Session, job, and units of it that the payer accepted.
    sessions: Vec<Option<(SessionId, JobId, u64)>>,
    price: Wei,
    delivered: u64,
    accepted: u64,
    /// Units that were out when a session ended or a voucher was lost.
    at_risk: u64,
    payments: u64,
}

impl World {
    fn new() -> Self {
        let (payer, provider) = (wallet(1), wallet(2));
        let chain = TestChain::new(&[payer.address(), provider.address()]);
        let resource = ResourceId::from("provider-1");
        let split = vec![Split { address: provider.address(), percentage: 100 }];
        chain.register(&provider, &resource, split, 1_000_000);
        let (payer_store, payee_store) = (Arc::default(), Arc::default());
        let mut world = Self {
            book: open_book(&chain, &payer_store),
            till: open_till(&chain, &resource, &payee_store),
            chain,
            payer_store,
            payee_store,
            resource: resource.clone(),
            sessions: vec![None; SESSIONS],
            price: milli(130),
            delivered: 0,
            accepted: 0,
            at_risk: 0,
            payments: 0,
        };
        world.book.introduce(provider.address(), resource).unwrap();
        world.observe();
        world
    }

    fn observe(&mut self) {
        let account = self.chain.of(wallet(1).address());
        let height = self.chain.height();
        self.till.set_rule(self.chain.rule(&self.resource));
        self.book.observe(&account, height).unwrap();
        self.till.observe(wallet(1).address(), Some(&account), height).unwrap();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Unit { session, arrives } => self.unit(session, arrives),
            Step::PayerRestarts => self.book = open_book(&self.chain, &self.payer_store),
            Step::ProviderRestarts => {
                self.till = open_till(&self.chain, &self.resource, &self.payee_store);
                self.sessions = vec![None; SESSIONS];
            }
            Step::Settle { asked } => self.settle(asked),
            // A few at a time: a node that follows the chain sees a reserve between its end and its release.
            Step::Blocks(blocks) => {
                for _ in 0..blocks.div_ceil(3) {
                    self.chain.produce(3);
                    self.observe();
                }
            }
        }
        self.observe();
        self.check();
    }

    /// The session, opened as a requester opens one: with a voucher for everything agreed so far.
    fn session(&mut self, number: usize) -> Option<(SessionId, JobId, u64)> {
        if self.sessions[number].is_none() {
            if let Ok(Some(voucher)) = self.book.settle_up(wallet(2).address()) {
                let _ = self.till.receive(wallet(1).address(), &voucher);
            }
            let job = JobId::random();
            let opened =
                self.till.open_session(wallet(1).address(), job, JobKind::Chat, self.price.clone()).ok()?;
            self.sessions[number] = Some((opened, job, 0));
        }
        self.sessions[number]
    }

    fn unit(&mut self, number: usize, arrives: bool) {
        if self.book.missing_room(wallet(2).address(), &self.price).is_some() {
            self.chain.reserve(&wallet(1), vec![self.resource.clone()], Wei::from_coins(4), 300);
            self.observe();
        }
        let Some((session, job, units)) = self.session(number) else { return };
        if self.till.deliver(session, 1).is_err() {
            // The provider does not go on; the requester opens another session.
            self.till.close_session(session).unwrap();
            self.sessions[number] = None;
            return;
        }
        self.delivered += 1;
        let due = UnitsDue {
            provider: wallet(2).address(),
            job,
            kind: JobKind::Chat,
            price: self.price.clone(),
            units: units + 1,
        };
        let voucher = match self.book.pay(&due, &Wei::zero(), NOW) {
            Ok(voucher) => voucher,
            Err(PayError::NoRoom { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        if let Some(voucher) = voucher {
            self.accepted += 1;
            self.sessions[number] = Some((session, job, units + 1));
            if arrives {
                let line =
                    self.till.receive(wallet(1).address(), &voucher).ok().map(|received| received.line);
                if self.till.acknowledge(session, units + 1, line).is_ok() {
                    return;
                }
            }
        }
        // The voucher was lost, or did not do: the session is over.
        self.at_risk += 1;
        self.till.close_session(session).unwrap();
        self.sessions[number] = None;
    }

    fn settle(&mut self, asked: bool) {
        self.till.settle_all(true);
        if asked && let Some(line) = self.till.closing(wallet(1).address(), NOW) {
            let at_provider = edge_market::LineId { counterparty: wallet(2).address(), ..line };
            if let Some(last) = self.book.freeze(at_provider).unwrap() {
                let _ = self.till.receive(wallet(1).address(), &last);
            }
            self.till.frozen(line);
        }
        // Long after: whoever was not asked is not waited for.
        for settlement in self.till.due(NOW + 1_000) {
            let voucher = Voucher::decode(&settlement.voucher).unwrap();
            let payment = voucher.settlement(&self.chain.id(), fee(), &wallet(2)).unwrap();
            let transaction = Transaction::ServicePayment(payment);
            self.till
                .submitted(
                    settlement.line,
                    settlement.amount.clone(),
                    transaction.hash(),
                    transaction.encode(),
                )
                .unwrap();
            self.chain.include(transaction);
            self.payments += 1;
        }
        self.till.settle_all(false);
    }

    /// What holds at every moment.
    fn check(&self) {
        let delivered = &self.price * self.delivered;
        let spent = self.book.summary();
        // The payer never signs for more than it agreed to, and agrees to nothing that was not delivered.
        let agreed = self.book.agreed(wallet(2).address());
        assert_eq!(agreed, &self.price * self.accepted);
        assert_eq!(&spent.settled + &spent.signed + spent.owed.clone(), agreed);
        assert!(agreed <= delivered);
        // The provider's numbers cover what it delivered, and it lost at most what was at risk.
        let earned = self.till.earnings();
        let known = &earned.settled + &earned.signed + &earned.owed + &earned.lost + &earned.forgone;
        assert!(known >= delivered, "{earned:?} for {delivered}");
        assert!(earned.lost <= &self.price * self.at_risk, "{earned:?}");
        // What the chain moved is what both books say.
        assert_eq!(earned.settled, spent.settled);
        let balance = self.chain.balance(wallet(2).address());
        let fees = fee() * (self.payments + 1);
        assert_eq!(&balance + &fees, &Wei::from_coins(1_000) + &earned.settled);
        self.chain.audit();
    }
}

fn open_book(chain: &TestChain, store: &Arc<MemoryPayerStore>) -> PayerLedger {
    PayerLedger::open(wallet(1), chain.id(), PayerTerms::default(), store.clone()).unwrap()
}

fn open_till(chain: &TestChain, resource: &ResourceId, store: &Arc<MemoryPayeeStore>) -> PayeeLedger {
    // Credit for what is lost on the way: without it one lost voucher would end the test, as it should.
    let terms = PayeeTerms { credit: Wei::from_coins(100), ..PayeeTerms::default() };
    PayeeLedger::open(wallet(2).address(), chain.id(), resource.clone(), terms, store.clone()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_paid_twice_and_nothing_earned_is_forgotten(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // At the end the payer pays what it agreed to, and then nothing is missing but what it never accepted.
        if let Ok(Some(voucher)) = world.book.settle_up(wallet(2).address()) {
            let _ = world.till.receive(wallet(1).address(), &voucher);
        }
        world.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_dishonest_payer_signs_it_gains_no_more_than_its_units_on_the_way_and_a_fee(
        tricks in prop::collection::vec(trick(), 1..80)
    ) {
        let mut thief = Thief::new();
        for trick in tricks {
            thief.play(trick);
        }
        thief.check_at_the_end();
    }
}

/// What a payer may do that signs what it likes.
#[derive(Clone, Debug)]
enum Trick {
    /// Says that it has paid for all it had, and takes a unit more.
    Take { session: usize },
    /// Signs for `units` more, on the line `ahead` of the last.
    Sign { ahead: u64, units: u64 },
    /// Signs a wei more.
    Dust,
    /// Signs for everything on the last line, again.
    PromiseAll,
    /// Sends a part of the reserve off by a payment of its own.
    Drain { thousandths: u64 },
    /// The provider settles what is worth it.
    Settle,
    /// Blocks pass.
    Blocks(u64),
}

fn trick() -> impl Strategy<Value = Trick> {
    prop_oneof![
        12 => (0..SESSIONS).prop_map(|session| Trick::Take { session }),
        10 => (0u64..3, 1u64..4).prop_map(|(ahead, units)| Trick::Sign { ahead, units }),
        1 => Just(Trick::Dust),
        2 => Just(Trick::PromiseAll),
        1 => (1u64..2_000).prop_map(|thousandths| Trick::Drain { thousandths }),
        2 => Just(Trick::Settle),
        1 => (1u64..10).prop_map(Trick::Blocks),
    ]
}

/// A payer without a book and without scruples, and a provider that gives no credit.
struct Thief {
    chain: Arc<TestChain>,
    till: PayeeLedger,
    line: PaymentLine,
    price: Wei,
    sessions: Vec<Option<(SessionId, u64)>>,
    delivered: u64,
    /// The last line signed on, and its total.
    sequence: u64,
    total: Wei,
    drains: u64,
}

impl Thief {
    fn new() -> Self {
        let (payer, provider) = (wallet(1), wallet(2));
        let chain = TestChain::new(&[payer.address(), provider.address(), wallet(3).address()]);
        let resource = ResourceId::from("provider-1");
        let split = vec![Split { address: provider.address(), percentage: 100 }];
        chain.register(&provider, &resource, split, 1_000_000);
        let reserve = chain.reserve(&payer, vec![resource.clone()], Wei::from_coins(6), 1_000);
        let store = Arc::<MemoryPayeeStore>::default();
        let terms = PayeeTerms { credit: Wei::zero(), ..PayeeTerms::default() };
        let till = PayeeLedger::open(provider.address(), chain.id(), resource.clone(), terms, store).unwrap();
        let line = PaymentLine {
            chain_id: chain.id(),
            payer: payer.address(),
            provider: provider.address(),
            reserve_sequence: reserve,
            resource_id: resource,
        };
        let mut thief = Self {
            chain,
            till,
            line,
            price: milli(130),
            sessions: vec![None; SESSIONS],
            delivered: 0,
            sequence: 1,
            total: Wei::zero(),
            drains: 0,
        };
        thief.observe();
        thief
    }

    fn observe(&mut self) {
        let account = self.chain.of(self.line.payer);
        self.till.set_rule(self.chain.rule(&self.line.resource_id));
        self.till.observe(self.line.payer, Some(&account), self.chain.height()).unwrap();
    }

    fn hand_in(&mut self, sequence: u64, total: Wei) -> bool {
        let voucher = self.line.voucher(&wallet(1), sequence, total).unwrap();
        self.till.receive(self.line.payer, &voucher).is_ok()
    }

    fn play(&mut self, trick: Trick) {
        match trick {
            Trick::Take { session } => self.take(session),
            Trick::Sign { ahead, units } => {
                let sequence = self.sequence + ahead;
                let before = if ahead == 0 { self.total.clone() } else { Wei::zero() };
                let total = before + &self.price * units;
                if self.hand_in(sequence, total.clone()) {
                    (self.sequence, self.total) = (sequence, total);
                }
            }
            Trick::Dust => {
                self.hand_in(self.sequence, self.total.clone() + Wei::from(1u64));
            }
            Trick::PromiseAll => {
                self.hand_in(self.sequence, Wei::from_coins(5));
            }
            Trick::Drain { thousandths } => {
                let target = wallet(3);
                let drain = PaymentLine { provider: target.address(), ..self.line.clone() };
                self.drains += 1;
                let voucher = drain.voucher(&wallet(1), self.drains, milli(thousandths)).unwrap();
                self.chain.include(voucher.settlement(&self.chain.id(), fee(), &target).unwrap());
                self.observe();
            }
            Trick::Settle => {
                self.settle();
            }
            Trick::Blocks(blocks) => {
                self.chain.produce(blocks);
                self.observe();
            }
        }
    }

    fn take(&mut self, number: usize) {
        let (session, units) = match self.sessions[number] {
            Some(open) => open,
            None => {
                let (payer, price) = (self.line.payer, self.price.clone());
                match self.till.open_session(payer, JobId::random(), JobKind::Chat, price) {
                    Ok(session) => (session, 0),
                    Err(_) => return,
                }
            }
        };
        let _ = self.till.acknowledge(session, units, None);
        let units = match self.till.deliver(session, 1) {
            Ok(units) => {
                self.delivered += 1;
                units
            }
            Err(_) => units,
        };
        self.sessions[number] = Some((session, units));
    }

    /// Settles one line; whether there was one.
    fn settle(&mut self) -> bool {
        self.till.settle_all(true);
        let due = self.till.due(NOW + 1_000);
        let due = if due.is_empty() { self.till.due(NOW + 2_000) } else { due };
        for settlement in &due {
            let voucher = Voucher::decode(&settlement.voucher).unwrap();
            let payment = voucher.settlement(&self.chain.id(), fee(), &wallet(2)).unwrap();
            let transaction = Transaction::ServicePayment(payment);
            let (raw, hash) = (transaction.encode(), transaction.hash());
            self.till.submitted(settlement.line, settlement.amount.clone(), hash, raw).unwrap();
            self.chain.include(transaction);
        }
        self.observe();
        self.till.settle_all(false);
        !due.is_empty()
    }

    /// When all is settled that is worth it, what is missing is one small line at most, and for each session the unit on
    /// its way and the one that was promised while a line was being settled.
    fn check_at_the_end(&mut self) {
        while self.settle() {}
        for (session, _) in std::mem::take(&mut self.sessions).into_iter().flatten() {
            self.till.close_session(session).unwrap();
        }
        self.chain.produce(1_010);
        self.observe();
        let earned = self.till.earnings();
        let missing = (&self.price * self.delivered).saturating_sub(&earned.settled);
        let sessions = SESSIONS as u64;
        assert!(missing <= fee() + &self.price * (2 * sessions), "{missing} of {} units", self.delivered);
        assert!(earned.owed.is_zero(), "{earned:?}");
        assert!(earned.lost + earned.forgone >= missing, "nothing that is missing is forgotten");
    }
}
