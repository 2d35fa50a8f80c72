//! What goes over a stream: a tap listens, alters, and cuts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use edge_jobs::{ChatMessage, ChatOrder, JobErrorCode, JobId, JobKind, Order, Role, Sampling};
use edge_market::{
    jobs::{JobOutcome, JobSide},
    payee::{PayeeChange, PayeeStore},
    provider::Governor,
    requester::{ChatEvent, OpenPurse, RequestError},
    session::{Frame, MAX_REQUEST_BYTES, Open, Request, Work, read_frame},
    standing::Fault,
};
use serde_json::{Value, json};
use support::{
    chain::{Running, TestChain},
    fee, milli,
    network::{CHAT_MODEL, Disk, Node, NodeSettings, Way, WireDialer, Wires},
    secret, wallet,
    worker::{Lie, TestWorker},
};
use theta_types::{Address, Height, TxHash, Wei};
use theta_wallet::{JournalEntry, TxJournal, TxOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

const BLOCK: Duration = Duration::from_millis(20);

/// A chain, a requester, and a provider that it knows.
struct Scene {
    chain: Arc<TestChain>,
    wires: Wires,
    requester: Node,
    provider: Node,
    _running: Running,
}

async fn scene(settings: NodeSettings, worker: Arc<TestWorker>) -> Scene {
    let (one, two) = (wallet(1), wallet(2));
    let chain = TestChain::new(&[one.address(), two.address()]);
    let running = chain.run(BLOCK);
    let wires = Wires::default();
    let requester = Node::start(&chain, &wires, one, TestWorker::honest(), settings.clone(), Disk::default());
    let provider = Node::start(&chain, &wires, two, worker, settings, Disk::default());
    provider.announce_to(&chain.id(), &[&requester]).await;
    Scene { chain, wires, requester, provider, _running: running }
}

fn chat(tokens: u32) -> ChatOrder {
    ChatOrder {
        model: CHAT_MODEL.into(),
        messages: vec![ChatMessage { role: Role::User, content: "Count.".into() }],
        max_tokens: Some(tokens),
        sampling: Sampling::default(),
        stop: vec![],
        continues: false,
    }
}

async fn run_chat(node: &Node, order: ChatOrder) -> Result<(String, ChatEvent), RequestError> {
    let mut run = node.requester.chat(order, Arc::new(OpenPurse));
    let mut text = String::new();
    while let Some(event) = run.next().await {
        match event? {
            ChatEvent::Text { text: more, .. } => text.push_str(&more),
            end @ ChatEvent::Finished { .. } => return Ok((text, end)),
            ChatEvent::Provider { .. } => {}
        }
    }
    panic!("a chat ends with an event");
}

fn total(pay: &Value) -> Wei {
    pay["voucher"]["total"].as_str().unwrap().parse().unwrap()
}

fn said<'a>(log: &'a [(Way, Value)], way: Way, what: &str) -> Vec<&'a Value> {
    log.iter().filter(|(w, m)| *w == way && m["say"] == what).map(|(_, m)| m).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tap_shows_a_larger_voucher_for_each_unit_and_amounts_of_price_times_units() {
    let scene = scene(NodeSettings::default(), TestWorker::honest()).await;
    let price = scene.provider.settings.price.clone();
    let (text, end) = run_chat(&scene.requester, chat(70)).await.unwrap();
    assert_eq!(text, (0..70).map(|i| format!("word{i} ")).collect::<String>());
    assert!(matches!(&end, ChatEvent::Finished { completion_tokens: 70, paid, .. } if *paid == &price * 5));

    let log = scene.wires.take_log();
    let pays = said(&log, Way::ToProvider, "pay");
    let units: Vec<u64> = pays.iter().map(|pay| pay["units"].as_u64().unwrap()).collect();
    assert_eq!(units, [1, 2, 3, 4, 5]);
    for pay in &pays {
        assert_eq!(total(pay), &price * pay["units"].as_u64().unwrap());
    }
    // Between two payments never more than a unit's tokens went out.
    let mut since_payment = 0;
    for (way, message) in &log {
        if *way == Way::ToProvider && message["say"] == "pay" {
            since_payment = 0;
        } else if message["event"]["event"] == "tokens" {
            since_payment += message["event"]["count"].as_u64().unwrap();
            assert!(since_payment <= 16, "{since_payment} tokens without a payment");
        }
    }
    // Both sides' records agree.
    let records = |node: &Node, side| {
        node.disk.jobs.all().into_iter().filter(|job| job.side == side).collect::<Vec<_>>()
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (asked, done) =
        (records(&scene.requester, JobSide::Requester), records(&scene.provider, JobSide::Provider));
    assert_eq!((asked.len(), done.len()), (1, 1));
    assert_eq!((asked[0].units, asked[0].tokens, asked[0].id), (done[0].units, done[0].tokens, done[0].id));
    assert_eq!((done[0].units, &done[0].outcome), (5, &JobOutcome::Done));
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!((earnings.signed, earnings.owed), (&price * 5, Wei::zero()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_stops_after_a_missing_voucher() {
    let mut settings = NodeSettings::default();
    settings.provider.pay_wait = Duration::from_millis(400);
    settings.requester.max_tries = 1;
    let scene = scene(settings, TestWorker::honest()).await;
    let price = scene.provider.settings.price.clone();
    // The third payment says that it pays, and carries no voucher.
    scene.wires.set_filter(Some(Arc::new(|way, mut message| {
        if way == Way::ToProvider && message["say"] == "pay" && message["units"] == 3 {
            message["voucher"] = Value::Null;
        }
        Some(message)
    })));
    let failed = run_chat(&scene.requester, chat(160)).await.unwrap_err();
    assert!(matches!(failed, RequestError::Failed { .. }), "{failed}");
    let log = scene.wires.take_log();
    let tokens: u64 = log
        .iter()
        .filter(|(_, message)| message["event"]["event"] == "tokens")
        .map(|(_, message)| message["event"]["count"].as_u64().unwrap())
        .sum();
    assert_eq!(tokens, 48, "nothing of the fourth unit went out");
    assert_eq!(said(&log, Way::ToRequester, "unpaid").len(), 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!((earnings.signed, earnings.lost), (&price * 2, price.clone()));
    // The payer meant to pay, and does with the next session's first message.
    scene.wires.set_filter(None);
    run_chat(&scene.requester, chat(16)).await.unwrap();
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!((earnings.signed, earnings.lost), (&price * 4, Wei::zero()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payer_that_goes_silent_costs_one_unit() {
    let mut settings = NodeSettings::default();
    settings.provider.pay_wait = Duration::from_millis(400);
    settings.requester.max_tries = 1;
    let scene = scene(settings, TestWorker::honest()).await;
    scene.wires.set_filter(Some(Arc::new(|way, message| {
        let pays = way == Way::ToProvider && message["say"] == "pay" && message["units"].as_u64() > Some(1);
        (!pays).then_some(message)
    })));
    run_chat(&scene.requester, chat(160)).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!(earnings.lost, scene.provider.settings.price);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_settled_in_the_middle_of_a_session_and_add_up_on_the_chain() {
    let mut settings = NodeSettings::default();
    // A line is settled when it exceeds two fees: 12 units of 0.05.
    settings.payee.settle_at_fees = 2;
    let scene = scene(settings, TestWorker::honest()).await;
    let price = scene.provider.settings.price.clone();
    let before = scene.chain.balance(scene.provider.address());
    let chats = (0..4).map(|_| run_chat(&scene.requester, chat(160)));
    for outcome in futures::future::join_all(chats).await {
        outcome.unwrap();
    }
    let units = 40;
    let left = scene.provider.payee.settle_all(Duration::from_secs(10)).await.unwrap();
    assert_eq!(left, Wei::zero());
    let log = scene.wires.take_log();
    assert!(!said(&log, Way::ToRequester, "freeze").is_empty());
    let earnings = scene.provider.payee.earnings().await.unwrap();
    // A last line may be below the fee.
    assert_eq!(&earnings.settled + &earnings.signed, &price * units);
    assert!(
        earnings.signed <= fee() && earnings.lost.is_zero() && earnings.forgone.is_zero(),
        "{earnings:?}"
    );
    let settlements = scene
        .chain
        .of(scene.requester.address())
        .reserved_funds
        .iter()
        .map(|fund| fund.transfer_records.len() as u64)
        .sum::<u64>();
    assert!(settlements >= 2, "{settlements}");
    assert_eq!(
        scene.chain.balance(scene.provider.address()) + fee() * settlements,
        &before + &earnings.settled
    );
    scene.chain.audit();
    // Both books say the same.
    tokio::time::sleep(BLOCK * 5).await;
    let spent = scene.requester.payer.summary().await.unwrap();
    assert_eq!((spent.settled, spent.signed), (earnings.settled, earnings.signed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_chat_stops_worker_and_payment_within_a_second() {
    let scene = scene(NodeSettings::default(), TestWorker::honest()).await;
    scene.provider.worker.slow(Duration::from_millis(20));
    let mut run = scene.requester.requester.chat(chat(1_000), Arc::new(OpenPurse));
    let mut tokens = 0;
    while tokens < 20 {
        match run.next().await {
            Some(Ok(ChatEvent::Text { tokens: more, .. })) => tokens += more,
            Some(Ok(_)) => {}
            ended => panic!("the chat goes on: {ended:?}"),
        }
    }
    drop(run);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(scene.provider.worker.running.load(std::sync::atomic::Ordering::SeqCst), 0);
    // Two units were begun, and both are paid: nobody lost anything.
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!(earnings.signed, &scene.provider.settings.price * 2);
    assert_eq!((earnings.owed, earnings.lost), (Wei::zero(), Wei::zero()));
    let jobs = scene.provider.disk.jobs.all();
    assert_eq!(jobs[0].outcome, JobOutcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_stops_the_job_within_a_second_and_nothing_is_owed_for_the_rest() {
    let mut settings = NodeSettings::default();
    settings.requester.max_tries = 1;
    settings.requester.place_wait = Duration::from_millis(300);
    let scene = scene(settings, TestWorker::honest()).await;
    scene.provider.worker.slow(Duration::from_millis(20));
    let mut run = scene.requester.requester.chat(chat(1_000), Arc::new(OpenPurse));
    let mut tokens = 0;
    while tokens < 20 {
        match run.next().await {
            Some(Ok(ChatEvent::Text { tokens: more, .. })) => tokens += more,
            Some(Ok(_)) => {}
            ended => panic!("the chat goes on: {ended:?}"),
        }
    }
    scene.provider.governor.pause();
    let failed = loop {
        match run.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("a chat ends with an event"),
        }
    };
    assert!(matches!(failed, RequestError::Failed { .. }), "{failed}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.provider.worker.running.load(std::sync::atomic::Ordering::SeqCst), 0);
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!(earnings.signed, scene.provider.settings.price);
    assert_eq!((earnings.owed, earnings.lost), (Wei::zero(), Wei::zero()));
    // Pausing is no fault.
    assert!(scene.requester.disk.standing.faults().is_empty());
    let refused = run_chat(&scene.requester, chat(16)).await.unwrap_err();
    assert!(refused.to_string().contains("paused"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_on_the_stream_is_dropped_scored_and_harmless() {
    use edge_market::requester::Dialer;

    let scene = scene(NodeSettings::default(), TestWorker::honest()).await;
    let dialer = WireDialer::as_wallet(&scene.wires, wallet(9).address());
    let frames: [Vec<u8>; 5] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        u32::MAX.to_be_bytes().to_vec(),
        edge_jobs::encode_frame(&json!({"say": "pay", "units": 1, "voucher": null})).unwrap(),
        edge_jobs::encode_frame(&json!({"say": "open", "price": "x".repeat(5_000)})).unwrap(),
        [&4u32.to_be_bytes()[..], &[0, 1, 2, 3]].concat(),
    ];
    for frame in frames {
        // Past the tap, which speaks frames itself.
        let mut stream = dialer.open_raw(scene.provider.peer).unwrap();
        stream.write_all(&frame).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        read.expect("the stream is closed").unwrap();
        assert!(answer.is_empty());
    }
    let faults = scene.provider.disk.standing.faults();
    assert!(faults.iter().all(|fault| fault.fault == Fault::BadMessage && fault.node == wallet(9).address()));
    assert!(faults.len() >= 4, "{faults:?}");
    // The provider goes on.
    run_chat(&scene.requester, chat(16)).await.unwrap();
    let (peer, wallet) = (scene.provider.peer, scene.provider.address());
    let _ = dialer.open(peer, wallet, edge_mesh::Protocol::JOBS).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_payer_begins_on_credit_and_pays_when_its_reserve_is_there() {
    let mut settings = NodeSettings::default();
    settings.payee.credit = milli(200);
    let mut scene = scene(settings, TestWorker::honest()).await;
    let price = scene.provider.settings.price.clone();
    // The reserve takes longer than the credit lasts: 4 units of 16 tokens.
    scene._running = scene.chain.run(Duration::from_millis(500));
    scene.provider.worker.slow(Duration::from_millis(2));
    run_chat(&scene.requester, chat(160)).await.unwrap();
    let log = scene.wires.take_log();
    let open = said(&log, Way::ToProvider, "open");
    assert_eq!(open[0]["reserve"], Value::Null);
    let pays = said(&log, Way::ToProvider, "pay");
    assert_eq!(pays[0]["voucher"], Value::Null, "the first unit is on credit");
    // The last voucher pays everything.
    assert_eq!(total(pays.last().unwrap()), &price * 10);
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!((earnings.signed, earnings.owed, earnings.lost), (&price * 10, Wei::zero(), Wei::zero()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_days_limit_is_not_passed_by_a_single_unit() {
    let mut settings = NodeSettings::default();
    settings.payer.per_day = Some(milli(170));
    let scene = scene(settings, TestWorker::honest()).await;
    let price = scene.provider.settings.price.clone();
    let failed = run_chat(&scene.requester, chat(160)).await.unwrap_err();
    assert!(matches!(&failed, RequestError::CannotPay(why) if why.contains("limit")), "{failed}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Three units fit. The provider delivered no fourth, or was told to stop before it was owed.
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!(earnings.signed, &price * 3);
    assert!(earnings.lost <= price);
    let refused = run_chat(&scene.requester, chat(16)).await.unwrap_err();
    assert!(matches!(refused, RequestError::CannotPay(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_wallet_pays_nothing_and_keeps_its_vouchers() {
    let scene = scene(NodeSettings::default(), TestWorker::honest()).await;
    let price = scene.provider.settings.price.clone();
    // Seven units of 0.05 are more than the fee: worth a payment, were the provider's wallet not locked.
    run_chat(&scene.requester, chat(112)).await.unwrap();
    scene.requester.wallet.lock();
    let refused = run_chat(&scene.requester, chat(32)).await.unwrap_err();
    assert!(matches!(&refused, RequestError::CannotPay(why) if why.contains("locked")), "{refused}");
    scene.provider.wallet.lock();
    let left = scene.provider.payee.settle_all(Duration::from_millis(300)).await.unwrap();
    assert_eq!(left, &price * 7);
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!((earnings.signed, earnings.settled), (&price * 7, Wei::zero()));
    scene.provider.wallet.unlock_with(secret(2)).unwrap();
    let left = scene.provider.payee.settle_all(Duration::from_secs(10)).await.unwrap();
    assert_eq!(left, Wei::zero());
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert_eq!((earnings.signed, earnings.settled), (Wei::zero(), &price * 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_fails_is_told_honestly_and_costs_nothing() {
    let mut settings = NodeSettings::default();
    settings.requester.max_tries = 1;
    settings.requester.progress_wait = Duration::from_millis(800);
    let scene = scene(settings, TestWorker::with(Lie::Dies { after: 20 })).await;
    let failed = run_chat(&scene.requester, chat(160)).await.unwrap_err();
    assert!(matches!(&failed, RequestError::Failed { tries: 1, .. }), "{failed}");
    assert_eq!(failed.job_error().code, JobErrorCode::Internal);
    let faults = scene.requester.disk.standing.faults();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].fault, Fault::BrokeOff);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_with_an_empty_wallet_registers_its_rule_once_when_coins_come() {
    let (rich, poor) = (wallet(1), wallet(2));
    let chain = TestChain::new(&[rich.address()]);
    let _running = chain.run(BLOCK);
    let settings = NodeSettings::default();
    let node = Node::start(&chain, &Wires::default(), poor, TestWorker::honest(), settings, Disk::default());
    tokio::time::sleep(BLOCK * 10).await;
    assert!(node.payee.resource().borrow().is_none());
    chain.give(&rich, node.address(), Wei::from_coins(1));
    rule_in_force(&node).await;
    assert_eq!(chain.balance(node.address()), Wei::from_coins(1).saturating_sub(&fee()));
    assert_eq!(node.disk.journal.entries().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_an_earlier_request_did_not_bring_is_asked_for_again() {
    // Refused when the wallet was empty; overtaken by another transaction; final, and its rule has ended since.
    let earlier = [
        TxOutcome::Refused { reason: "no coins".into() },
        TxOutcome::Superseded,
        TxOutcome::Final { height: Height(1) },
    ];
    for outcome in earlier {
        let provider = wallet(2);
        let chain = TestChain::new(&[provider.address()]);
        let _running = chain.run(BLOCK);
        let disk = Disk::default();
        disk.payee.apply(&[PayeeChange::Resource("mine".into())]).unwrap();
        let entry = JournalEntry {
            request_id: "rule/mine/0".into(),
            sender: provider.address(),
            sequence: 77,
            hash: TxHash::default(),
            raw: vec![],
            outcome: None,
        };
        disk.journal.record(entry.clone()).await.unwrap();
        disk.journal.conclude(entry.hash, outcome.clone()).await.unwrap();
        let settings = NodeSettings::default();
        let node =
            Node::start(&chain, &Wires::default(), provider, TestWorker::honest(), settings, disk.clone());
        rule_in_force(&node).await;
        let entries = disk.journal.entries();
        assert_eq!((entries.len(), entries[0].outcome.clone()), (2, Some(outcome)));
    }
}

/// A stream to the provider, past every honest program, that says `open` for a chat.
struct Stranger {
    reader: ReadHalf<DuplexStream>,
    writer: WriteHalf<DuplexStream>,
}

impl Stranger {
    fn connect(scene: &Scene, wallet: Address) -> Self {
        let dialer = WireDialer::as_wallet(&scene.wires, wallet);
        let (reader, writer) = tokio::io::split(dialer.open_raw(scene.provider.peer).unwrap());
        Self { reader, writer }
    }

    async fn say(&mut self, message: &impl serde::Serialize) {
        let _ = self.writer.write_all(&edge_jobs::encode_frame(message).unwrap()).await;
    }

    async fn open(&mut self, reserve: Option<u64>) {
        let work = Work::Order { order: Order::Chat(chat(160)) };
        let (job, price) = (JobId::random(), milli(50));
        let open = Open { job, work, price, reserve, voucher: None };
        self.say(&Request::Open(Box::new(open))).await;
    }

    /// The next thing that is said and that is not only a sign of life; `None` when the provider has closed.
    async fn hear(&mut self) -> Option<Value> {
        let next = async {
            loop {
                match read_frame::<Value>(&mut self.reader).await {
                    Ok(Some(Frame::Message(message))) if message["say"] == "alive" => {}
                    Ok(Some(Frame::Message(message))) => return Some(message),
                    Ok(Some(Frame::Chunk(_))) => panic!("a chat has no files"),
                    Ok(None) | Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(8), next).await.expect("the provider says something")
    }

    /// Hears on until the provider says `what`.
    async fn hear_out(&mut self, what: &str) -> Value {
        loop {
            let message = self.hear().await.unwrap_or_else(|| panic!("closed before {what}"));
            if message["say"] == what {
                return message;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_of_life_do_not_put_off_a_payment_for_ever() {
    let mut settings = NodeSettings::default();
    settings.payee.credit = milli(50);
    settings.provider.pay_wait = Duration::from_millis(400);
    settings.provider.longest_pay_wait = Duration::from_millis(1_200);
    let scene = scene(settings, TestWorker::honest()).await;
    let mut stranger = Stranger::connect(&scene, wallet(9).address());
    stranger.open(None).await;
    stranger.hear_out("due").await;
    let Stranger { mut reader, mut writer } = stranger;
    let chatter = tokio::spawn(async move {
        let alive = edge_jobs::encode_frame(&Request::Alive).unwrap();
        while writer.write_all(&alive).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let closed = async { while let Ok(Some(_)) = read_frame::<Value>(&mut reader).await {} };
    tokio::time::timeout(Duration::from_secs(8), closed).await.expect("the session ends");
    chatter.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (free, places) = scene.provider.governor.places(JobKind::Chat);
    assert_eq!(free, places, "the place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_with_an_invented_reserve_holds_no_place_and_leaves_no_trace() {
    let scene = scene(NodeSettings { places: 1, ..NodeSettings::default() }, TestWorker::honest()).await;
    let mut stranger = Stranger::connect(&scene, wallet(9).address());
    stranger.open(Some(77)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // While its reserve is looked for, the only place is there for others.
    run_chat(&scene.requester, chat(16)).await.unwrap();
    // A stranger without any is refused, and forgotten.
    let mut other = Stranger::connect(&scene, wallet(8).address());
    other.open(None).await;
    assert_eq!(other.hear().await.unwrap()["reason"], "not_covered");
    let payers = scene.provider.payee.read(|ledger| ledger.payers()).await.unwrap();
    assert!(!payers.contains(&wallet(8).address()), "{payers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_message_in_the_middle_of_a_session_ends_it() {
    let mut settings = NodeSettings::default();
    settings.payee.credit = milli(50);
    let scene = scene(settings, TestWorker::honest()).await;
    let mut stranger = Stranger::connect(&scene, wallet(9).address());
    stranger.open(None).await;
    stranger.hear_out("due").await;
    let voucher = json!({"resource_id": "x".repeat(MAX_REQUEST_BYTES)});
    stranger.say(&json!({"say": "pay", "units": 1, "voucher": voucher})).await;
    while stranger.hear().await.is_some() {}
    let faults = scene.provider.disk.standing.faults();
    assert!(faults[0].fault == Fault::BadMessage && faults[0].detail.contains("larger"), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_wallet_does_not_take_up_the_room_of_the_others() {
    let mut settings = NodeSettings::default();
    settings.payee.sessions_per_payer = 3;
    let scene = scene(settings, TestWorker::honest()).await;
    let connect = || Stranger::connect(&scene, wallet(9).address());
    // They say nothing, and are waited for. As many again are told no, and the rest is not listened to.
    let mut streams = Vec::new();
    for _ in 0..7 {
        streams.push(connect());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for refused in &mut streams[3..6] {
        let answer = refused.hear().await.unwrap();
        assert_eq!((&answer["say"], &answer["reason"]), (&json!("refused"), &json!("busy")));
    }
    assert_eq!(streams[6].hear().await, None);
    run_chat(&scene.requester, chat(16)).await.unwrap();
    drop(streams);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut again = connect();
    again.open(None).await;
    assert_eq!(again.hear().await.unwrap()["reason"], "not_covered", "it is listened to again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_bound_to_fail_is_no_way_to_a_unit_for_nothing() {
    let mut settings = NodeSettings::default();
    settings.requester.max_tries = 1;
    // In the middle of the second unit.
    let scene = scene(settings, TestWorker::with(Lie::BadInput { after: 20 })).await;
    let price = scene.provider.settings.price.clone();
    let failed = run_chat(&scene.requester, chat(160)).await.unwrap_err();
    assert!(matches!(&failed, RequestError::BadOrder(_)), "{failed}");
    let settled_down = async |signed: u64, lost: u64| {
        let mut earnings = scene.provider.payee.earnings().await.unwrap();
        for _ in 0..100 {
            if (&earnings.signed, &earnings.lost) == (&(&price * signed), &(&price * lost)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            earnings = scene.provider.payee.earnings().await.unwrap();
        }
        panic!("{earnings:?}, expected {signed} units signed and {lost} lost");
    };
    // An honest requester pays what it had of it.
    settled_down(2, 0).await;
    // One that does not is known for it.
    scene.wires.set_filter(Some(Arc::new(|way, message| {
        let pays = way == Way::ToProvider && message["say"] == "pay" && message["units"] == 2;
        (!pays).then_some(message)
    })));
    run_chat(&scene.requester, chat(160)).await.unwrap_err();
    settled_down(3, 1).await;
}

async fn rule_in_force(node: &Node) {
    let mut resource = node.payee.resource();
    let in_force = resource.wait_for(Option::is_some);
    tokio::time::timeout(Duration::from_secs(10), in_force).await.expect("the rule comes about").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_talks_and_does_nothing_is_given_up() {
    // Empty tokens as they are, or turned into news of a progress that there is not.
    for progress in [false, true] {
        let mut settings = NodeSettings::default();
        settings.requester.max_tries = 1;
        settings.requester.progress_wait = Duration::from_millis(500);
        let scene = scene(settings, TestWorker::with(Lie::Chatter)).await;
        scene.wires.set_filter(progress.then(|| {
            let turned: support::network::Filter = Arc::new(|_, mut message| {
                if message["event"]["event"] == "tokens" {
                    let job = message["event"]["job"].clone();
                    message["event"] = json!({ "event": "progress", "job": job, "permille": 7 });
                }
                Some(message)
            });
            turned
        }));
        let begun = std::time::Instant::now();
        let failed = run_chat(&scene.requester, chat(100_000)).await.unwrap_err();
        assert!(failed.to_string().contains("does not get on"), "{failed}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(scene.requester.disk.standing.faults()[0].fault, Fault::BrokeOff);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_no_tokens_are_claimed_for_is_not_taken_for_ever() {
    let mut settings = NodeSettings::default();
    settings.requester.max_tries = 1;
    let scene = scene(settings, TestWorker::with(Lie::FreeText)).await;
    let failed = run_chat(&scene.requester, chat(100)).await.unwrap_err();
    assert!(failed.to_string().contains("bytes of text for 0 tokens"), "{failed}");
    assert_eq!(scene.requester.disk.standing.faults()[0].fault, Fault::BadMessage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_without_a_limit_ends_with_the_models_context() {
    use edge_market::requester::ModelLimits;

    let mut settings = NodeSettings::default();
    settings.requester.max_tries = 1;
    let limits = ModelLimits { id: CHAT_MODEL.into(), context_tokens: 40, dimensions: None };
    settings.requester.models = vec![limits];
    // It would go on for 1,000 tokens.
    let scene = scene(settings, TestWorker::honest()).await;
    let failed = run_chat(&scene.requester, ChatOrder { max_tokens: None, ..chat(1) }).await.unwrap_err();
    assert!(failed.to_string().contains("more tokens than"), "{failed}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let earnings = scene.provider.payee.earnings().await.unwrap();
    assert!(earnings.signed <= &scene.provider.settings.price * 3, "{earnings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_of_an_open_session_shows_what_was_delivered() {
    let scene = scene(NodeSettings::default(), TestWorker::honest()).await;
    scene.provider.worker.slow(Duration::from_millis(5));
    let mut run = scene.requester.requester.chat(chat(1_000), Arc::new(OpenPurse));
    let mut tokens = 0;
    while tokens < 50 {
        if let Some(Ok(ChatEvent::Text { tokens: more, .. })) = run.next().await {
            tokens += more;
        }
    }
    for (node, side) in [(&scene.requester, JobSide::Requester), (&scene.provider, JobSide::Provider)] {
        let jobs = node.disk.jobs.all();
        assert_eq!(jobs.len(), 1);
        let job = &jobs[0];
        assert_eq!((job.side, &job.outcome), (side, &JobOutcome::Running));
        assert!(job.units >= 2 && job.tokens >= 32 && job.bytes >= job.tokens * 5, "{job:?}");
    }
}
