//! The daemon as its user meets it: `thetis init`, `thetis serve`, and the commands beside them.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use edge_jobs::JobKind;
use serde_json::{Value, json};
use support::{Daemon, mode, status, tls, until};
use theta_types::Wei;
use thetis::{control::ControlClient, governor::Halt};

const SOMEBODY: &str = "0x2E833968E5bB786Ae419c4d13189fB081Cc43bab";

#[tokio::test]
async fn a_node_lives_from_init_to_a_good_end() {
    tls();
    let mut node = Daemon::init(&["--gateway"]);
    assert!(
        node.refusal(&["status"]).contains("thetis serve"),
        "without a node, the command to start one is named"
    );
    let client = node.serve(&[]).await;
    assert_eq!(mode(&node.data().join("owner.json")), 0o600);

    // The chain goes on, and coins of the faucet arrive and can be sent on.
    let now = status(&client).await;
    assert!(now.chain.verified && !now.wallet.locked, "{now:?}");
    let own = now.wallet.address.to_string();
    node.json(&["faucet", &own, "--amount", "50"]);
    let sent = node.json(&["wallet", "send", SOMEBODY, "--tfuel", "12.5", "--request", "rent"]);
    let again = node.json(&["wallet", "send", SOMEBODY, "--tfuel", "12.5", "--request", "rent"]);
    assert_eq!(sent, again, "the same request is the same transaction");
    let left: Wei = "37200000000000000000".parse().unwrap();
    until("50 less 12.5 less the fee of 0.3 are left", async || {
        status(&client).await.wallet.balance.is_some_and(|coins| coins.tfuel == left)
    })
    .await;
    assert!(node.refusal(&["wallet", "send", SOMEBODY, "--tfuel", "1000"]).contains("nothing was sent"));

    // Every zero has its reason.
    let earnings = node.json(&["earnings"]);
    assert!(earnings["why_zero"].as_str().unwrap().contains("not chosen"), "{earnings}");

    // A second daemon says who owns the folder.
    let second = node.refusal(&["serve"]);
    assert!(second.contains(&format!("process {}", node.pid())), "{second}");

    assert!(node.end("-TERM"), "SIGTERM ends it in good order");
    assert!(!node.data().join("owner.json").exists());
    let verified = node.json(&["chain", "verify"]);
    assert!(verified["final_height"].as_u64().unwrap() > 2, "{verified}");
}

#[tokio::test]
async fn a_locked_node_says_so_and_works_when_unlocked() {
    tls();
    let mut node = Daemon::init(&["--offer", "relay"]);
    let client = node.serve(&["--locked"]).await;
    let locked = status(&client).await;
    assert!(locked.wallet.locked && locked.overlay.is_none());
    assert_eq!(locked.work.halt, Some(Halt::WalletLocked));
    let relay = locked.work.kinds.iter().find(|kind| kind.kind == JobKind::Relay).unwrap();
    assert_eq!(relay.why_none.as_deref(), Some("the wallet is locked"));
    assert!(node.refusal(&["wallet", "send", SOMEBODY, "--tfuel", "1"]).contains("locked"));
    // The chain of a local network does not need the wallet.
    until("blocks are made", async || status(&client).await.chain.finalized_height > 1).await;

    node.json(&["wallet", "unlock"]);
    until("the node joins the overlay", async || status(&client).await.overlay.is_some()).await;
    assert_eq!(status(&client).await.work.halt, None);
    node.json(&["wallet", "lock"]);
    assert_eq!(status(&client).await.work.halt, Some(Halt::WalletLocked));
    assert!(node.end("-INT"));
}

