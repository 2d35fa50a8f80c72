//! SIGKILL at any moment: the chain goes on from what it had made final, and everything stored is in order.
#![allow(clippy::unwrap_used, clippy::panic)]

mod local_chain;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use local_chain::{faucet, payment, somebody, start, wait_for};
use theta_consensus::{ChainEvent, verify};
use theta_types::{ChainRules, Height, keccak256};

const FOLDER: &str = "THETIS_CRASH_FOLDER";
/// How often the child is killed; more for a long check.
const KILLS: &str = "THETIS_CRASH_KILLS";
const SEED: &str = "THETIS_CRASH_SEED";

/// Runs in the child process only: a chain under load that says what has become final, until it is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chain = start(Path::new(&folder), 15);
        let mut events = chain.events();
        println!("\nfinal {} {}", chain.status().final_height, chain.status().final_hash);
        let mut sequence = chain.account(&faucet().address()).unwrap().unwrap().sequence;
        loop {
            // What waited before the crash is forgotten, and what was in blocks that are not final counts already: find the next one.
            if let Some(account) = chain.account_preview(&faucet().address()).await.unwrap() {
                sequence = sequence.max(account.sequence);
            }
            for _ in 0..5 {
                sequence += 1;
                let _ = chain
                    .submit_transaction(payment(sequence, &somebody((sequence % 50) as u8 + 10), 1))
                    .await;
            }
            let ChainEvent::Finalized { height, hash } = events.recv().await.unwrap();
            println!("\nfinal {height} {hash}");
        }
    });
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the child run for a while after its first word, kills it, and gives the last that it said.
fn run_and_kill(folder: &Path, after: Duration) -> (Height, String) {
    let mut child = spawn(folder);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let read = |line: &str| {
        let mut words = line.strip_prefix("final ")?.split(' ').map(str::to_owned);
        Some((Height(words.next()?.parse().ok()?), words.next()?))
    };
    while last.is_none() {
        let line = lines.next().expect("the child starts").unwrap();
        last = read(&line);
    }
    std::thread::sleep(after);
    // SIGKILL on Unix.
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        // The last line may be cut; a whole hash is 66 characters.
        last = read(&line).filter(|(_, hash)| hash.len() == 66).or(last);
    }
    last.unwrap()
}

#[test]
fn a_killed_chain_goes_on_from_what_was_final() {
    let kills: u64 = std::env::var(KILLS).map_or(10, |kills| kills.parse().unwrap());
    let seed: u64 = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    println!("{kills} kills with seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    let mut between = 0;
    for kill in 0..kills {
        let draw = keccak256([seed.to_be_bytes(), kill.to_be_bytes()].concat());
        let after = Duration::from_micros(u64::from_be_bytes(draw[..8].try_into().unwrap()) % 250_000);
        let before = verify_after(folder.path(), kill);
        let (height, hash) = run_and_kill(folder.path(), after);
        assert!(before.is_none_or(|before| height >= before), "kill {kill}: the final height went back");
        told.push((height, hash));
        between += u64::from(before.is_none_or(|before| height > before));
    }
    let report = verify(folder.path(), &ChainRules::local(), None, |_| {}).unwrap();
    assert!(report.final_height >= told.last().unwrap().0);
    println!(
        "{between} of {kills} runs made blocks final; {} blocks, {} transactions",
        report.blocks, report.transactions
    );

    // Everything that was ever told is still there, and the chain goes on.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chain = start(folder.path(), 15);
        for (height, hash) in &told {
            assert_eq!(chain.block_at(*height).unwrap().unwrap().hash.to_string(), *hash);
        }
        wait_for(&chain, report.final_height.0 + 3).await;
        chain.shutdown().await;
    });
}

/// The final height of what the killed process left, all of it checked.
fn verify_after(folder: &Path, kill: u64) -> Option<Height> {
    if kill == 0 {
        return None;
    }
    match verify(folder, &ChainRules::local(), None, |_| {}) {
        Ok(report) => Some(report.final_height),
        Err(error) => panic!("after kill {kill}: {error}"),
    }
}
