//! Vectors and recorded chains for tests.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The vectors of one kind in `state.json`.
pub(crate) fn vectors(kind: &str) -> Vec<Value> {
    let file = std::fs::read(checkout().join("testdata/vectors/state.json")).unwrap();
    let all: Vec<Value> = serde_json::from_slice(&file).unwrap();
    all.into_iter().filter(|vector| vector["kind"] == kind).collect()
}

/// A file of a recorded chain. The large ones are not in the repository: without them a test is skipped by name, except in CI.
pub(crate) fn chain_file(chain: &str, name: &str) -> Option<Vec<u8>> {
    let places = ["testdata/chains", "../shared/data/chains"]
        .map(|place| checkout().join(place).join(chain).join(name));
    let found = places.iter().find_map(|path| std::fs::read(path).ok());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{chain}/{name} is missing");
        eprintln!("skipped: {chain}/{name} is not here");
    }
    found
}

pub(crate) fn unpacked(file: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(file).read_to_end(&mut plain).unwrap();
    plain
}

/// The lines of a recorded chain, one a block.
pub(crate) fn recorded_blocks(chain: &str) -> Option<Vec<Value>> {
    let lines = unpacked(&chain_file(chain, "chain.jsonl.gz")?);
    Some(
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect(),
    )
}
