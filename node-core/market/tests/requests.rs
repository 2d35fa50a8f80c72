//! Requests as the node makes them: to several providers, some of which die or lie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use edge_jobs::{
    ChatMessage, ChatOrder, ContentHash, EmbeddingsOrder, JobKind, Ladder, Order, Role, Sampling,
    ThumbnailOrder, TranscodeOrder, VideoEncoder, WorkerCapabilities,
};
use edge_market::{
    requester::{
        ChatEvent, ModelLimits, OpenPurse, Purse, PurseEmpty, RequestError, SegmentClient, SegmentWish,
        TranscodeEvent, TranscodeJob, TranscodeResult,
    },
    standing::Fault,
};
use edge_mesh::PeerId;
use support::{
    chain::{Running, TestChain},
    milli,
    network::{CHAT_MODEL, Disk, EMBEDDINGS_MODEL, Node, NodeSettings, Way, Wires},
    wallet,
    worker::{Lie, TestWorker, vector, video},
};
use theta_types::{Address, Wei};
use tokio_util::sync::CancellationToken;

const BLOCK: Duration = Duration::from_millis(20);

struct Scene {
    chain: Arc<TestChain>,
    wires: Wires,
    requester: Node,
    providers: Vec<Node>,
    _running: Running,
}

/// A requester with its own worker, and providers that cost more one after the other, so that they are tried in order.
async fn scene(own: Arc<TestWorker>, settings: NodeSettings, workers: Vec<Arc<TestWorker>>) -> Scene {
    scene_of(own, settings, workers.into_iter().map(|worker| (worker, VideoEncoder::X264)).collect()).await
}

/// The same, with a video encoder for each provider.
async fn scene_of(
    own: Arc<TestWorker>,
    settings: NodeSettings,
    workers: Vec<(Arc<TestWorker>, VideoEncoder)>,
) -> Scene {
    let rich: Vec<Address> = (1..=workers.len() as u8 + 1).map(|number| wallet(number).address()).collect();
    let chain = TestChain::new(&rich);
    let running = chain.run(BLOCK);
    let wires = Wires::default();
    let requester = Node::start(&chain, &wires, wallet(1), own, settings.clone(), Disk::default());
    let mut providers = Vec::new();
    for (index, (worker, encoder)) in workers.into_iter().enumerate() {
        let mut settings = NodeSettings { price: milli(50 + index as u64), ..settings.clone() };
        settings.provider.encoder = encoder;
        let provider =
            Node::start(&chain, &wires, wallet(index as u8 + 2), worker, settings, Disk::default());
        provider.announce_to(&chain.id(), &[&requester]).await;
        providers.push(provider);
    }
    Scene { chain, wires, requester, providers, _running: running }
}

fn chat(tokens: u32) -> ChatOrder {
    ChatOrder {
        model: CHAT_MODEL.into(),
        messages: vec![ChatMessage { role: Role::User, content: "Count.".into() }],
        continues: false,
        max_tokens: Some(tokens),
        sampling: Sampling::default(),
        stop: vec![],
    }
}

async fn run_chat(node: &Node, order: ChatOrder) -> Result<(String, Vec<ChatEvent>), RequestError> {
    let mut run = node.requester.chat(order, Arc::new(OpenPurse));
    let (mut text, mut events) = (String::new(), Vec::new());
    while let Some(event) = run.next().await {
        let event = event?;
        if let ChatEvent::Text { text: more, .. } = &event {
            text.push_str(more);
        }
        events.push(event);
    }
    Ok((text, events))
}

