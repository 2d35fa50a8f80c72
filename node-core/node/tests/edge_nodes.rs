//! Nodes that share nothing but loopback: work moves when one stops, limits hold, and nothing is paid twice.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use edge_jobs::{ContentHash, JobKind, Rendition, SegmentInfo};
use edge_market::jobs::JobSide;
use edge_streams::{Manifest, SegmentStore, SignedManifest};
use futures::StreamExt;
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

/// A creator that also runs the chain, and its network's other nodes.
struct Network {
    creator: Daemon,
    creator_client: ControlClient,
    rpc: String,
    join: Vec<String>,
}

impl Network {
    async fn start(mut creator: Daemon) -> Self {
        let creator_client = creator.serve(&[]).await;
        let now = status(&creator_client).await;
        creator.json(&["faucet", &now.wallet.address.to_string(), "--amount", "300"]);
        let join = now.overlay.unwrap().listen;
        Self { creator, creator_client, rpc: now.chain.rpc, join }
    }

    /// A node with 100 TFUEL that is up.
    async fn join(&self, flags: &[&str]) -> (Daemon, ControlClient) {
        let bootstrap = self.join.iter().flat_map(|address| ["--bootstrap", address]);
        let all: Vec<&str> =
            ["--rpc", &self.rpc].into_iter().chain(bootstrap).chain(flags.iter().copied()).collect();
        let mut node = Daemon::init(&all);
        let wallet = node.json(&["wallet", "list"])[0].as_str().unwrap().to_owned();
        self.creator.json(&["faucet", &wallet, "--amount", "100"]);
        let client = node.serve(&[]).await;
        (node, client)
    }

    /// A node that answers chats.
    async fn chat_node(&self) -> ChatNode {
        let models = tempfile::tempdir().unwrap();
        let worker = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/chat_worker.py");
        let set = [
            format!("workers.compute={}", worker.display()),
            format!("workers.models={}", models.path().display()),
        ];
        let flags = ["--offer", "chat", "--set", set[0].as_str(), "--set", set[1].as_str()];
        let (daemon, client) = self.join(&flags).await;
        until("chats are offered", async || offers(&client, JobKind::Chat).await).await;
        ChatNode { daemon, client, models }
    }

    /// Streams a chat of so many words to `text`, and tells its end.
    fn chat(&self, key: &Value, gateway: &str, words: u32) -> tokio::task::JoinHandle<String> {
        let body = json!({
            "model": "smollm2-135m-instruct",
            "messages": [{ "role": "user", "content": "count" }],
            "max_tokens": words,
            "stream": true,
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.post(format!("{gateway}/v1/chat/completions")).json(&body);
        let request = request.bearer_auth(key["key"].as_str().unwrap());
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            let mut stream = response.bytes_stream();
            let mut all = Vec::new();
            while let Some(bytes) = stream.next().await {
                all.extend_from_slice(&bytes.unwrap());
            }
            text_of(std::str::from_utf8(&all).unwrap())
        })
    }
}

struct ChatNode {
    daemon: Daemon,
    client: ControlClient,
    models: tempfile::TempDir,
}

impl ChatNode {
    /// Worker processes of this node that are alive.
    fn workers(&self) -> usize {
        let pids = std::fs::read_dir(self.models.path()).unwrap();
        pids.filter(|pid| PathBuf::from("/proc").join(pid.as_ref().unwrap().file_name()).exists()).count()
    }

    async fn running(&self) -> usize {
        let kinds = status(&self.client).await.work.kinds;
        kinds.iter().find(|kind| kind.kind == JobKind::Chat).unwrap().running
    }

    async fn earnings(&self) -> Earnings {
        self.client.get("/api/earnings?side=provider").await.unwrap()
    }

    async fn chat_units(&self) -> u64 {
        self.earnings().await.kinds.iter().map(|kind| kind.units).sum()
    }
}

async fn offers(client: &ControlClient, kind: JobKind) -> bool {
    let kinds = status(client).await.work.kinds;
    kinds.iter().any(|section| section.kind == kind && section.why_none.is_none())
}

