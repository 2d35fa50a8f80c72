//! An edge node that is killed in the middle of a transcode or of a relay: the work moves, nothing is paid twice, and what it had earned is
//! settled after its restart. (The same for a chat is in `edge_nodes.rs`.)
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use edge_jobs::JobKind;
use serde_json::json;
use support::{
    Daemon, status,
    streams::{MeetingPlace, Noise, Player, files, heard_of, offers, units},
    tls, until, until_within,
    video_api::{VideoApi, bunny},
};
use theta_types::Wei;
use thetis::control::ControlClient;

/// TFUEL for a unit of any kind here: two units are worth settling.
const PRICE: &str = "0.4";

fn price() -> Wei {
    "400000000000000000".parse().unwrap()
}

/// A node that joined.
struct Node {
    daemon: Daemon,
    client: ControlClient,
}

/// One that offers a kind of work at [`PRICE`].
async fn provider(place: &MeetingPlace, kind: JobKind) -> Node {
    let setting = format!("offer.prices.{kind}=\"{PRICE}\"");
    let (daemon, client) = place.join(&["--offer", kind.name(), "--set", &setting]).await;
    until("the work is offered", async || offers(&client, kind).await).await;
    Node { daemon, client }
}

impl Node {
    async fn units(&self) -> u64 {
        units(&self.client, "provider").await
    }

    /// After a restart: settles, and gives what the chain has paid.
    async fn settled(&self) -> Wei {
        self.daemon.json(&["settle"]);
        status(&self.client).await.earned.settled
    }
}

/// Waits until one of the nodes has done so many units; kills it, and gives its place.
async fn kill_at_work(nodes: &mut [Node; 2], done: u64) -> usize {
    let mut victim = None;
    let begun = Instant::now();
    while victim.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(90), "no node has done {done} units");
        for (place, node) in nodes.iter().enumerate() {
            if node.units().await >= done {
                victim = Some(place);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let victim = victim.unwrap();
    assert!(!nodes[victim].daemon.end("-KILL"));
    victim
}

/// The killed node starts again and settles; both sides then agree on units and money.
async fn agree(nodes: &mut [Node; 2], victim: usize, requester: &ControlClient) {
    let earned_before = units(requester, "requester").await;
    nodes[victim].client = nodes[victim].daemon.serve(&[]).await;
    let mut earned = 0;
    for (place, node) in nodes.iter().enumerate() {
        let (done, settled) = (node.units().await, node.settled().await);
        println!("node {place}: {done} units, settled {settled}, killed: {}", place == victim);
        // A voucher for the unit that was out when it died may be lost: that is the one unit at risk.
        let least = if place == victim { done.saturating_sub(1) } else { done };
        assert!(settled >= &price() * least && settled <= &price() * done, "{done} units, {settled} settled");
        assert!(!settled.is_zero());
        earned += done;
    }
    let paid = units(requester, "requester").await;
    assert_eq!(paid, earned_before, "nothing is paid without work");
    assert!(earned.abs_diff(paid) <= 1, "{earned} units earned, {paid} paid");
}

/// Sixty seconds of film, small enough that only one rendition is made.
fn clip(folder: &Path) -> PathBuf {
    let clip = folder.join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", "12", "-i"])
        .arg(bunny())
        .args(["-t", "60", "-vf", "scale=640:360", "-r", "25", "-c:v", "libx264", "-preset", "ultrafast"])
        .args(["-c:a", "aac", "-ac", "2"])
        .arg(&clip)
        .status()
        .expect("ffmpeg is installed: make test does that");
    assert!(made.success());
    clip
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_moves_when_its_node_is_killed_with_two_segments_out() {
    tls();
    let place = MeetingPlace::at_creator(Daemon::init(&["--gateway"])).await;
    let mut nodes = [provider(&place, JobKind::Transcode).await, provider(&place, JobKind::Transcode).await];
    let folder = tempfile::tempdir().unwrap();
    let api = VideoApi::with_new_key(&place.daemon);
    let order = json!({ "playback_policy": "public" });
    let video = api.order(&place.client, &clip(folder.path()), order).await;
    let victim = kill_at_work(&mut nodes, 2).await;

    let begun = Instant::now();
    let done = loop {
        let now = api.video(&place.client, &video).await;
        assert_ne!(now["state"], "error", "{now}");
        if now["state"] == "success" {
            break now;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    println!("{done}");
    // Sixty seconds are thirty units. The one that was out when the node died may have been paid, and come again.
    let paid = units(&place.client, "requester").await;
    assert!((30..=31).contains(&paid), "{paid} units were paid");
    agree(&mut nodes, victim, &place.client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creator_that_is_killed_goes_on_with_its_video_where_it_was_paid() {
    tls();
    let place = MeetingPlace::start().await;
    let edge = provider(&place, JobKind::Transcode).await;
    let (mut daemon, client) = place.join(&["--gateway"]).await;
    let folder = tempfile::tempdir().unwrap();
    let api = VideoApi::with_new_key(&daemon);
    let order = json!({ "playback_policy": "public" });
    let video = api.order(&client, &clip(folder.path()), order).await;
    until_within(Duration::from_secs(90), "some units are paid", async || edge.units().await >= 5).await;
    assert!(!daemon.end("-KILL"));

    // The default credit is below the price, so that the edge node works for it again when the unit that was begun is paid.
    let creator = daemon.serve(&[]).await;
    let done = async || {
        let now = api.video(&creator, &video).await;
        assert_ne!(now["state"], "error", "{now}");
        now["state"] == "success"
    };
    until_within(Duration::from_secs(240), "the video is made", done).await;
    let (paid, earned) = (units(&creator, "requester").await, edge.units().await);
    // Thirty units of a minute; of the two around the kill, one may have come twice.
    assert!((30..=32).contains(&paid) && earned == paid, "{paid} units paid, {earned} earned");
    let settled = edge.settled().await;
    assert_eq!(settled, price() * paid);
}

const NOISE: Noise = Noise { nonce: 9, segments: 40, segment_bytes: 100_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_moves_when_its_node_is_killed() {
    tls();
    let creator = Daemon::init(&[]);
    let stream = NOISE.publish(&creator).await;
    let place = MeetingPlace::at_creator(creator).await;
    let mut nodes = [provider(&place, JobKind::Relay).await, provider(&place, JobKind::Relay).await];
    until("both edge nodes hold the stream", async || {
        let whole = NOISE.segments as usize;
        files(&nodes[0].client).await == whole && files(&nodes[1].client).await == whole
    })
    .await;
    let (_viewer, viewer) = place.join(&[]).await;
    let player = Player::open(&viewer, &NOISE, &stream).await;
    // Before it hears of an offer the viewer takes segments from the creator, for nothing.
    until("the viewer has heard of both", async || heard_of(&viewer, JobKind::Relay).await == 2).await;
    let playback = tokio::spawn(async move {
        for index in 0..NOISE.segments {
            player.segment(index).await;
            // A player that is a little ahead of its clock.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    let victim = kill_at_work(&mut nodes, 4).await;
    playback.await.unwrap();
    let paid = units(&viewer, "requester").await;
    assert!(paid <= u64::from(NOISE.segments) + 1, "{paid} units for {} segments", NOISE.segments);
    agree(&mut nodes, victim, &viewer).await;
    assert!(nodes[1 - victim].units().await >= 10, "the other node took over");
}
