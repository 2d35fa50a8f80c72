//! SIGKILL at any moment: the chain goes on from what it had made final, and everything stored is in order.
#![allow(clippy::unwrap_used, clippy::panic)]

mod local_chain;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use local_chain::{faucet, network, payment, somebody, start, validator, wait_for};
use theta_consensus::{DATABASE, Engine, Input, Now, verify};
use theta_ledger::MempoolLimits;
use theta_state::ChainDb;
use theta_types::{ChainRules, Height, keccak256};

const FOLDER: &str = "THETIS_CRASH_FOLDER";
/// How often the child is killed; more for a long check.
const KILLS: &str = "THETIS_CRASH_KILLS";
const SEED: &str = "THETIS_CRASH_SEED";
/// After so many kills a new chain begins, so that checking each from genesis stays short.
const KILLS_PER_CHAIN: u64 = 10;

/// Runs in the child process only: a validator under load in a time of its own, that goes as fast as the disk lets it. It says when it
/// begins a step, and when the step is durable and what became final by it.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let db = ChainDb::open(Path::new(&folder).join(DATABASE)).unwrap();
    let (network, genesis) = network(1_000);
    let start = Instant::now();
    let now = |instant| Now { instant, unix_seconds: 1_800_000_000 };
    let limits = MempoolLimits::default();
    let mut engine =
        Engine::open(db, network, || Ok(genesis), Some(validator()), limits, now(start)).unwrap();
    println!();
    loop {
        let time = now(engine.next_deadline());
        let mut sequence = engine.preview(&faucet().address()).unwrap().unwrap().sequence;
        for _ in 0..5 {
            sequence += 1;
            engine.submit(payment(sequence, &somebody((sequence % 50) as u8 + 10), 1), time).unwrap();
        }
        println!("write");
        let output = engine.handle(Input::Time, time).unwrap();
        println!("commit");
        for (height, hash) in output.finalized {
            println!("final {height} {hash}");
        }
    }
}

#[derive(Debug, Default)]
struct Said {
    last_final: Option<(Height, String)>,
    killed_while_writing: bool,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["write"] => self.killed_while_writing = true,
            ["commit"] => self.killed_while_writing = false,
            // The last line may be cut; a whole hash is 66 characters.
            ["final", height, hash] if hash.len() == 66 => {
                self.last_final = Some((Height(height.parse().unwrap()), hash.to_owned()));
            }
            _ => {}
        }
    }
}

/// Lets the child run for a while after its first step, kills it, and gives what it had said.
fn run_and_kill(folder: &Path, after: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Said::default();
    while !said.killed_while_writing {
        said.hear(&lines.next().expect("the child starts").unwrap());
    }
    // Read on, or the pipe would fill up and the child wait.
    let reader = std::thread::spawn(move || {
        lines.map_while(Result::ok).for_each(|line| said.hear(&line));
        said
    });
    std::thread::sleep(after);
    // SIGKILL on Unix.
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn a_killed_chain_goes_on_from_what_was_final() {
    let kills: u64 = std::env::var(KILLS).map_or(10, |kills| kills.parse().unwrap());
    let seed: u64 = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    println!("{kills} kills with seed {seed}");
    let (mut between, mut blocks, mut transactions) = (0, 0, 0);
    for generation in 0..kills.div_ceil(KILLS_PER_CHAIN) {
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let mut before = Height(0);
        for kill in generation * KILLS_PER_CHAIN..kills.min((generation + 1) * KILLS_PER_CHAIN) {
            let draw = keccak256([seed.to_be_bytes(), kill.to_be_bytes()].concat());
            let after = Duration::from_micros(u64::from_be_bytes(draw[..8].try_into().unwrap()) % 150_000);
            let said = run_and_kill(folder.path(), after);
            between += u64::from(said.killed_while_writing);
            let report = verify(folder.path(), &ChainRules::local(), None, |_| {})
                .unwrap_or_else(|error| panic!("after kill {kill}: {error}"));
            let last_told = said.last_final.as_ref().map_or(before, |(height, _)| *height);
            assert!(report.final_height >= last_told.max(before), "kill {kill}: a final block is gone");
            before = report.final_height;
            told.extend(said.last_final);
            (blocks, transactions) = (blocks.max(report.blocks), transactions.max(report.transactions));
        }
        goes_on(folder.path(), before, &told);
    }
    println!(
        "{between} of {kills} kills fell between write and commit; up to {blocks} blocks, {transactions} transactions"
    );
    assert!(kills < 100 || between * 4 >= kills, "too few kills while something was written");
}

/// Everything that was ever told is still there, and the chain gets longer.
fn goes_on(folder: &Path, from: Height, told: &[(Height, String)]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chain = start(folder, 15);
        for (height, hash) in told {
            assert_eq!(chain.block_at(*height).unwrap().unwrap().hash.to_string(), *hash);
        }
        wait_for(&chain, from.0 + 3).await;
        chain.shutdown().await;
    });
}