/// The words of a streamed answer, which must have ended well.
fn text_of(events: &str) -> String {
    assert!(events.trim_end().ends_with("data: [DONE]"), "{events}");
    let chunks = events.lines().filter_map(|line| line.strip_prefix("data: {"));
    let chunks = chunks.map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap());
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

fn words(count: u32) -> String {
    (0..count).map(|number| format!("w{number} ")).collect()
}

/// What the requester paid in all, by its own book.
async fn bought(client: &ControlClient) -> Earnings {
    client.get("/api/earnings?side=requester").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chats_move_to_another_node_when_theirs_is_paused_or_killed() {
    tls();
    let network = Network::start(Daemon::init(&["--gateway"])).await;
    let key = network.creator.json(&["gateway", "key", "create"]);
    let gateway = status(&network.creator_client).await.gateway.unwrap().url;
    let mut nodes = [network.chat_node().await, network.chat_node().await];
    let busy = async |nodes: &[ChatNode; 2]| {
        let mut found = None;
        until("a node answers the chat and is paid for a part", async || {
            for (place, node) in nodes.iter().enumerate() {
                if node.running().await > 0 && node.chat_units().await > 0 {
                    found = Some(place);
                }
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    };

    // Paused: the worker is gone within a second, and the chat ends elsewhere, word for word.
    let chat = network.chat(&key, &gateway, 120);
    let first = busy(&nodes).await;
    let asked = Instant::now();
    nodes[first].daemon.json(&["pause"]);
    until("the paused node's worker is gone", async || nodes[first].workers() == 0).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(chat.await.unwrap(), words(120));
    nodes[first].daemon.json(&["resume"]);
    until("the node offers again", async || offers(&nodes[first].client, JobKind::Chat).await).await;

    // Killed: the same, and what it had earned is settled after its restart.
    let before = [nodes[0].chat_units().await, nodes[1].chat_units().await];
    let chat = network.chat(&key, &gateway, 120);
    let mut victim = 0;
    until("a node has done a part of the second chat", async || {
        for (place, node) in nodes.iter().enumerate() {
            if node.chat_units().await > before[place] {
                victim = place;
                return true;
            }
        }
        false
    })
    .await;
    assert!(!nodes[victim].daemon.end("-KILL"));
    assert_eq!(chat.await.unwrap(), words(120));
    nodes[victim].client = nodes[victim].daemon.serve(&[]).await;

    // Both sides agree on units and money, and no unit was paid twice: 120 tokens are 8 units, and each move costs at most one.
    let paid = bought(&network.creator_client).await;
    let paid_units: u64 = paid.kinds.iter().map(|kind| kind.units).sum();
    assert!((16..=18).contains(&paid_units), "{paid:?}");
    for node in &nodes {
        let settled = node.daemon.json(&["settle"]);
        assert!(settled["left"].is_string());
    }
    let price: Wei = "50000000000000000".parse().unwrap();
    let mut earned_units = 0;
    for node in &nodes {
        let earned = status(&node.client).await.earned;
        let units = node.chat_units().await;
        let fee: Wei = "300000000000000000".parse().unwrap();
        let amount = &price * units;
        // A line below one fee is not worth settling; it stays signed.
        let expected = if amount > fee { (amount, Wei::zero()) } else { (Wei::zero(), amount) };
        assert_eq!((earned.settled, earned.signed), expected, "{units} units");
        earned_units += units;
    }
    assert!(earned_units.abs_diff(paid_units) <= 2, "{earned_units} earned, {paid_units} paid");
    assert_eq!(paid.side, JobSide::Requester);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_stops_worker_and_payment_within_a_second() {
    tls();
    let network = Network::start(Daemon::init(&["--gateway"])).await;
    let key = network.creator.json(&["gateway", "key", "create"]);
    let gateway = status(&network.creator_client).await.gateway.unwrap().url;
    let node = network.chat_node().await;
    let chat = network.chat(&key, &gateway, 1_000);
    until("the chat is paid for", async || node.chat_units().await > 0).await;
    chat.abort();
    let hung_up = Instant::now();
    until("the job ends", async || node.running().await == 0).await;
    assert!(hung_up.elapsed() < Duration::from_secs(2), "{:?} with the time to ask", hung_up.elapsed());
    let after = bought(&network.creator_client).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bought(&network.creator_client).await.kinds, after.kinds, "nothing more is paid");
    assert_eq!(after.jobs[0].state, "cancelled");
}

const SEGMENT: usize = 200_000;
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
        nonce: [7; 16],
        revision: 0,
        created: 1_700_000_000,
        title: "Noise".into(),
        duration_ms: 2_000 * u64::from(SEGMENTS),
        renditions: vec![Rendition {
            name: "360p".into(),
            width: 640,
            height: 360,
            bandwidth: 800_000,
            average_bandwidth: 800_000,
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
async fn the_upload_limit_holds_within_ten_percent_and_the_cache_is_emptied_when_its_cap_says_so() {
    tls();
    let creator = Daemon::init(&[]);
    let stream = publish(&creator).await;
    let mut network = Network::start(creator).await;
    let (edge, edge_client) = network.join(&["--offer", "relay"]).await;
    let whole = SEGMENTS as usize;
    until("the edge node holds the stream", async || {
        status(&edge_client).await.limits.segments.files == whole
            && offers(&edge_client, JobKind::Relay).await
    })
    .await;
    let (_viewer, viewer_client) = network.join(&[]).await;
    let playing: Playing =
        viewer_client.post("/api/play", &json!({ "stream": stream.id().to_string() })).await.unwrap();
    assert_eq!(playing.title, "Noise");
    // From here on the edge node is the only one that has it: a slow one would be helped out by the creator.
    std::fs::remove_dir_all(network.creator.data().join("segments")).unwrap();
    let base = playing.playlist.trim_end_matches("master.m3u8").to_owned();
    let fetch = async |index: u32| {
        let answer = reqwest::get(format!("{base}360p/{index}.ts")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.bytes().await.unwrap(), segment(index));
    };
    let playlist = reqwest::get(format!("{base}360p/index.m3u8")).await.unwrap().text().await.unwrap();
    assert!(playlist.contains("#EXTINF"), "{playlist}");

    // The first ones open the sessions and the reserve; the origin fetches some ahead.
    until("the viewer has heard of the edge node", async || {
        reqwest::get(format!("{base}360p/0.ts")).await.unwrap().status() == 200
    })
    .await;
    fetch(0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rate = 400_000u64;
    edge.json(&["limits", "--upload", &rate.to_string()]);
    let sent = async || status(&edge_client).await.overlay.unwrap().sent;
    let (before, begun) = (sent().await, Instant::now());
    futures::stream::iter(5..25).for_each_concurrent(4, fetch).await;
    let (bytes, seconds) = (sent().await - before, begun.elapsed().as_secs_f64());
    let measured = bytes as f64 / seconds;
    println!("{bytes} bytes in {seconds:.2} s: {measured:.0} bytes/s of {rate} allowed");
    assert!((0.9..=1.1).contains(&(measured / rate as f64)), "{measured:.0} of {rate} bytes/s");

    // The viewer paid one unit for each segment, and the edge node counts the same.
    let (paid, earned) =
        (bought(&viewer_client).await, edge_client.get::<Earnings>("/api/earnings").await.unwrap());
    let units = |earnings: &Earnings| earnings.kinds.iter().map(|kind| kind.units).sum::<u64>();
    assert!(units(&earned).abs_diff(units(&paid)) <= 3 && units(&earned) >= 21, "{earned:?}\n{paid:?}");

    // A smaller cap evicts at once, on the disk too.
    edge.json(&["limits", "--cache", &(5 * SEGMENT).to_string()]);
    let usage = status(&edge_client).await.limits.segments;
    assert!(usage.cached <= 5 * SEGMENT as u64 && usage.files <= 5, "{usage:?}");
    let shelves = std::fs::read_dir(edge.data().join("segments")).unwrap();
    let files: usize = shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum();
    assert_eq!(files, usage.files);
    assert!(network.creator.end("-TERM"));
}
