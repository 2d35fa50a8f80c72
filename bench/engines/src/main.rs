//! Measures the engines that could keep the chain: `engines GENESIS` prints a table, with `GENESIS` the path of mainnet-genesis.gz.
//!
//! Run it from this folder: `cargo run --release -- ../../../shared/data/mainnet-genesis.gz`. Building RocksDB wants a C++ compiler and
//! libclang. Times are medians.
//!
//! Import: all trie nodes of the main network's genesis in one durable batch. Block: 10,000 accounts changed in that state, new nodes in one
//! durable batch. Small block: 60 nodes. Read: nodes in random order. Crash: SIGKILL while small blocks are committed.

mod crash;
mod engine;

use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Error, NAMES, Pair, open};
use theta_state::{Genesis, Trie};
use theta_types::keccak256;

const IMPORTS: usize = 3;
const BLOCKS: usize = 7;
const ACCOUNTS: usize = 10_000;
const SMALL_BLOCKS: u64 = 200;
const READS: usize = 20_000;
const KILLS: u64 = 20;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", name, folder] => crash::child(name, Path::new(folder)),
        [genesis] => table(Path::new(genesis)),
        _ => Err("usage: engines PATH/mainnet-genesis.gz".into()),
    }
}

fn table(genesis: &Path) -> Result<(), Error> {
    let genesis = Genesis::read(std::fs::File::open(genesis)?)?;
    let import = genesis.state().unsaved_nodes();
    let blocks = changed_blocks(genesis.state().clone())?;
    let import: Vec<Pair> = import.into_iter().map(|(hash, node)| (hash.to_vec(), node)).collect();
    let bytes: usize = import.iter().map(|(key, value)| key.len() + value.len()).sum();
    println!("import: {} nodes, {:.1} MB; block: {} nodes", import.len(), mega(bytes as u64), blocks[0].len());
    println!("| engine | import ms | 10,000-account block ms | small block ms | small block p99 ms | read µs | disk MB | open after kill ms |");
    println!("|---|---|---|---|---|---|---|---|");
    for name in NAMES {
        let mut import_times = Vec::new();
        for _ in 1..IMPORTS {
            let folder = tempfile::tempdir()?;
            let mut engine = open(name, folder.path())?;
            import_times.push(timed(|| engine.commit(&import))?);
        }
        let folder = tempfile::tempdir()?;
        let mut engine = open(name, folder.path())?;
        import_times.push(timed(|| engine.commit(&import))?);
        let mut block_times = Vec::new();
        for block in &blocks {
            block_times.push(timed(|| engine.commit(block))?);
        }
        let mut small = Vec::new();
        for number in 1..=SMALL_BLOCKS {
            let block = crash::block(number);
            small.push(timed(|| engine.commit(&block))?);
        }
        drop(engine);
        let disk = size_of(folder.path())?;
        let engine = open(name, folder.path())?;
        let reads = timed(|| {
            for read in 0..READS {
                let draw = keccak256(read.to_be_bytes());
                let at = u64::from_be_bytes(draw[..8].try_into()?) as usize % import.len();
                if engine.get(&import[at].0)?.as_ref() != Some(&import[at].1) {
                    return Err("a node is lost".into());
                }
            }
            Ok(())
        })?;
        drop(engine);
        let reopened = crash::kill(name, folder.path(), KILLS)?;
        println!(
            "| {name} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} |",
            millis(part(&mut import_times, 50)),
            millis(part(&mut block_times, 50)),
            millis(part(&mut small, 50)),
            millis(part(&mut small, 99)),
            reads.as_secs_f64() * 1e6 / READS as f64,
            mega(disk),
            millis(reopened),
        );
    }
    Ok(())
}

/// The new nodes of some blocks, each of which changes many accounts of the state before it.
fn changed_blocks(mut state: Trie) -> Result<Vec<Vec<Pair>>, Error> {
    state.mark_saved();
    let accounts: Vec<_> = state.entries(b"ls/a/").collect::<Result<_, _>>()?;
    let mut blocks = Vec::new();
    for block in 0..BLOCKS {
        for change in 0..ACCOUNTS {
            let draw = keccak256([block.to_be_bytes(), change.to_be_bytes()].concat());
            let (key, value) = &accounts[u64::from_be_bytes(draw[..8].try_into()?) as usize % accounts.len()];
            let mut value = value.to_vec();
            let last = value.len() - 70;
            value[last] ^= draw[8] | 1;
            state.insert(key, value)?;
        }
        blocks.push(state.unsaved_nodes().into_iter().map(|(hash, node)| (hash.to_vec(), node)).collect());
        state.mark_saved();
    }
    Ok(blocks)
}

fn timed(run: impl FnOnce() -> Result<(), Error>) -> Result<Duration, Error> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

/// The time that so many of a hundred stay within.
fn part(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn size_of(folder: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
