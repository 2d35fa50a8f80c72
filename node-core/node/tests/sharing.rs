//! Streams spread over edge nodes, and outlive those who had them first.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use edge_jobs::{JobKind, read_frame_async, write_frame_async};
use edge_mesh::{Mesh, MeshConfig, NodeKey, Protocol, Topic};
use serde_json::{Value, json};
use support::{
    status,
    streams::{MeetingPlace, Noise, Player, files, offers, units},
    tls, until,
};
use theta_types::SecretKey;
use tokio::io::AsyncWriteExt;

/// Waits longer than [`until`]: an edge node gives a creator time to be heard before it pays others.
async fn until_at_last(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(150) {
        if done().await {
            println!("{what}: after {:.1} s", begun.elapsed().as_secs_f64());
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("waited in vain for: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_its_creator_and_the_first_edge_node() {
    tls();
    let place = MeetingPlace::start().await;
    let noise = Noise { nonce: 7, segments: 12, segment_bytes: 60_000 };
    let whole = noise.segments as usize;
    let mut creator = place.init(&[]);
    let stream = noise.publish(&creator).await;
    creator.serve(&[]).await;
    let (mut first, first_client) = place.join(&["--offer", "relay"]).await;
    until("the first edge node holds the stream", async || {
        files(&first_client).await == whole && offers(&first_client, JobKind::Relay).await
    })
    .await;
    assert_eq!(units(&first_client, "requester").await, 0, "the creator's own copy is free");
    assert!(creator.end("-TERM"));

    // Nobody but the first edge node has it now, and it is paid for each segment.
    let (_second, second_client) = place.join(&["--offer", "relay"]).await;
    until_at_last("the second edge node holds the stream", async || files(&second_client).await == whole)
        .await;
    assert_eq!(units(&second_client, "requester").await, u64::from(noise.segments));
    until("the first edge node's record shows what it sold", async || {
        units(&first_client, "provider").await == u64::from(noise.segments)
    })
    .await;
    assert!(first.end("-TERM"));

    // A viewer plays it from the second one alone.
    let (_viewer, viewer_client) = place.join(&[]).await;
    let player = Player::open(&viewer_client, &noise, &stream).await;
    until("the viewer has heard of the second edge node", async || player.try_segment(0).await == 200).await;
    for index in 1..noise.segments {
        player.segment(index).await;
    }
    until("the viewer paid for what it took", async || {
        units(&viewer_client, "requester").await == u64::from(noise.segments)
    })
    .await;
    let sold = units(&second_client, "provider").await;
    assert!(sold.abs_diff(u64::from(noise.segments)) <= 1, "{sold}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_do_not_fit_together_do_not_push_each_other_out_for_ever() {
    tls();
    let place = MeetingPlace::start().await;
    let streams = [1, 2, 3].map(|nonce| Noise { nonce, segments: 4, segment_bytes: 100_000 });
    let mut creator = place.init(&[]);
    for noise in &streams {
        noise.publish(&creator).await;
    }
    let creator_client = creator.serve(&[]).await;
    // Room for two of the three.
    let (_edge, edge_client) = place.join(&["--offer", "relay", "--set", "limits.cache_bytes=900000"]).await;
    let one_stream = 4 * 100_000;
    let sent = async || status(&creator_client).await.overlay.unwrap().sent;
    until_at_last("each stream was copied once", async || sent().await >= 3 * one_stream).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = sent().await;
    // Two rounds of announcements.
    tokio::time::sleep(Duration::from_secs(32)).await;
    let again = sent().await - before;
    println!("{before} bytes in the first round, {again} in the two after it");
    assert!(again < one_stream / 2, "{again} bytes were sent again");
    assert!(status(&edge_client).await.limits.segments.cached <= 900_000);
}

/// A peer that announces a stream, and then never gives a segment of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_announces_and_delivers_nothing_does_not_hold_up_other_streams() {
    tls();
    let place = MeetingPlace::start().await;
    let (_edge, edge_client) = place.join(&["--offer", "relay"]).await;
    let chain_id = status(&edge_client).await.chain.chain_id;
    let edge_address = status(&edge_client).await.overlay.unwrap().listen[0].clone();

    let key = SecretKey::random().unwrap();
    let config = MeshConfig::loopback(NodeKey::generate(), chain_id);
    let mesh = Mesh::start(config, &key).await.unwrap();
    mesh.dial(edge_address.parse().unwrap()).await.unwrap();
    let stuck = Noise { nonce: 9, segments: 40, segment_bytes: 100_000 }.sign(&key);
    let (mut manifests, mut sources) = (
        mesh.accept(Protocol::MANIFESTS).await.unwrap(),
        mesh.accept(Protocol::named("/thetis/source/1")).await.unwrap(),
    );
    let manifest = stuck.bytes().to_vec();
    tokio::spawn(async move {
        while let Some((_, _, mut stream)) = manifests.next().await {
            let _: Option<Value> = read_frame_async(&mut stream).await.unwrap();
            write_frame_async(&mut stream, &json!({ "bytes": manifest.len() })).await.unwrap();
            stream.write_all(&manifest).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some((_, _, stream)) = sources.next().await {
            held.push(stream);
            let _ = asked.send(Instant::now());
        }
    });
    let announcement = json!({ "stream": stuck.id().to_string() }).to_string().into_bytes();
    until("the edge node hears the announcement", async || {
        mesh.publish(Topic::STREAMS, announcement.clone()).await.is_ok()
    })
    .await;
    let first = tokio::time::timeout(Duration::from_secs(30), was_asked.recv()).await.unwrap().unwrap();

    // Meanwhile an honest creator publishes.
    let noise = Noise { nonce: 1, segments: 4, segment_bytes: 10_000 };
    let mut creator = place.init(&[]);
    noise.publish(&creator).await;
    creator.serve(&[]).await;
    until("the honest stream is there", async || files(&edge_client).await == 4).await;
    println!("after {:.1} s in spite of the stuck one", first.elapsed().as_secs_f64());
    // 40 segments of seven seconds each, four at a time, would have been 70 s.
    assert!(first.elapsed() < Duration::from_secs(50), "{:?}", first.elapsed());
    let mut count = 1;
    while was_asked.try_recv().is_ok() {
        count += 1;
    }
    assert!(count <= 12, "it was asked {count} times for 40 segments");
}