fn texts(texts: &[&str]) -> EmbeddingsOrder {
    EmbeddingsOrder {
        model: EMBEDDINGS_MODEL.into(),
        inputs: texts.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn faults(scene: &Scene) -> Vec<(Address, Fault)> {
    scene.requester.disk.standing.faults().into_iter().map(|fault| (fault.node, fault.fault)).collect()
}

async fn signed(node: &Node) -> Wei {
    tokio::time::sleep(Duration::from_millis(150)).await;
    let earnings = node.payee.earnings().await.unwrap();
    earnings.signed + earnings.settled
}

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

/// A source file, and a transcode of it.
fn transcode_job(folder: &tempfile::TempDir, duration_ms: u64) -> TranscodeJob {
    let bytes = video(1280, 720, duration_ms);
    let source: PathBuf = folder.path().join("source.mp4");
    std::fs::write(&source, &bytes).unwrap();
    let output = folder.path().join("output");
    std::fs::create_dir_all(&output).unwrap();
    TranscodeJob {
        order: TranscodeOrder {
            source: ContentHash::of(&bytes),
            source_bytes: bytes.len() as u64,
            source_duration_ms: duration_ms,
            ladder: Ladder::default(),
            thumbnails: Some(ThumbnailOrder { every_ms: 10_000, short_side: 180 }),
            from: None,
        },
        source,
        output,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_arrives_whole_is_checked_and_paid_two_seconds_at_a_time() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
    let (mut steps, mut result) = (Vec::new(), None);
    while let Some(event) = run.next().await {
        match event.unwrap() {
            TranscodeEvent::Done(done) => result = Some(*done),
            other => steps.push(other),
        }
    }
    let result = result.unwrap();
    assert_eq!(result.renditions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["360p", "720p"]);
    for rendition in &result.renditions {
        assert_eq!(rendition.segments.len(), 6);
        for segment in &rendition.segments {
            let bytes = std::fs::read(result.folder.join(&segment.file)).unwrap();
            assert_eq!(ContentHash::of(&bytes), segment.hash);
        }
    }
    assert_eq!(result.thumbnails.iter().map(|picture| picture.at_ms).collect::<Vec<_>>(), [0, 10_000]);
    assert!(steps.contains(&TranscodeEvent::Checking));
    // 11 s are 6 units.
    assert_eq!(result.paid, milli(50) * 6);
    let log = scene.wires.take_log();
    let pays: Vec<u64> = log
        .iter()
        .filter(|(way, message)| *way == Way::ToProvider && message["say"] == "pay")
        .map(|(_, message)| message["units"].as_u64().unwrap())
        .collect();
    assert_eq!(pays, [1, 2, 3, 4, 5, 6]);
    // Never is a segment on its way whose unit's forerunner is unpaid.
    let mut paid = 0;
    for (way, message) in &log {
        match (way, message["event"]["event"].as_str()) {
            (Way::ToProvider, _) if message["say"] == "pay" => paid = message["units"].as_u64().unwrap(),
            (Way::ToRequester, Some("segment")) => {
                let index = message["event"]["segment"]["index"].as_u64().unwrap();
                assert!(index <= paid, "segment {index} went out with {paid} units paid");
            }
            _ => {}
        }
    }
    assert_eq!(signed(&scene.providers[0]).await, milli(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_of_other_pictures_is_not_paid_and_made_elsewhere() {
    // From the first segment on: found before anything is paid. From the last on: the last part is not paid.
    for (from_segment, earned) in [(0, 0), (5, 5)] {
        let workers = vec![TestWorker::with(Lie::Frames { from_segment }), TestWorker::honest()];
        let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
        let folder = tempfile::tempdir().unwrap();
        let job = transcode_job(&folder, 11_000);
        let output = job.output.clone();
        let result = scene.requester.requester.transcode(job, Arc::new(OpenPurse)).finish().await.unwrap();
        assert_eq!(result.provider, scene.providers[1].address());
        assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::WrongFrames)]);
        assert_eq!(signed(&scene.providers[0]).await, milli(50) * earned);
        // What the liar sent is gone.
        assert_eq!(std::fs::read_dir(output).unwrap().count(), 1);
    }
}

/// Kills the first provider when so many segments have gone out.
fn kill_after(scene: &Scene, segments: u32) {
    let (counted, kill) = (AtomicU32::new(0), scene.providers[0].killer(&scene.wires));
    scene.wires.set_filter(Some(Arc::new(move |_, message| {
        if message["event"]["event"] == "segment" && counted.fetch_add(1, Ordering::SeqCst) + 1 == segments {
            kill();
        }
        Some(message)
    })));
}

/// What the orders on the wire begin with: segment, milliseconds and thumbnail, if not at the beginning.
fn starts(scene: &Scene) -> Vec<Option<[u64; 3]>> {
    let log = scene.wires.take_log();
    let opens = log.iter().filter(|(_, message)| message["say"] == "open");
    opens
        .map(|(_, open)| {
            let from = &open["work"]["order"]["from"];
            Some([from["segment"].as_u64()?, from["ms"].as_u64()?, from["thumbnail"].as_u64()?])
        })
        .collect()
}

/// Every segment and picture of the source is there once, in order, with its bytes.
fn assert_whole(result: &TranscodeResult, segments: u32, pictures: u64) {
    for rendition in &result.renditions {
        let indices: Vec<u32> = rendition.segments.iter().map(|segment| segment.index).collect();
        assert_eq!(indices, (0..segments).collect::<Vec<_>>(), "{}", rendition.name);
        for segment in &rendition.segments {
            let bytes = std::fs::read(result.folder.join(&segment.file)).unwrap();
            assert_eq!(ContentHash::of(&bytes), segment.hash);
        }
    }
    let at: Vec<u64> = result.thumbnails.iter().map(|picture| picture.at_ms).collect();
    assert_eq!(at, (0..pictures).map(|number| number * 10_000).collect::<Vec<_>>());
    for picture in &result.thumbnails {
        assert_eq!(ContentHash::of(&std::fs::read(result.folder.join(&picture.file)).unwrap()), picture.hash);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_goes_on_where_its_killed_provider_was_paid_and_nothing_is_paid_twice() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let job = transcode_job(&folder, 60_000);
    let output = job.output.clone();
    // Of the third unit only one rendition is out.
    kill_after(&scene, 5);
    let mut run = scene.requester.requester.transcode(job, Arc::new(OpenPurse));
    let (mut progress, mut result) = (Vec::new(), None);
    while let Some(event) = run.next().await {
        match event.unwrap() {
            TranscodeEvent::Progress(permille) => progress.push(permille),
            TranscodeEvent::Done(done) => result = Some(*done),
            _ => {}
        }
    }
    let result = result.unwrap();
    assert_eq!(result.provider, scene.providers[1].address());
    assert_whole(&result, 30, 6);
    // The first one's two units, and the second one's for the other 28: a minute of source.
    assert_eq!(starts(&scene), [None, Some([2, 4_000, 1])]);
    assert_eq!(signed(&scene.providers[1]).await, milli(51) * 28);
    assert_eq!(result.paid, milli(50) * 2 + milli(51) * 28);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BrokeOff)]);
    assert!(progress.is_sorted(), "it never goes back: {progress:?}");
    let average = result.renditions[0].average_bandwidth;
    assert!((80_000..81_000).contains(&average), "{average} bit/s are not those of the whole");
    assert_eq!(std::fs::read_dir(output).unwrap().count(), 1, "one folder has all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_goes_on_elsewhere_when_its_providers_node_stops_its_worker() {
    let workers = vec![TestWorker::with(Lie::IsStopped { after: 4 }), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, scene.providers[1].address());
    assert_whole(&result, 10, 2);
    // What was paid when it was stopped is not ordered again. (It may not have taken the last payment any more.)
    let second = signed(&scene.providers[1]).await;
    let first = result.paid.saturating_sub(&second);
    let units = [(first, 50), (second, 51)].map(|(paid, price)| (1..=10).find(|n| milli(price) * *n == paid));
    assert_eq!(units.into_iter().flatten().sum::<u64>(), 10, "{units:?}");
    assert!(faults(&scene).is_empty(), "that is no fault: {:?}", faults(&scene));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_provider_goes_on_when_the_second_one_makes_something_else() {
    let workers = vec![TestWorker::honest(), TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let dead = scene.providers[0].killer(&scene.wires);
    let (ladders, segments) = (AtomicU32::new(0), AtomicU32::new(0));
    scene.wires.set_filter(Some(Arc::new(move |_, mut message| {
        if message["event"]["event"] == "segment" && segments.fetch_add(1, Ordering::SeqCst) == 4 {
            dead();
        }
        // The second provider names other renditions.
        if message["say"] == "ladder" && ladders.fetch_add(1, Ordering::SeqCst) == 1 {
            message["renditions"] = serde_json::json!(["360p", "480p"]);
        }
        Some(message)
    })));
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, scene.providers[2].address());
    assert_whole(&result, 10, 2);
    assert_eq!(starts(&scene), [None, Some([2, 4_000, 1]), Some([2, 4_000, 1])]);
    assert_eq!(result.paid, milli(50) * 2 + milli(52) * 8);
    let lied = (scene.providers[1].address(), Fault::WrongFrames);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BrokeOff), lied]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_of_two_makers_that_is_no_good_in_the_end_is_begun_anew() {
    // The second one's last segment is wrong, which is seen only when all is there.
    let lie = TestWorker::with(Lie::Frames { from_segment: 9 });
    let workers = vec![TestWorker::honest(), lie, TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    kill_after(&scene, 5);
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, scene.providers[2].address());
    assert_whole(&result, 10, 2);
    assert_eq!(starts(&scene), [None, Some([2, 4_000, 1]), None]);
    // The unit that was held back is not paid.
    assert_eq!(signed(&scene.providers[1]).await, milli(51) * 7);
    let [first, second] = [0, 1].map(|index| scene.providers[index].address());
    let doubtful = |node| (node, Fault::Doubtful);
    assert_eq!(faults(&scene), [(first, Fault::BrokeOff), doubtful(first), doubtful(second)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_provider_with_the_same_encoder_goes_on_and_another_one_begins_anew() {
    let workers = [VideoEncoder::X264, VideoEncoder::Openh264].map(|encoder| (TestWorker::honest(), encoder));
    let scene = scene_of(TestWorker::honest(), NodeSettings::default(), workers.into()).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let other = &scene.providers[1];
    assert_eq!(scene.requester.offers.of(&other.address()).unwrap().encoders, [VideoEncoder::Openh264]);

    let folder = tempfile::tempdir().unwrap();
    kill_after(&scene, 5);
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, other.address());
    assert_whole(&result, 10, 2);
    assert_eq!(starts(&scene), [None, None]);
    assert_eq!(result.paid, milli(50) * 2 + milli(51) * 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn still_pictures_of_something_else_are_not_signed_nor_the_last_unit_paid() {
    let workers = vec![TestWorker::with(Lie::Thumbnails), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
    assert_whole(&run.finish().await.unwrap(), 6, 2);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::WrongFrames)]);
    assert_eq!(signed(&scene.providers[0]).await, milli(50) * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_other_names_are_not_taken() {
    let workers = vec![TestWorker::with(Lie::Names), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
    assert_whole(&run.finish().await.unwrap(), 6, 2);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BadMessage)]);
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_that_kills_the_checker_twice_is_not_paid_and_made_elsewhere() {
    // Once may be chance: it is looked at again, and nobody is blamed.
    for (deaths, blamed) in [(1, false), (2, true)] {
        let own = TestWorker::honest();
        own.deadly_checks.store(deaths, Ordering::SeqCst);
        let workers = vec![TestWorker::honest(), TestWorker::honest()];
        let scene = scene(own, NodeSettings::default(), workers).await;
        let folder = tempfile::tempdir().unwrap();
        let run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
        let result = run.finish().await.unwrap();
        assert_whole(&result, 6, 2);
        let first = scene.providers[0].address();
        assert_eq!(faults(&scene), if blamed { vec![(first, Fault::Doubtful)] } else { vec![] });
        assert_eq!(result.provider == first, !blamed);
        assert_eq!(signed(&scene.providers[0]).await, milli(50) * if blamed { 0 } else { 6 });
        assert!(!scene.requester.standing.is_excluded(&first), "that is no lie yet");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_loses_no_job_however_much_the_worker_has_to_say() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    // Some 24,000 events, where a queue of a thousand is the limit.
    scene.providers[0].worker.chatter.store(400, Ordering::SeqCst);
    scene.wires.drip(scene.providers[0].peer, Duration::from_millis(30));
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 60_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_whole(&result, 30, 6);
    assert_eq!(result.provider, scene.providers[0].address());
    assert!(faults(&scene).is_empty(), "{:?}", faults(&scene));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_is_offered_only_with_the_encoder_that_is_set() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let provider = &scene.providers[0];
    let offer = |encoders| {
        let can = WorkerCapabilities { encoders, ..WorkerCapabilities::default() };
        provider.provider.offer(provider.peer, &[can]).unwrap()
    };
    let other = offer(vec![VideoEncoder::Openh264]);
    assert!(other.service(JobKind::Transcode, None).is_none() && other.encoders.is_empty());
    let both = offer(vec![VideoEncoder::Openh264, VideoEncoder::X264]);
    assert!(both.service(JobKind::Transcode, None).is_some());
    assert_eq!(both.encoders, [VideoEncoder::X264]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_video_fails_without_a_second_try() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let folder = tempfile::tempdir().unwrap();
    let mut job = transcode_job(&folder, 4_000);
    let bytes = b"a text\n".to_vec();
    std::fs::write(&job.source, &bytes).unwrap();
    (job.order.source, job.order.source_bytes) = (ContentHash::of(&bytes), bytes.len() as u64);
    let failed = scene.requester.requester.transcode(job, Arc::new(OpenPurse)).finish().await.unwrap_err();
    assert!(matches!(&failed, RequestError::BadOrder(error) if error.message == "not a video"), "{failed}");
    assert!(faults(&scene).is_empty());
    assert_eq!(signed(&scene.providers[1]).await, Wei::zero());
}

/// Segments that both providers have.
fn stock(scene: &Scene, count: usize) -> Vec<ContentHash> {
    (0..count)
        .map(|number| {
            let bytes: Vec<u8> = (0..150_000).map(|i| ((i + number) % 253) as u8).collect();
            let hashes: Vec<ContentHash> =
                scene.providers.iter().map(|provider| provider.shelf.put(bytes.clone())).collect();
            hashes[0]
        })
        .collect()
}

fn peers(scene: &Scene) -> Vec<PeerId> {
    scene.providers.iter().map(|provider| provider.peer).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_come_from_all_peers_and_each_is_paid() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let segments = stock(&scene, 12);
    let cancel = CancellationToken::new();
    let client = SegmentClient::new(scene.requester.requester.clone(), cancel.clone());
    for hash in &segments {
        let fetched = client.fetch(*hash, 1_000_000, &peers(&scene)).await.unwrap();
        assert_eq!(ContentHash::of(&fetched.bytes), *hash);
    }
    let delivered = client.delivered();
    assert_eq!(delivered.values().sum::<u64>(), 12);
    for (provider, price) in scene.providers.iter().zip([50, 51]) {
        let count = delivered[&provider.address()];
        assert_eq!(count, 6, "the work is shared");
        assert_eq!(signed(provider).await, milli(price) * count);
    }
    // A session is used again and again.
    let opens = scene.wires.take_log().iter().filter(|(_, message)| message["say"] == "open").count();
    assert_eq!(opens, 2);
    cancel.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_segment_is_dropped_unpaid_and_taken_from_another() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let segments = stock(&scene, 4);
    *scene.providers[0].shelf.corrupt.lock().unwrap() = true;
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    for hash in &segments {
        let fetched = client.fetch(*hash, 1_000_000, &peers(&scene)).await.unwrap();
        assert_eq!(fetched.provider, Some(scene.providers[1].address()));
    }
    let found = faults(&scene);
    assert!(!found.is_empty() && found.len() <= 2, "after two it is not asked any more: {found:?}");
    assert!(found.iter().all(|fault| *fault == (scene.providers[0].address(), Fault::CorruptSegment)));
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_go_on_from_another_peer_when_one_is_killed_or_has_them_not() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let segments = stock(&scene, 6);
    let only_second = scene.providers[1].shelf.put(b"only here".to_vec());
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    for hash in &segments[..3] {
        client.fetch(*hash, 1_000_000, &peers(&scene)).await.unwrap();
    }
    client.fetch(only_second, 1_000_000, &peers(&scene)).await.unwrap();
    scene.providers[0].kill(&scene.wires);
    for hash in &segments[3..] {
        client.fetch(*hash, 1_000_000, &peers(&scene)).await.unwrap();
    }
    let unknown = ContentHash([9; 32]);
    assert!(client.fetch(unknown, 1_000, &peers(&scene)).await.is_err());
    let too_large = client.fetch(segments[0], 1_000, &peers(&scene)).await;
    assert!(too_large.is_err(), "{too_large:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_segments_at_one_time_from_one_peer_add_up() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let segments = stock(&scene, 30);
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    let all_peers = peers(&scene);
    let fetches = segments.iter().map(|hash| client.fetch(*hash, 1_000_000, &all_peers));
    for fetched in futures::future::join_all(fetches).await {
        fetched.unwrap();
    }
    assert_eq!(signed(&scene.providers[0]).await, milli(50) * 30);
    let earnings = scene.providers[0].payee.earnings().await.unwrap();
    assert_eq!((earnings.owed, earnings.lost), (Wei::zero(), Wei::zero()));
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
async fn a_second_transcode_waits_for_the_first() {
    let mut settings = NodeSettings { places: 1, ..NodeSettings::default() };
    // Blocks are made faster here than a busy machine transcodes.
    settings.payer.duration = 4_000;
    let scene = scene(TestWorker::honest(), settings, vec![TestWorker::honest()]).await;
    scene.providers[0].worker.slow(Duration::from_millis(60));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // So that its reserve is there, and the two meet at the place alone.
    run_chat(&scene.requester, chat(16)).await.unwrap();
    let runs = folders.iter().map(|folder| {
        let job = transcode_job(folder, 11_000);
        scene.requester.requester.transcode(job, Arc::new(OpenPurse)).finish()
    });
    for done in futures::future::join_all(runs).await {
        assert_eq!(done.unwrap().paid, milli(300));
    }
    let refusals = scene.wires.take_log().iter().filter(|(_, message)| message["say"] == "refused").count();
    assert!(refusals > 0, "the second one found the place taken");
    assert!(faults(&scene).is_empty());
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_peer_costs_the_first_segment_the_hedge_time_and_the_next_ones_nothing() {
    let mut settings = NodeSettings::default();
    settings.requester.hedge_after = Duration::from_millis(500);
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), settings, workers).await;
    let segments = stock(&scene, 4);
    *scene.providers[0].shelf.slow.lock().unwrap() = Duration::from_secs(3_600);
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    let mut took = Vec::new();
    for hash in &segments {
        let begun = Instant::now();
        let fetched = client.fetch(*hash, 150_000, &peers(&scene)).await.unwrap();
        assert_eq!(fetched.provider, Some(scene.providers[1].address()));
        took.push(begun.elapsed());
    }
    println!("a dead peer first in the list: {took:?}");
    assert!((Duration::from_millis(500)..Duration::from_millis(1_000)).contains(&took[0]), "{took:?}");
    assert!(took[1..].iter().all(|took| *took < Duration::from_millis(400)), "{took:?}");
    assert_eq!(signed(&scene.providers[1]).await, milli(51) * 4);
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_segment_is_paid_too_and_its_sender_is_asked_last() {
    let mut settings = NodeSettings::default();
    settings.requester.hedge_after = Duration::from_millis(300);
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), settings, workers).await;
    let segments = stock(&scene, 3);
    *scene.providers[0].shelf.slow.lock().unwrap() = Duration::from_millis(900);
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    for hash in &segments {
        let fetched = client.fetch(*hash, 150_000, &peers(&scene)).await.unwrap();
        assert_eq!((fetched.provider, fetched.price), (Some(scene.providers[1].address()), milli(51)));
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    // It delivered one segment, and was not cheated of it.
    assert_eq!(signed(&scene.providers[0]).await, milli(50));
    assert_eq!(signed(&scene.providers[1]).await, milli(51) * 3);
    let earnings = scene.providers[0].payee.earnings().await.unwrap();
    assert_eq!((earnings.owed, earnings.lost), (Wei::zero(), Wei::zero()));
    assert!(faults(&scene).is_empty(), "being slow is no fault: {:?}", faults(&scene));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_drips_is_given_up_at_its_deadline_and_not_paid() {
    let mut settings = NodeSettings::default();
    settings.requester.hedge_after = Duration::from_millis(600);
    settings.requester.segment_wait = Duration::from_millis(600);
    settings.requester.slowest_segment = 1_000_000;
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), settings, workers).await;
    let large = vec![7; 600_000];
    let hashes: Vec<ContentHash> = scene.providers.iter().map(|p| p.shelf.put(large.clone())).collect();
    // Ten chunks, so three seconds; the first comes in time.
    scene.wires.drip(scene.providers[0].peer, Duration::from_millis(300));
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    let begun = Instant::now();
    let fetched = client.fetch(hashes[0], 600_000, &peers(&scene)).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(fetched.provider, Some(scene.providers[1].address()));
    println!("a dripping peer: {took:?} with a deadline of 1.2 s");
    assert!((Duration::from_millis(1_200)..Duration::from_millis(2_000)).contains(&took), "{took:?}");
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BrokeOff)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_resort_is_asked_when_nobody_delivers_and_costs_nothing() {
    let mut settings = NodeSettings::default();
    settings.requester.hedge_after = Duration::from_millis(300);
    let scene = scene(TestWorker::honest(), settings, vec![TestWorker::honest()]).await;
    let segments = stock(&scene, 2);
    let client = SegmentClient::new(scene.requester.requester.clone(), CancellationToken::new());
    let source = || async { Some(bytes::Bytes::from_static(b"from the source")) };
    let all = peers(&scene);
    let wish = |hash| SegmentWish { hash, bytes: 150_000, peers: &all, highest_price: None };
    // A peer that delivers goes before it.
    let fetched = client.fetch_or(&wish(segments[0]), source()).await.unwrap();
    assert_eq!(fetched.provider, Some(scene.providers[0].address()));
    // One that is silent is overtaken by it.
    *scene.providers[0].shelf.slow.lock().unwrap() = Duration::from_secs(3_600);
    let fetched = client.fetch_or(&wish(segments[1]), source()).await.unwrap();
    assert_eq!((fetched.provider, fetched.price), (None, Wei::zero()));
    // Nor is one asked that costs too much.
    let cheap = SegmentWish { highest_price: Some(milli(49)), ..wish(segments[1]) };
    let fetched = client.fetch_or(&cheap, source()).await.unwrap();
    assert_eq!(fetched.provider, None);
    assert!(client.fetch_or(&cheap, std::future::ready(None)).await.is_err());
}