#[tokio::test]
async fn a_pause_is_shown_with_its_end_and_a_killed_node_goes_on() {
    tls();
    let mut node = Daemon::init(&[]);
    let client = node.serve(&[]).await;
    node.json(&["pause", "--for", "1h"]);
    let Some(Halt::Paused { until: Some(end) }) = status(&client).await.work.halt else {
        panic!("not paused")
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((3_500..=3_600).contains(&(end - now)));
    node.json(&["resume"]);
    assert_eq!(status(&client).await.work.halt, None);

    until("some blocks are final", async || status(&client).await.chain.finalized_height > 2).await;
    let before = status(&client).await.chain.finalized_height;
    assert!(!node.end("-KILL"));
    let client = node.serve(&[]).await;
    assert!(status(&client).await.chain.finalized_height >= before, "what was final stays");
    until("the chain goes on", async || status(&client).await.chain.finalized_height > before + 1).await;
    node.json(&["stop"]);
    assert!(!node.data().join("owner.json").exists());
}

#[tokio::test]
async fn a_pause_outlives_a_restart_and_says_when_it_ends() {
    tls();
    let mut node = Daemon::init(&[]);
    node.serve(&[]).await;
    let said = node.text(&["pause", "--for", "1h"]);
    let end = said.trim().strip_prefix("Paused until ").unwrap_or_else(|| panic!("{said}")).to_owned();
    assert!(end.len() == "2026-03-01 14:05".len() && end.contains(':'), "{end}");
    assert!(!node.end("-KILL"));
    let client = node.serve(&[]).await;
    assert!(matches!(status(&client).await.work.halt, Some(Halt::Paused { until: Some(_) })));
    assert!(node.text(&["status"]).contains(&format!("Paused until {end}")));

    node.json(&["pause"]);
    assert!(node.end("-TERM"));
    let client = node.serve(&[]).await;
    assert_eq!(status(&client).await.work.halt, Some(Halt::Paused { until: None }));
    node.json(&["resume"]);
    assert!(node.end("-TERM"));
    let client = node.serve(&[]).await;
    assert_eq!(status(&client).await.work.halt, None);

    // One whose time passes while the node is away is over.
    node.json(&["pause", "--for", "1s"]);
    assert!(node.end("-TERM"));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let client = node.serve(&[]).await;
    assert_eq!(status(&client).await.work.halt, None);
}

/// The program that stands for the compute worker, and the folder in which its processes leave their ids.
fn chat_worker(models: &tempfile::TempDir) -> [String; 2] {
    let worker = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/chat_worker.py");
    [format!("workers.compute={}", worker.display()), format!("workers.models={}", models.path().display())]
}

fn live_workers(models: &tempfile::TempDir) -> Vec<String> {
    let ids = std::fs::read_dir(models.path()).unwrap().map(|id| id.unwrap().file_name());
    ids.map(|id| id.into_string().unwrap())
        .filter(|id| std::path::Path::new("/proc").join(id).exists())
        .collect()
}

#[tokio::test]
async fn outside_the_schedule_no_worker_runs_and_the_zero_is_explained() {
    tls();
    let models = tempfile::tempdir().unwrap();
    let worker = chat_worker(&models);
    let mut node = Daemon::init(&["--offer", "chat", "--set", &worker[0], "--set", &worker[1]]);
    // A day that is neither today nor beside it, wherever the clock stands.
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let since_monday =
        (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400 + 3)
            % 7;
    let other = days[(since_monday as usize + 3) % 7];
    let never = format!("limits.schedule=[{{ days = [\"{other}\"], from = \"00:00\", to = \"00:00\" }}]");
    let client = node.serve(&["--set", &never]).await;
    let now = status(&client).await;
    assert_eq!(now.work.halt, Some(Halt::Schedule));
    let compute = now.workers.iter().find(|worker| worker.name == "compute").unwrap();
    assert_eq!(compute.state, "stopped", "{compute:?}");
    let earnings = node.json(&["earnings"]);
    assert!(earnings["why_zero"].as_str().unwrap().contains("paused by the schedule"), "{earnings}");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(std::fs::read_dir(models.path()).unwrap().count(), 0, "no worker was ever started");

    // Inside of it the worker runs.
    assert!(node.end("-TERM"));
    let always = days.map(|day| format!("\"{day}\"")).join(",");
    let always = format!("limits.schedule=[{{ days = [{always}], from = \"00:00\", to = \"00:00\" }}]");
    let client = node.serve(&["--set", &always]).await;
    assert_eq!(status(&client).await.work.halt, None);
    until("the worker runs", async || live_workers(&models).len() == 1).await;
}

#[tokio::test]
async fn limits_reach_the_workers_and_are_shown() {
    tls();
    let models = tempfile::tempdir().unwrap();
    let worker = chat_worker(&models);
    let mut node = Daemon::init(&["--offer", "chat", "--set", &worker[0], "--set", &worker[1]]);
    let set = ["--set", "limits.cpu_threads=3", "--set", "limits.model_memory_mib=512"];
    node.serve(&set).await;
    until("the worker runs", async || live_workers(&models).len() == 1).await;
    let command = std::fs::read(format!("/proc/{}/cmdline", live_workers(&models)[0])).unwrap();
    let command = String::from_utf8(command).unwrap().replace('\0', " ");
    assert!(command.contains("--threads 3 ") && command.contains("--memory-mib 512 "), "{command}");

    let status = node.text(&["status"]);
    let row = status.lines().find(|line| line.starts_with("Limits ")).unwrap_or_else(|| panic!("{status}"));
    assert!(row.contains("upload no limit") && row.contains("3 threads at most"), "{row}");
    assert!(row.contains("512 MiB for models"), "{row}");
    assert!(status.lines().any(|line| line.starts_with("Disk ")), "{status}");
    let limits = node.text(&["limits", "--upload", "500000"]);
    assert!(limits.contains("500000 bytes/s") && limits.contains("3 threads at most"), "{limits}");
}

#[tokio::test]
async fn nobody_gets_the_token_of_a_node_that_was_killed() {
    tls();
    let mut node = Daemon::init(&[]);
    let client = node.serve(&[]).await;
    let address = client.owner().control.strip_prefix("http://").unwrap().to_owned();
    assert!(!node.end("-KILL"));
    assert!(node.data().join("owner.json").exists(), "a kill leaves the file");
    // Somebody else has the port now.
    let stranger = std::net::TcpListener::bind(&address).unwrap();
    stranger.set_nonblocking(true).unwrap();
    for command in [&["status"][..], &["wallet", "unlock"], &["stop"]] {
        let asked = std::time::Instant::now();
        let refusal = node.refusal(command);
        assert!(refusal.contains("no node is running"), "{command:?}: {refusal}");
        assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{command:?}: {:?}", asked.elapsed());
    }
    let called = stranger.accept();
    assert!(called.is_err(), "somebody called: {called:?}");
    drop(stranger);
    node.serve(&[]).await;
    node.json(&["stop"]);
}

#[tokio::test]
async fn a_stop_is_over_as_soon_as_the_node_is_dead() {
    tls();
    let mut node = Daemon::init(&[]);
    node.serve(&[]).await;
    // One that hangs: it does not answer, and does not end.
    let pid = node.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let asked = std::time::Instant::now();
    let data = node.data();
    let stopping = std::thread::spawn(move || {
        std::process::Command::new(env!("CARGO_BIN_EXE_thetis"))
            .args(["stop", "--data"])
            .arg(data)
            .output()
            .unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!node.end("-KILL"));
    let ended = stopping.join().unwrap();
    assert!(asked.elapsed() < std::time::Duration::from_secs(10), "{:?}: {ended:?}", asked.elapsed());
}

#[tokio::test]
async fn the_control_api_wants_its_token_and_no_foreign_names() {
    tls();
    let mut node = Daemon::init(&[]);
    let owner = node.serve(&[]).await.owner().clone();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |token: &str, header: (&str, &str)| {
        let url = format!("{}/api/status", owner.control);
        let request = http.get(url).bearer_auth(token).header(header.0, header.1);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&owner.token, ("accept", "*/*")).await, 200);
    assert_eq!(ask("wrong", ("accept", "*/*")).await, 401);
    assert_eq!(ask(&owner.token, ("host", "evil.example")).await, 403);
    assert_eq!(ask(&owner.token, ("origin", "https://evil.example")).await, 403);
}

#[tokio::test]
async fn changes_come_as_sections_that_differ() {
    use futures::StreamExt;
    tls();
    let mut node = Daemon::init(&[]);
    let client = node.serve(&[]).await;
    let owner = client.owner().clone();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let response =
        http.get(format!("{}/api/changes", owner.control)).bearer_auth(&owner.token).send().await.unwrap();
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    let mut read_until = async |what: &str| {
        while !text.contains(what) {
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
        std::mem::take(&mut text)
    };
    // The last section of the first picture.
    let first = read_until("event: workers\n").await;
    assert!(first.contains("event: node\n") && first.contains("event: work\n"), "{first}");
    node.json(&["pause"]);
    let change = read_until("\"reason\":\"paused\"").await;
    assert!(!change.contains("event: node\n"), "what did not change is not sent again: {change}");
}

#[tokio::test]
async fn the_gateway_knows_its_keys_and_says_honestly_that_nobody_is_there() {
    tls();
    let mut node = Daemon::init(&["--gateway"]);
    let client = node.serve(&[]).await;
    let key = node.json(&["gateway", "key", "create", "test", "--daily", "5"]);
    let gateway = status(&client).await.gateway.unwrap().url;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |bearer: &str| {
        let body = json!({ "model": "all-minilm-l6-v2", "input": "sea" });
        let answer = http
            .post(format!("{gateway}/v1/embeddings"))
            .bearer_auth(bearer)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status_code, answer) = ask(key["key"].as_str().unwrap()).await;
    assert_eq!((status_code, &answer["error"]["code"]), (503, &json!("no_provider")), "{answer}");
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("no provider has announced itself"),
        "{answer}"
    );

    let id = key["id"].as_str().unwrap();
    let listed = node.json(&["gateway", "key", "list"]);
    assert_eq!(listed[0]["daily_limit"], json!("5000000000000000000"));
    node.json(&["gateway", "key", "revoke", id]);
    assert_eq!(ask(key["key"].as_str().unwrap()).await.0, 401);
    assert!(
        node.refusal(&["gateway", "key", "revoke", "srvacc_0000000000000000000000000"])
            .contains("no such key")
    );
    drop::<ControlClient>(client);
}
