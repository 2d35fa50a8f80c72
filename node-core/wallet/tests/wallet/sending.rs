//! The wallet's own transactions: none lost, none twice, whatever fails.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use theta_types::*;
use theta_wallet::*;

use crate::chain_model::{ChainModel, Fault, MemoryJournal};

const BLOCK_TIME: Duration = Duration::from_millis(3);

fn wallet() -> Wallet {
    Wallet::unlocked(SecretKey::from_bytes(&[5; 32]).unwrap())
}

fn start(chain: &ChainModel, journal: &MemoryJournal) -> TransactionSender {
    TransactionSender::start(
        Arc::new(chain.clone()),
        wallet(),
        Arc::new(journal.clone()),
        ChainRules::local(),
    )
}

fn to(seed: u8) -> TxRequest {
    TxRequest::send(Address::repeat_byte(seed), Coins::tfuel(Wei::from(u64::from(seed))))
}

/// Blocks in quick succession: the sender goes by heights, not by the clock.
fn make_blocks(chain: &ChainModel) -> tokio::task::JoinHandle<()> {
    let chain = chain.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(BLOCK_TIME).await;
            chain.advance();
        }
    })
}

#[tokio::test]
async fn requests_get_one_sequence_after_the_other() {
    let (chain, journal) = (ChainModel::new([]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    make_blocks(&chain);
    let requests = [
        to(1),
        TxRequest::OwnResource { resource_id: random_resource_id().unwrap(), duration: RULE_DURATION },
        TxRequest::Reserve { fund: Wei::from_coins(3), resource_id: "r".into(), duration: 300 },
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let sent = sender.send(&format!("request {index}"), request).await.unwrap();
        assert_eq!(sent.sequence, index as u64 + 1);
        assert!(matches!(sent.outcome().await.unwrap(), TxOutcome::Final { .. }));
    }
    assert_eq!(chain.executed(), 3);
}

/// The local network raises its fees at height 2: what is sent in its first second is in a block after that.
#[tokio::test]
async fn what_is_sent_shortly_before_a_fork_pays_the_fees_after_it() {
    let (chain, journal) = (ChainModel::new([]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    sender.send("a", to(1)).await.unwrap();
    let Transaction::Send(tx) = Transaction::decode(&chain.submitted(1)[0]).unwrap() else { panic!() };
    let forks = ChainRules::local().forks;
    assert!(send_fee(2, Height(1), &forks) < send_fee(2, Height(2), &forks));
    assert_eq!(tx.fee.tfuel, send_fee(2, Height(2), &forks));
}

#[tokio::test]
async fn a_lost_answer_leads_to_the_same_bytes_again() {
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Dropped] {
        let (chain, journal) = (ChainModel::new([fault, fault]), MemoryJournal::default());
        let sender = start(&chain, &journal);
        make_blocks(&chain);
        let sent = sender.send("a", to(1)).await.unwrap();
        assert!(matches!(sent.outcome().await.unwrap(), TxOutcome::Final { .. }), "{fault:?}");
        assert_eq!(chain.submitted(1).len(), 1, "{fault:?}: one transaction, however often");
    }
}

#[tokio::test]
async fn a_refusal_frees_the_sequence() {
    let (chain, journal) = (ChainModel::new([Fault::Refused]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    make_blocks(&chain);
    assert_eq!(sender.send("a", to(1)).await.unwrap_err(), SendError::Refused("told to".into()));
    assert_eq!(
        sender.send("a", to(1)).await.unwrap_err(),
        SendError::Refused("told to".into()),
        "the same request"
    );
    let sent = sender.send("b", to(2)).await.unwrap();
    assert_eq!(sent.sequence, 1);
    assert!(matches!(sent.outcome().await.unwrap(), TxOutcome::Final { .. }));
}

#[tokio::test]
async fn a_refused_payment_can_be_asked_for_again_under_a_new_name() {
    let (chain, journal) = (ChainModel::new([Fault::Refused]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    sender.send("a", to(1)).await.unwrap_err();
    make_blocks(&chain);
    sender.send("b", to(1)).await.unwrap().outcome().await.unwrap();
    let entries = journal.entries();
    assert_eq!(entries[0].hash, entries[1].hash, "the same bytes");
    assert!(matches!(entries[0].outcome, Some(TxOutcome::Refused { .. })), "and each with its own end");
    assert!(matches!(entries[1].outcome, Some(TxOutcome::Final { .. })));
}

#[tokio::test]
async fn after_a_restart_the_same_bytes_go_on() {
    let (chain, journal) = (ChainModel::new([Fault::Dropped, Fault::Lost]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    let sent = sender.send("a", to(1)).await.unwrap();
    drop(sender);
    assert_eq!(sent.outcome().await.unwrap_err(), SendError::Stopped);

    let sender = start(&chain, &journal);
    make_blocks(&chain);
    let again = sender.send("a", to(1)).await.unwrap();
    assert!(matches!(again.outcome().await.unwrap(), TxOutcome::Final { .. }));
    let next = sender.send("b", to(2)).await.unwrap();
    assert_eq!(next.sequence, 2);
    assert_eq!((chain.submitted(1).len(), journal.entries().len()), (1, 2));
}

#[tokio::test]
async fn a_request_asked_twice_is_sent_once() {
    let (chain, journal) = (ChainModel::new([]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    make_blocks(&chain);
    let first = sender.send("a", to(1)).await.unwrap();
    let second = sender.send("a", to(1)).await.unwrap();
    assert_eq!(first.hash, second.hash);
    assert_eq!(first.outcome().await.unwrap(), second.outcome().await.unwrap());
    assert_eq!(chain.executed(), 1);
}

#[tokio::test]
async fn a_sequence_used_elsewhere_is_said() {
    let (chain, journal) = (ChainModel::new([Fault::Dropped]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    let sent = sender.send("a", to(1)).await.unwrap();
    chain.use_sequence_elsewhere(wallet().address());
    make_blocks(&chain);
    assert_eq!(sent.outcome().await.unwrap(), TxOutcome::Superseded);
    assert_eq!(sender.send("b", to(2)).await.unwrap().sequence, 2);
}

#[tokio::test]
async fn what_a_node_keeps_refusing_and_never_had_is_given_up() {
    // After a restart nobody knows whether the bytes got through; the node refuses them for ever.
    let faults = [Fault::Lost].into_iter().chain(std::iter::repeat_n(Fault::Refused, 60));
    let (chain, journal) = (ChainModel::new(faults), MemoryJournal::default());
    let sender = start(&chain, &journal);
    make_blocks(&chain);
    assert!(matches!(sender.send("a", to(1)).await, Err(SendError::Refused(_))));
    assert!(matches!(journal.entries()[0].outcome, Some(TxOutcome::Refused { .. })));
}

#[tokio::test]
async fn a_wrong_request_or_a_locked_wallet_signs_nothing() {
    let (chain, journal) = (ChainModel::new([]), MemoryJournal::default());
    let sender = start(&chain, &journal);
    let own = wallet().address();
    let wrong = [
        (TxRequest::Send { outputs: vec![] }, RequestError::Nothing),
        (TxRequest::send(Address::repeat_byte(1), Coins::zero()), RequestError::Nothing),
        (TxRequest::send(own, Coins::tfuel(Wei::from(1u64))), RequestError::RepeatedAddress),
        (
            TxRequest::Reserve { fund: Wei::zero(), resource_id: "r".into(), duration: 300 },
            RequestError::Nothing,
        ),
        (
            TxRequest::Reserve { fund: Wei::from(1u64), resource_id: "r".into(), duration: 299 },
            RequestError::Duration(299),
        ),
    ];
    for (request, error) in wrong {
        assert_eq!(sender.send("a", request).await.unwrap_err(), SendError::Request(error));
    }
    let locked = TransactionSender::start(
        Arc::new(chain.clone()),
        Wallet::locked(own),
        Arc::new(journal.clone()),
        ChainRules::local(),
    );
    assert_eq!(locked.send("a", to(1)).await.unwrap_err(), SendError::Locked);
    assert!(journal.entries().is_empty());
}

#[test]
fn requests_become_transactions_that_the_chain_takes() {
    let rules = ChainRules::local();
    let height = Height(10);
    let fee = Wei::from(300_000_000_000_000_000u64);
    let send = TxRequest::Send {
        outputs: (1..=3)
            .map(|seed| TxOutput {
                address: Address::repeat_byte(seed),
                coins: Coins::tfuel(Wei::from(5u64)),
            })
            .collect(),
    };
    assert_eq!(send.fee(&rules, height), &fee * 2, "half a fee for each of four parties");
    let Transaction::Send(tx) = send.sign(&wallet(), 4, &rules, height).unwrap() else { panic!("a send") };
    let out: Coins = tx.outputs.iter().map(|output| &output.coins).sum();
    assert_eq!(tx.inputs[0].coins, out + tx.fee.clone(), "inputs are outputs and fee");
    assert_eq!(tx.inputs[0].sequence, 4);

    let reserve = TxRequest::Reserve { fund: Wei::from(10u64), resource_id: "r".into(), duration: 300 };
    assert_eq!(reserve.cost(&rules, height), Coins::tfuel(Wei::from(21u64) + &fee));
    let Transaction::ReserveFund(tx) = reserve.sign(&wallet(), 5, &rules, height).unwrap() else {
        panic!("a reserve")
    };
    assert!(tx.collateral.covers(&tx.source.coins) && tx.collateral != tx.source.coins);
    assert_eq!(tx.resource_ids, ["r".into()]);

    let rule = TxRequest::OwnResource { resource_id: "r".into(), duration: 9 };
    let Transaction::SplitRule(tx) = rule.sign(&wallet(), 6, &rules, height).unwrap() else {
        panic!("a rule")
    };
    assert_eq!(tx.splits, [Split { address: wallet().address(), percentage: 100 }]);
    let signed = tx.sign_bytes(&rules.chain_id, SignWrapper::V1);
    assert!(tx.initiator.signature.verify(&signed, &wallet().address()));

    let before = ForkHeights { june_2021_fees: Height(11), ..rules.forks };
    assert_eq!(send_fee(7, height, &before), Wei::from(1_000_000_000_000u64));
    assert_ne!(random_resource_id().unwrap(), random_resource_id().unwrap());
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::AnswerLost),
        1 => Just(Fault::Refused),
        1 => Just(Fault::Dropped),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Faults of every kind, and restarts in between: what is said to be final was executed, what is said to be refused was not, no
    /// request was executed twice, and no sequence ever had two transactions that were both still possible.
    #[test]
    fn whatever_fails_each_request_is_executed_at_most_once(
        faults in proptest::collection::vec(fault(), 0..25),
        stops in proptest::collection::vec((1u64..9, 0u64..15), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async move {
            let (chain, journal) = (ChainModel::new(faults), MemoryJournal::default());
            make_blocks(&chain);
            for (requests, millis) in stops {
                let sender = start(&chain, &journal);
                for request in 0..requests {
                    let sender = sender.clone();
                    tokio::spawn(async move { sender.send(&format!("{request}"), to(request as u8 + 1)).await.map(drop) });
                }
                tokio::time::sleep(Duration::from_millis(millis)).await;
                drop(sender);
            }
            // In the end everything open is seen through.
            let sender = start(&chain, &journal);
            for request in 0..9 {
                if let Ok(sent) = sender.send(&format!("{request}"), to(request as u8 + 1)).await {
                    sent.outcome().await.unwrap();
                }
            }
            let entries = journal.entries();
            for entry in &entries {
                let executed = matches!(entry.outcome, Some(TxOutcome::Final { .. }));
                assert_eq!(chain.was_executed(&entry.raw), executed, "{entry:?}");
                let rivals = entries.iter().filter(|other| other.sequence == entry.sequence);
                let alive = rivals.filter(|other| !matches!(other.outcome, Some(TxOutcome::Refused { .. })));
                assert!(alive.count() <= 1);
            }
            assert_eq!(entries.len(), 9, "each request has one entry");
        });
    }
}
