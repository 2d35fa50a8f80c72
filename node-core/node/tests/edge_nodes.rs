//! Nodes that share nothing but loopback: work moves when one stops, limits hold, and nothing is paid twice.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use edge_jobs::JobKind;
use edge_market::jobs::JobSide;
use futures::StreamExt;
use serde_json::{Value, json};
use support::{
    Daemon, status,
    streams::{MeetingPlace, Noise, Player, files, offers, units},
    tls, until,
};
use theta_types::Wei;
use thetis::control::{ControlClient, types::Earnings};

/// The nodes of a creator that also runs the chain.
struct Network(MeetingPlace);

impl Network {
    async fn start() -> Self {
        Self(MeetingPlace::at_creator(Daemon::init(&["--gateway"])).await)
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
        let (daemon, client) = self.0.join(&flags).await;
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
    let network = Network::start().await;
    let key = network.0.daemon.json(&["gateway", "key", "create"]);
    let gateway = status(&network.0.client).await.gateway.unwrap().url;
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
    let paid = bought(&network.0.client).await;
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
    let network = Network::start().await;
    let key = network.0.daemon.json(&["gateway", "key", "create"]);
    let gateway = status(&network.0.client).await.gateway.unwrap().url;
    let node = network.chat_node().await;
    let chat = network.chat(&key, &gateway, 1_000);
    until("the chat is paid for", async || node.chat_units().await > 0).await;
    chat.abort();
    let hung_up = Instant::now();
    until("the job ends", async || node.running().await == 0).await;
    assert!(hung_up.elapsed() < Duration::from_secs(2), "{:?} with the time to ask", hung_up.elapsed());
    let after = bought(&network.0.client).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bought(&network.0.client).await.kinds, after.kinds, "nothing more is paid");
    assert_eq!(after.jobs[0].state, "cancelled");
}

const NOISE: Noise = Noise { nonce: 7, segments: 40, segment_bytes: 200_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upload_limit_holds_within_ten_percent_and_the_cache_is_emptied_when_its_cap_says_so() {
    tls();
    let creator = Daemon::init(&[]);
    let stream = NOISE.publish(&creator).await;
    let mut network = MeetingPlace::at_creator(creator).await;
    let (edge, edge_client) = network.join(&["--offer", "relay"]).await;
    until("the edge node holds the stream", async || {
        files(&edge_client).await == NOISE.segments as usize && offers(&edge_client, JobKind::Relay).await
    })
    .await;
    let (_viewer, viewer_client) = network.join(&[]).await;
    let player = Player::open(&viewer_client, &NOISE, &stream).await;
    assert_eq!(player.title, "Noise");
    // From here on the edge node is the only one that has it: a slow one would be helped out by the creator.
    std::fs::remove_dir_all(network.daemon.data().join("segments")).unwrap();
    let playlist = player.media_playlist().await;
    assert!(playlist.contains("#EXTINF"), "{playlist}");

    // The first ones open the sessions and the reserve; the origin fetches some ahead.
    until("the viewer has heard of the edge node", async || player.try_segment(0).await == 200).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rate = 400_000u64;
    edge.json(&["limits", "--upload", &rate.to_string()]);
    let sent = async || status(&edge_client).await.overlay.unwrap().sent;
    let (before, begun) = (sent().await, Instant::now());
    futures::stream::iter(5..25).for_each_concurrent(4, |index| player.segment(index)).await;
    let (bytes, seconds) = (sent().await - before, begun.elapsed().as_secs_f64());
    let measured = bytes as f64 / seconds;
    println!("{bytes} bytes in {seconds:.2} s: {measured:.0} bytes/s of {rate} allowed");
    assert!((0.9..=1.1).contains(&(measured / rate as f64)), "{measured:.0} of {rate} bytes/s");

    // The viewer paid one unit for each segment, and the edge node counts the same.
    let (paid, earned) = (units(&viewer_client, "requester").await, units(&edge_client, "provider").await);
    assert!(earned.abs_diff(paid) <= 3 && earned >= 21, "{earned} earned, {paid} paid");

    // A smaller cap evicts at once, on the disk too.
    edge.json(&["limits", "--cache", &(5 * NOISE.segment_bytes).to_string()]);
    let usage = status(&edge_client).await.limits.segments;
    assert!(usage.cached <= 5 * NOISE.segment_bytes as u64 && usage.files <= 5, "{usage:?}");
    let shelves = std::fs::read_dir(edge.data().join("segments")).unwrap();
    let files: usize = shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum();
    assert_eq!(files, usage.files);
    assert!(network.daemon.end("-TERM"));
}
