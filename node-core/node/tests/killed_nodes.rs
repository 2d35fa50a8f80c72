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

use edge_jobs::{ContentHash, JobKind, Rendition, SegmentInfo};
use edge_streams::{Manifest, SegmentStore, SignedManifest};
use serde_json::{Value, json};
use support::{Daemon, status, tls, until};
use theta_types::{SecretKey, Wei};
use theta_wallet::{KeyFolder, Passphrase};
use thetis::{
    control::{
        ControlClient,
        types::{Earnings, Playing},
    },
    database::Database,
};

/// TFUEL for a unit of any kind here: two units are worth settling.
const PRICE: &str = "0.4";

fn price() -> Wei {
    "400000000000000000".parse().unwrap()
}

/// A creator that runs the chain, and how others join it.
struct Network {
    creator: Daemon,
    client: ControlClient,
    rpc: String,
    join: Vec<String>,
}

/// A node that joined.
struct Node {
    daemon: Daemon,
    client: ControlClient,
}

impl Network {
    async fn start(mut creator: Daemon) -> Self {
        let client = creator.serve(&[]).await;
        let now = status(&client).await;
        creator.json(&["faucet", &now.wallet.address.to_string(), "--amount", "300"]);
        Self { creator, client, rpc: now.chain.rpc, join: now.overlay.unwrap().listen }
    }

    async fn join(&self, flags: &[&str]) -> Node {
        let bootstrap = self.join.iter().flat_map(|address| ["--bootstrap", address]);
        let all: Vec<&str> =
            ["--rpc", &self.rpc].into_iter().chain(bootstrap).chain(flags.iter().copied()).collect();
        let mut daemon = Daemon::init(&all);
        let wallet = daemon.json(&["wallet", "list"])[0].as_str().unwrap().to_owned();
        self.creator.json(&["faucet", &wallet, "--amount", "300"]);
        let client = daemon.serve(&[]).await;
        Node { daemon, client }
    }

    async fn provider(&self, kind: JobKind) -> Node {
        let setting = format!("offer.prices.{kind}=\"{PRICE}\"");
        let node = self.join(&["--offer", kind.name(), "--set", &setting]).await;
        until("the work is offered", async || {
            let kinds = status(&node.client).await.work.kinds;
            kinds.iter().any(|section| section.kind == kind && section.why_none.is_none())
        })
        .await;
        node
    }
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

async fn units(client: &ControlClient, side: &str) -> u64 {
    let earnings: Earnings = client.get(&format!("/api/earnings?side={side}")).await.unwrap();
    earnings.kinds.iter().map(|kind| kind.units).sum()
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
    let film = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bigbuckbunny.mp4");
    let clip = folder.join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-stream_loop", "12", "-i"])
        .arg(film)
        .args(["-t", "60", "-vf", "scale=640:360", "-r", "25", "-c:v", "libx264", "-preset", "ultrafast"])
        .args(["-c:a", "aac", "-ac", "2"])
        .arg(&clip)
        .status()
        .expect("ffmpeg is installed: make test does that");
    assert!(made.success());
    clip
}

/// The creator's side of the Video API.
struct VideoApi {
    http: reqwest::Client,
    gateway: String,
    key: Value,
}

impl VideoApi {
    async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}{path}", self.gateway));
        for (header, part) in [("x-tva-sa-id", "id"), ("x-tva-sa-secret", "secret")] {
            request = request.header(header, self.key[part].as_str().unwrap());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["body"].clone()
    }

