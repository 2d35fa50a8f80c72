//! A disk without room: the chain says so and stops, and goes on when there is room again.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod local_chain;

use std::path::Path;
use std::process::Command;

use local_chain::{faucet, payment, somebody, start, wait_for};
use theta_consensus::{ChainEvent, verify};
use theta_types::ChainRules;

const FOLDER: &str = "THETIS_FULL_DISK_FOLDER";

/// Runs in the child process only: a chain under load until it stops by itself.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chain = start(Path::new(&folder), 15);
        let mut events = chain.events();
        let mut sequence = 0;
        while chain.stopped().is_none() {
            for _ in 0..50 {
                sequence += 1;
                let to = somebody((sequence % 200) as u8 + 10);
                let _ = chain.submit_transaction(payment(sequence, &to, 1)).await;
            }
            // A lagging or closed channel is no reason to stop: only the chain itself is.
            match tokio::time::timeout(std::time::Duration::from_millis(200), events.recv()).await {
                Ok(Ok(ChainEvent::Finalized { .. })) | Ok(Err(_)) | Err(_) => {}
            }
            if let Some(account) = chain.account_preview(&faucet().address()).await.ok().flatten() {
                sequence = account.sequence;
            }
        }
        println!("\nstopped: {}", chain.stopped().unwrap());
    });
}

#[test]
fn it_stops_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    // A limit on the size of files stands for the full disk: 4,000 blocks of 512 bytes. The signal that it sends is ignored, as no disk sends one.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" child --exact --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stdout);
    let reason =
        said.lines().find_map(|line| line.strip_prefix("stopped: ")).unwrap_or_else(|| panic!("{said}"));
    println!("it stopped: {reason}");

    let report = verify(folder.path(), &ChainRules::local(), None, |_| {}).unwrap();
    assert!(report.final_height.0 > 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chain = start(folder.path(), 15);
        wait_for(&chain, report.final_height.0 + 5).await;
        chain.shutdown().await;
    });
}
