//! A process that commits small blocks is killed; how long does the next start take, and is every block whole?

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::{Error, Pair, open};

const NODES_PER_BLOCK: u64 = 60;

/// Pairs of block `number`: new ones, and one that says the number.
pub fn block(number: u64) -> Vec<Pair> {
    let node = |index: u64| {
        let key = theta_types::keccak256([number.to_be_bytes(), index.to_be_bytes()].concat());
        (key.to_vec(), key.repeat(8))
    };
    let mut pairs: Vec<_> = (0..NODES_PER_BLOCK).map(node).collect();
    pairs.push((b"last".to_vec(), number.to_be_bytes().to_vec()));
    pairs
}

/// Commits blocks for ever, and says so of each after it is durable.
pub fn child(name: &str, folder: &Path) -> Result<(), Error> {
    let mut engine = open(name, folder)?;
    let mut number = last(&*engine)?;
    let mut out = std::io::stdout();
    loop {
        number += 1;
        engine.commit(&block(number))?;
        writeln!(out, "{number}")?;
    }
}

fn last(engine: &dyn crate::engine::Engine) -> Result<u64, Error> {
    match engine.get(b"last")? {
        Some(bytes) => Ok(u64::from_be_bytes(bytes.as_slice().try_into()?)),
        None => Ok(0),
    }
}

/// Kills the child so many times. Gives the longest time to open, after checking that nothing that was said durable is lost and that no
/// block is there in part.
pub fn kill(name: &str, folder: &Path, times: u64) -> Result<Duration, Error> {
    let mut longest = Duration::ZERO;
    for time in 0..times {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["child", name])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut said = 0u64;
        if let Some(line) = lines.next() {
            said = line?.parse()?;
        }
        let draw = theta_types::keccak256(time.to_be_bytes());
        std::thread::sleep(Duration::from_millis(u64::from(draw[0])));
        child.kill()?;
        child.wait()?;
        for line in lines.map_while(Result::ok) {
            said = line.parse().unwrap_or(said);
        }
        let start = Instant::now();
        let engine = open(name, folder)?;
        let found = last(&*engine)?;
        longest = longest.max(start.elapsed());
        if found < said {
            return Err(format!("{name} lost block {said}, it has {found}").into());
        }
        for (number, whole) in [(found, true), (found + 1, false)] {
            for (key, value) in &block(number)[..NODES_PER_BLOCK as usize] {
                if engine.get(key)?.as_ref() != whole.then_some(value) {
                    return Err(format!("{name} has block {number} in part").into());
                }
            }
        }
    }
    Ok(longest)
}