    /// Uploads a file and orders its ladder; the video's id.
    async fn order(&self, file: &Path) -> String {
        let upload = self.call(reqwest::Method::POST, "/upload", None).await["uploads"][0].clone();
        let put = self.http.put(upload["presigned_url"].as_str().unwrap());
        let put = put.body(std::fs::read(file).unwrap()).send().await.unwrap();
        assert!(put.status().is_success());
        let order = json!({ "source_upload_id": upload["id"], "playback_policy": "public" });
        let made = self.call(reqwest::Method::POST, "/video", Some(order)).await;
        made["videos"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn state(&self, video: &str) -> Value {
        self.call(reqwest::Method::GET, &format!("/video/{video}"), None).await["videos"][0].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_moves_when_its_node_is_killed_with_two_segments_out() {
    tls();
    let network = Network::start(Daemon::init(&["--gateway"])).await;
    let mut nodes = [network.provider(JobKind::Transcode).await, network.provider(JobKind::Transcode).await];
    let folder = tempfile::tempdir().unwrap();
    let api = VideoApi {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        gateway: status(&network.client).await.gateway.unwrap().url,
        key: network.creator.json(&["gateway", "key", "create"]),
    };
    let video = api.order(&clip(folder.path())).await;
    let victim = kill_at_work(&mut nodes, 2).await;

    let begun = Instant::now();
    let done = loop {
        let now = api.state(&video).await;
        assert_ne!(now["state"], "error", "{now}");
        if now["state"] == "success" {
            break now;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    println!("{done}");
    // Sixty seconds are thirty units. The one that was out when the node died may have been paid, and come again.
    let paid = units(&network.client, "requester").await;
    assert!((30..=31).contains(&paid), "{paid} units were paid");
    agree(&mut nodes, victim, &network.client).await;
}

const SEGMENT: usize = 100_000;
const SEGMENTS: u32 = 40;

fn segment(index: u32) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT];
    blake3::Hasher::new().update(&index.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Puts a stream of random bytes into a creator's data folder, as if it had been published there.
async fn publish(creator: &Daemon) -> SignedManifest {
    let keys = KeyFolder::open(creator.data().join("keys")).unwrap();
    let address = keys.addresses().unwrap()[0];
    let key: SecretKey = keys.unlock(&address, &Passphrase::new("correct horse")).unwrap();
    let segments = (0..SEGMENTS).map(|index| SegmentInfo {
        index,
        file: format!("360p/{index}.ts"),
        duration_ms: 2_000,
        bytes: SEGMENT as u64,
        hash: ContentHash::of(&segment(index)),
    });
    let manifest = Manifest {
        creator: address,
        nonce: [9; 16],
        revision: 0,
        created: 1_700_000_000,
        title: "Noise".into(),
        duration_ms: 2_000 * u64::from(SEGMENTS),
        renditions: vec![Rendition {
            name: "360p".into(),
            width: 640,
            height: 360,
            bandwidth: 400_000,
            average_bandwidth: 400_000,
            codecs: "avc1.64001e".into(),
            frame_rate: (25, 1),
            segments: segments.collect(),
        }],
        thumbnails: vec![],
    };
    let stream = manifest.sign(&key).unwrap();
    let store = SegmentStore::open(creator.data().join("segments"), 0).unwrap();
    store.pin(&stream);
    for index in 0..SEGMENTS {
        let bytes = segment(index);
        store.put(ContentHash::of(&bytes), bytes.into()).await.unwrap();
    }
    Database::open(&creator.data().join("thetis.sqlite")).unwrap().publish_stream(&stream).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_moves_when_its_node_is_killed() {
    tls();
    let creator = Daemon::init(&[]);
    let stream = publish(&creator).await;
    let network = Network::start(creator).await;
    let mut nodes = [network.provider(JobKind::Relay).await, network.provider(JobKind::Relay).await];
    until("both edge nodes hold the stream", async || {
        let mut files = Vec::new();
        for node in &nodes {
            files.push(status(&node.client).await.limits.segments.files);
        }
        files.iter().all(|files| *files == SEGMENTS as usize)
    })
    .await;
    let viewer = network.join(&[]).await;
    let playing: Playing =
        viewer.client.post("/api/play", &json!({ "stream": stream.id().to_string() })).await.unwrap();
    // Offers are announced every 20 seconds; before it hears one the viewer takes segments from the creator, for nothing.
    tokio::time::sleep(Duration::from_secs(21)).await;
    let base = playing.playlist.trim_end_matches("master.m3u8").to_owned();
    let playback = tokio::spawn(async move {
        for index in 0..SEGMENTS {
            let answer = reqwest::get(format!("{base}360p/{index}.ts")).await.unwrap();
            assert_eq!(answer.status(), 200, "segment {index}");
            assert_eq!(answer.bytes().await.unwrap(), segment(index));
            // A player that is a little ahead of its clock.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    let victim = kill_at_work(&mut nodes, 4).await;
    playback.await.unwrap();
    let paid = units(&viewer.client, "requester").await;
    assert!(paid <= u64::from(SEGMENTS) + 1, "{paid} units for {SEGMENTS} segments");
    agree(&mut nodes, victim, &viewer.client).await;
    assert!(nodes[1 - victim].units().await >= 10, "the other node took over");
}
