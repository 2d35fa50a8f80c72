//! Segments as the node fetches them: from several peers, some of which are slow, dead or liars.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use edge_jobs::ContentHash;
use edge_market::{
    requester::{SegmentClient, SegmentWish},
    standing::Fault,
};
use edge_mesh::PeerId;
use support::{
    milli,
    network::NodeSettings,
    scene::{Scene, faults, scene, signed},
    worker::TestWorker,
};
use theta_types::Wei;
use tokio_util::sync::CancellationToken;

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
