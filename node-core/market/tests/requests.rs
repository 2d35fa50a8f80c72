//! Chats and embeddings as the node orders them: from several providers, some of which die or lie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use edge_jobs::{ChatOrder, JobKind, Order};
use edge_market::{
    requester::{ChatEvent, ModelLimits, OpenPurse, Purse, PurseEmpty, RequestError},
    standing::Fault,
};
use support::{
    milli,
    network::{Disk, EMBEDDINGS_MODEL, Node, NodeSettings},
    scene::{chat, faults, run_chat, scene, signed, texts, transcode_job},
    wallet,
    worker::{Lie, TestWorker, vector},
};
use theta_types::{Address, Wei};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_goes_on_elsewhere_when_its_provider_is_killed_and_nothing_is_paid_twice() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(5));
    let mut run = scene.requester.requester.chat(chat(200), Arc::new(OpenPurse));
    let (mut text, mut tokens, mut who, mut end) = (String::new(), 0, Vec::new(), None);
    while let Some(event) = run.next().await {
        match event.unwrap() {
            ChatEvent::Provider { address } => who.push(address),
            ChatEvent::Text { text: more, tokens: count } => {
                text.push_str(&more);
                tokens += count;
                if tokens == 120 && who.len() == 1 {
                    scene.providers[0].kill(&scene.wires);
                }
            }
            finished @ ChatEvent::Finished { .. } => end = Some(finished),
        }
    }
    assert_eq!(who, [scene.providers[0].address(), scene.providers[1].address()]);
    assert_eq!(
        text,
        (0..200).map(|i| format!("word{i} ")).collect::<String>(),
        "no word twice, none missing"
    );
    let Some(ChatEvent::Finished { completion_tokens, paid, .. }) = end else { panic!("no end") };
    assert_eq!(completion_tokens, 200);
    // The second one is told that the answer is begun, so that it goes on in the middle of it.
    let log = scene.wires.take_log();
    let orders: Vec<_> = log
        .iter()
        .filter(|(_, message)| message["say"] == "open")
        .map(|(_, message)| &message["work"]["order"])
        .collect();
    assert_eq!(
        (orders.len(), &orders[0]["continues"], &orders[1]["continues"]),
        (2, &false.into(), &true.into())
    );
    let last = orders[1]["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "assistant");
    assert!(text.starts_with(last["content"].as_str().unwrap()));
    let second = signed(&scene.providers[1]).await;
    // The first one's whole units, 112 tokens, and the second one's for the rest.
    let first_units = 7;
    assert_eq!(paid, milli(50) * first_units + second.clone());
    assert_eq!(scene.requester.payer.summary().await.unwrap().owed, Wei::zero());
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BrokeOff)]);

    // The dead one comes back, and what it had earned is settled.
    let provider = &scene.providers[0];
    let before = scene.chain.balance(provider.address());
    let again = Node::start(
        &scene.chain,
        &scene.wires,
        provider.wallet.clone(),
        TestWorker::honest(),
        provider.settings.clone(),
        provider.disk.clone(),
    );
    let earnings = again.payee.earnings().await.unwrap();
    assert_eq!(earnings.signed, milli(50) * first_units);
    // The unit that was on its way when it died is its own loss.
    assert_eq!((earnings.forgone, earnings.lost), (milli(50), Wei::zero()));
    assert_eq!(again.payee.settle_all(Duration::from_secs(10)).await.unwrap(), Wei::zero());
    assert_eq!(again.payee.earnings().await.unwrap().settled, milli(50) * first_units);
    assert_eq!(scene.chain.balance(again.address()) + milli(300), before + milli(50) * first_units);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_providers_earned_voucher_settles_after_its_restart() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let before = scene.chain.balance(scene.providers[0].address());
    run_chat(&scene.requester, chat(160)).await.unwrap();
    scene.providers[0].kill(&scene.wires);
    let again = Node::start(
        &scene.chain,
        &scene.wires,
        scene.providers[0].wallet.clone(),
        TestWorker::honest(),
        scene.providers[0].settings.clone(),
        scene.providers[0].disk.clone(),
    );
    assert_eq!(again.payee.settle_all(Duration::from_secs(10)).await.unwrap(), Wei::zero());
    assert_eq!(again.payee.earnings().await.unwrap().settled, milli(500));
    assert_eq!(scene.chain.balance(again.address()) + milli(300), before + milli(500));
    scene.chain.audit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_inflates_its_token_count_is_found_and_excluded() {
    for lie in [Lie::Tokens, Lie::EmptyTokens] {
        let workers = vec![TestWorker::with(lie), TestWorker::honest()];
        let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
        let (_, events) = run_chat(&scene.requester, chat(64)).await.unwrap();
        let who: Vec<Address> = events
            .iter()
            .filter_map(|event| match event {
                ChatEvent::Provider { address } => Some(*address),
                _ => None,
            })
            .collect();
        assert_eq!(who, [scene.providers[0].address(), scene.providers[1].address()], "{lie:?}");
        assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::Inflated)]);
        assert_eq!(signed(&scene.providers[0]).await, Wei::zero(), "the lie earned nothing");
        assert!(scene.requester.standing.is_excluded(&scene.providers[0].address()));
        // It is not even asked the next time.
        let (_, events) = run_chat(&scene.requester, chat(16)).await.unwrap();
        assert!(
            matches!(&events[0], ChatEvent::Provider { address } if *address == scene.providers[1].address())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tokens_for_little_text_are_counted_again_in_every_chat() {
    let mut settings = NodeSettings::default();
    settings.requester.check_share = 0.0;
    let workers = vec![TestWorker::with(Lie::Tokens), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), settings, workers).await;
    run_chat(&scene.requester, chat(128)).await.unwrap();
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::Inflated)]);
    assert!(signed(&scene.providers[0]).await <= milli(50), "it is found with the second unit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_another_size_than_the_models_are_not_taken() {
    let mut settings = NodeSettings::default();
    settings.requester.check_share = 0.0;
    let limits = ModelLimits { id: EMBEDDINGS_MODEL.into(), context_tokens: 256, dimensions: Some(32) };
    settings.requester.models = vec![limits];
    let workers = vec![TestWorker::with(Lie::OneNumber), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), settings, workers).await;
    let result = scene.requester.requester.embed(texts(&["one"]), Arc::new(OpenPurse)).await.unwrap();
    assert_eq!(result.vectors, [vector("one")]);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::WrongVectors)]);
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requester_without_the_model_bounds_tokens_by_bytes() {
    let workers = vec![TestWorker::with(Lie::EmptyTokens), TestWorker::honest()];
    let scene = scene(TestWorker::without_models(), NodeSettings::default(), workers).await;
    run_chat(&scene.requester, chat(64)).await.unwrap();
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::Inflated)]);
    // One unit may have been paid before the claim was larger than the text's bytes.
    assert!(signed(&scene.providers[0]).await <= milli(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_vectors_are_found_by_doing_one_again_and_not_paid() {
    let workers = vec![TestWorker::with(Lie::Vectors), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let order = texts(&["one", "two", "three"]);
    let result = scene.requester.requester.embed(order, Arc::new(OpenPurse)).await.unwrap();
    assert_eq!(result.provider, scene.providers[1].address());
    assert_eq!(result.vectors, ["one", "two", "three"].map(vector));
    assert_eq!((result.paid, result.prompt_tokens), (milli(51), 3));
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::WrongVectors)]);
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_vectors_are_found_by_two_others_when_this_node_has_no_model() {
    let workers = vec![TestWorker::with(Lie::Vectors), TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::without_models(), NodeSettings::default(), workers).await;
    let order = texts(&["one", "two"]);
    let result = scene.requester.requester.embed(order.clone(), Arc::new(OpenPurse)).await.unwrap();
    assert_eq!(result.vectors, ["one", "two"].map(vector));
    assert!(faults(&scene).contains(&(scene.providers[0].address(), Fault::WrongVectors)));
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
    // An honest one passes with one other's word.
    let result = scene.requester.requester.embed(order, Arc::new(OpenPurse)).await.unwrap();
    assert_eq!(result.paid, milli(51 + 52));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_providers_that_differ_are_both_doubted() {
    let workers = vec![TestWorker::with(Lie::Vectors), TestWorker::honest()];
    let mut settings = NodeSettings::default();
    // So that a provider that was not paid once is there to be asked again.
    settings.payee.credit = milli(120);
    let scene = scene(TestWorker::without_models(), settings, workers).await;
    let outcome = scene.requester.requester.embed(texts(&["one"]), Arc::new(OpenPurse)).await;
    // The first is not taken; the second one's answer is checked against the first's, and is not taken either.
    assert!(matches!(outcome, Err(RequestError::Failed { tries: 2, .. })), "{outcome:?}");
    let found = faults(&scene);
    assert!(found.iter().all(|(_, fault)| *fault == Fault::Doubtful), "{found:?}");
    assert!(found.iter().any(|(node, _)| *node == scene.providers[0].address()));
    assert!(found.iter().any(|(node, _)| *node == scene.providers[1].address()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_embeddings_at_one_time_add_up() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let mut settings = NodeSettings::default();
    settings.requester.check_share = 0.0;
    settings.requester.max_running = 8;
    let scene = scene(TestWorker::honest(), settings, workers).await;
    let requests = (0..100).map(|number| {
        let requester = scene.requester.requester.clone();
        async move { requester.embed(texts(&[&format!("text {number}")]), Arc::new(OpenPurse)).await }
    });
    let mut paid = Wei::zero();
    for (number, result) in futures::future::join_all(requests).await.into_iter().enumerate() {
        let result = result.unwrap();
        assert_eq!(result.vectors, [vector(&format!("text {number}"))]);
        paid += result.paid;
    }
    let earned = signed(&scene.providers[0]).await + signed(&scene.providers[1]).await;
    assert_eq!(earned, paid);
    for provider in &scene.providers {
        let earnings = provider.payee.earnings().await.unwrap();
        assert_eq!((earnings.owed, earnings.lost), (Wei::zero(), Wei::zero()));
    }
    assert!(faults(&scene).is_empty(), "{:?}", faults(&scene));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_goes_on_elsewhere_when_its_providers_node_stops_its_worker() {
    let workers = vec![TestWorker::with(Lie::IsStopped { after: 40 }), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let (text, _) = run_chat(&scene.requester, chat(64)).await.unwrap();
    assert_eq!(text, (0..64).map(|i| format!("word{i} ")).collect::<String>());
    assert!(faults(&scene).is_empty(), "that is no fault: {:?}", faults(&scene));
    // Two units were full when it stopped, and what it had of the third is a present.
    let earned = (signed(&scene.providers[0]).await, signed(&scene.providers[1]).await);
    assert_eq!(earned, (milli(50) * 2, milli(51) * 2));
    scene.chain.audit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_is_there_the_request_says_so() {
    let mut settings = NodeSettings::default();
    settings.requester.highest_prices = vec![(JobKind::Chat, milli(10))];
    let scene = scene(TestWorker::honest(), settings, vec![]).await;
    let nobody = run_chat(&scene.requester, chat(16)).await.unwrap_err();
    assert!(nobody.to_string().contains("no provider has announced itself"), "{nobody}");
    let provider = Node::start(
        &scene.chain,
        &scene.wires,
        wallet(2),
        TestWorker::honest(),
        NodeSettings::default(),
        Disk::default(),
    );
    // Its wallet is empty: without a rule on the chain it offers nothing.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(provider.payee.resource().borrow().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_above_the_ceiling_is_not_paid() {
    let mut settings = NodeSettings::default();
    settings.requester.highest_prices = vec![(JobKind::Chat, milli(10))];
    let scene = scene(TestWorker::honest(), settings, vec![TestWorker::honest()]).await;
    let dear = run_chat(&scene.requester, chat(16)).await.unwrap_err();
    assert!(dear.to_string().contains("above the limit"), "{dear}");
    let unknown = ChatOrder { model: "unknown".into(), ..chat(16) };
    let unknown = run_chat(&scene.requester, unknown).await.unwrap_err();
    assert!(unknown.to_string().contains("nobody offers the model unknown"), "{unknown}");
    let quote = scene.requester.requester.quote(&Order::Embeddings(texts(&["a"]))).unwrap();
    assert_eq!((quote.highest(1), quote.units, quote.providers), (milli(50), Some(1), 1));
}

/// A purse with so much in it.
struct Budget(Mutex<Wei>);

impl Purse for Budget {
    fn charge(&self, amount: &Wei) -> Result<(), PurseEmpty> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(amount).ok_or_else(|| PurseEmpty("the budget is used up".into()))?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_stops_when_its_budget_is_used_up() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let purse = Arc::new(Budget(Mutex::new(milli(120))));
    let mut run = scene.requester.requester.chat(chat(160), purse);
    let failed = loop {
        match run.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("a chat ends with an event"),
        }
    };
    assert!(matches!(failed, RequestError::OverBudget(_)), "{failed}");
    assert_eq!(signed(&scene.providers[0]).await, milli(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_whose_resource_is_not_its_own_gets_no_reserve() {
    use edge_market::offer::SignedOffer;

    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let provider = &scene.providers[0];
    let mut offer = scene.requester.offers.of(&provider.address()).unwrap();
    offer.resource = "nobodys".into();
    offer.issued += 1;
    let signed = SignedOffer::sign(offer, &scene.chain.id(), &provider.wallet).unwrap();
    scene.requester.offers.take(&signed.bytes, Some(provider.address())).unwrap();
    let failed = run_chat(&scene.requester, chat(16)).await.unwrap_err();
    assert!(failed.to_string().contains("no rule of its own"), "{failed}");
    assert!(scene.chain.of(scene.requester.address()).reserved_funds.is_empty(), "nothing is locked for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_chats_on_a_node_with_two_places_wait_for_their_turn_and_all_succeed() {
    let settings = NodeSettings { places: 2, ..NodeSettings::default() };
    let scene = scene(TestWorker::honest(), settings, vec![TestWorker::honest()]).await;
    let chats = (0..8).map(|_| run_chat(&scene.requester, chat(48)));
    for outcome in futures::future::join_all(chats).await {
        let (text, _) = outcome.unwrap();
        assert_eq!(text, (0..48).map(|i| format!("word{i} ")).collect::<String>());
    }
    assert!(faults(&scene).is_empty(), "being busy is no fault");
    assert_eq!(signed(&scene.providers[0]).await, milli(50) * 24);
    // Only what was accepted is a job.
    let jobs = scene.requester.disk.jobs.all();
    assert_eq!(jobs.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_place_ends_with_patience_or_the_caller() {
    let mut settings = NodeSettings { places: 1, ..NodeSettings::default() };
    settings.requester.place_wait = Duration::from_millis(800);
    let scene = scene(TestWorker::honest(), settings, vec![TestWorker::honest()]).await;
    let place = scene.providers[0].governor.take_place();
    let begun = Instant::now();
    let refused = run_chat(&scene.requester, chat(16)).await.unwrap_err();
    assert!(matches!(&refused, RequestError::NoPlace { said, .. } if said.contains("taken")), "{refused}");
    let waited = begun.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(3)).contains(&waited), "{waited:?}");

    // A transcode would wait for hours. Its caller goes away.
    let folder = tempfile::tempdir().unwrap();
    let mut run = scene.requester.requester.transcode(transcode_job(&folder, 4_000), Arc::new(OpenPurse));
    let first = tokio::time::timeout(Duration::from_millis(1_200), run.next()).await;
    assert!(first.is_err(), "it waits: {first:?}");
    drop(run);
    scene.wires.take_log();
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.wires.take_log();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(scene.wires.take_log().is_empty(), "nobody asks any more");
    drop(place);
}
