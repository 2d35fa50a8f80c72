//! Commands that only need files, and those that must say what is not there.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{path::PathBuf, process::Command, sync::Arc};

use serde_json::Value;
use support::{Daemon, status, tls, until};
use theta_consensus::{Chain, ChainConfig, GenesisSource, local_network};
use theta_ledger::MempoolLimits;
use theta_rpc::{BuildInfo, ServerLimits, ThetaService};
use theta_types::SecretKey;
use tokio_util::sync::CancellationToken;

const SOMEBODY: &str = "0x2E833968E5bB786Ae419c4d13189fB081Cc43bab";

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn inspect(flags: &[&str]) -> String {
    let file = testdata("privatenet-eth-genesis.gz");
    let output = Command::new(env!("CARGO_BIN_EXE_thetis"))
        .args(["genesis", "inspect"])
        .arg(file)
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What an independent decoder found in the file.
fn expected() -> Value {
    let vectors: Value =
        serde_json::from_slice(&std::fs::read(testdata("vectors/genesis.json")).unwrap()).unwrap();
    let files = vectors["files"].as_array().unwrap();
    files.iter().find(|file| file["data_file"] == "privatenet-eth-genesis.gz").unwrap().clone()
}

#[test]
fn a_genesis_file_is_shown_as_an_independent_decoder_sees_it() {
    let expected = expected();
    let shown: Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    for (name, theirs) in [
        ("chain_id", "chain_id"),
        ("hash", "block_hash"),
        ("state_root", "computed_state_root"),
        ("accounts", "accounts"),
        ("staked", "sum_theta_wei_staked"),
    ] {
        assert_eq!(shown[name], expected[theirs], "{name}");
    }
    assert_eq!(shown["balances"]["tfuelwei"], expected["sum_tfuel_wei_accounts"]);
    assert_eq!(shown["balances"]["thetawei"], expected["sum_theta_wei_accounts"]);
    let (validators, candidates) =
        (shown["validators"].as_array().unwrap(), expected["candidates"].as_array().unwrap());
    assert_eq!(validators.len(), candidates.len());
    for (validator, candidate) in validators.iter().zip(candidates) {
        assert_eq!(validator["stake"], candidate["total_stake_wei"]);
        let lower = |value: &Value| value.as_str().unwrap().to_lowercase();
        assert_eq!(lower(&validator["holder"]), lower(&candidate["holder"]));
    }

    let text = inspect(&[]);
    for part in ["chain_id", "block_hash", "computed_state_root"] {
        assert!(text.contains(expected[part].as_str().unwrap()), "{part}: {text}");
    }
    assert!(text.contains(&format!("Validators  {}", candidates.len())), "{text}");
    for candidate in candidates {
        assert!(text.contains(candidate["holder"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn a_damaged_genesis_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(testdata("privatenet-eth-genesis.gz")).unwrap();
    bytes.truncate(bytes.len() / 2);
    let file = folder.path().join("genesis.gz");
    std::fs::write(&file, bytes).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_thetis")).args(["genesis", "inspect"]).arg(&file).output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("is not a valid genesis file"), "{error}");
}

#[tokio::test]
async fn one_flipped_byte_of_a_stored_block_fails_the_verification() {
    tls();
    let mut node = Daemon::init(&["--set", "chain.block_interval_ms=100"]);
    let client = node.serve(&[]).await;
    // Something that stands in the database and nowhere else.
    let own = status(&client).await.wallet.address.to_string();
    node.json(&["faucet", &own, "--amount", "50"]);
    node.json(&["wallet", "send", SOMEBODY, "--tfuel", "1", "--request", "rent"]);
    until("the payment is final", async || {
        let balance = status(&client).await.wallet.balance;
        balance.is_some_and(|coins| coins.tfuel == "48700000000000000000".parse().unwrap())
    })
    .await;
    assert!(node.end("-TERM"));
    node.json(&["chain", "verify"]);

    let file = node.data().join("chain/chain.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // The receiver's address in the stored transaction.
    let receiver = hex::decode(&SOMEBODY[2..]).unwrap();
    let places: Vec<usize> =
        bytes.windows(20).enumerate().filter(|(_, part)| *part == receiver).map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the payment is in the database");
    let mut found = 0;
    for place in &places {
        bytes[*place] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let output = node.command(&["chain", "verify"]);
        // Pages that the database has freed may hold old copies, which nobody reads.
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains("is not in order"), "{error}");
            found += 1;
        }
        bytes[*place] ^= 1;
    }
    assert!(found > 0, "none of {} flipped bytes was found out", places.len());
    std::fs::write(&file, &bytes).unwrap();
    node.json(&["chain", "verify"]);
}

#[tokio::test]
async fn a_network_without_a_faucet_is_said_so_in_words() {
    tls();
    let folder = tempfile::tempdir().unwrap();
    let key = |byte| SecretKey::from_bytes(&[byte; 32]).unwrap();
    let (network, genesis) = local_network(key(1).address(), key(2).address()).unwrap();
    let chain = Chain::start(ChainConfig {
        data_dir: folder.path().to_path_buf(),
        network,
        genesis: GenesisSource::Made(Box::new(genesis)),
        validator: None,
        mempool: MempoolLimits::default(),
    })
    .unwrap();
    let info = BuildInfo { version: "0".into(), git_hash: String::new(), timestamp: String::new() };
    let service = Arc::new(ThetaService::new(Arc::new(chain.clone()), info));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(theta_rpc::serve(listener, service, ServerLimits::default(), stop.clone()));

    let asking = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_thetis")).args(["faucet", SOMEBODY, "--rpc", &url]).output().unwrap()
    });
    let output = asking.await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("this network has no faucet"), "{error}");
    stop.cancel();
    let _ = serving.await;
    chain.shutdown().await;
}
