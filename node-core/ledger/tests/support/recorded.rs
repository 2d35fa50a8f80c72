//! Chains that were recorded from networks of reference nodes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use theta_ledger::{StateChanges, StateView};
use theta_state::{Genesis, Trie};
use theta_types::{Block, BlockHash, ChainRules, Height, ValidatorSet};

/// A block as it was recorded.
pub struct RecordedBlock {
    pub block: Block,
    pub hash: BlockHash,
    /// Against the parent's state, by the reference's own roots.
    pub changes: StateChanges,
}

/// A transaction that a reference node refused.
#[derive(Deserialize)]
pub struct RecordedRefusal {
    pub height: u64,
    pub tx: String,
    pub error: String,
    pub kind: String,
}

impl RecordedRefusal {
    pub fn raw(&self) -> Vec<u8> {
        bytes(&self.tx)
    }

    /// The words, without the RPC's number before them.
    pub fn words(&self) -> &str {
        self.error.strip_prefix("-32000 ").unwrap()
    }
}

/// The folder of a chain that is part of the repository.
pub fn folder(chain: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chains").join(chain)
}

/// The folder of a chain that is too large for the repository. `None`, and a word about it, where it is missing.
pub fn shared_folder(chain: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/chains").join(chain);
    if folder.exists() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "missing: {}", folder.display());
    println!("skipped: {} is not there", folder.display());
    None
}

pub fn rules(folder: &Path, chain_id: &str) -> ChainRules {
    ChainRules::from_forks_json(chain_id, &std::fs::read_to_string(folder.join("forks.json")).unwrap())
        .unwrap()
}

pub fn blocks(folder: &Path, rules: &ChainRules) -> impl Iterator<Item = RecordedBlock> + use<> {
    #[derive(Deserialize)]
    struct Line {
        hash: String,
        block: String,
        state_changes: HashMap<String, Option<String>>,
    }

    let forks = rules.forks;
    lines(&folder.join("chain.jsonl.gz")).map(move |line| {
        let line: Line = serde_json::from_str(&line).unwrap();
        let changes = line.state_changes.iter().map(|(key, value)| (bytes(key), value.as_deref().map(bytes)));
        RecordedBlock {
            block: Block::from_rlp(&bytes(&line.block), &forks).unwrap(),
            hash: line.hash.parse().unwrap(),
            changes: changes.collect(),
        }
    })
}

pub fn refusals(folder: &Path) -> Vec<RecordedRefusal> {
    lines(&folder.join("rejects.jsonl.gz")).map(|line| serde_json::from_str(&line).unwrap()).collect()
}

/// The state in a chain's genesis file.
pub fn genesis_state(folder: &Path) -> Trie {
    let file = std::fs::File::open(folder.join("genesis.gz")).unwrap();
    Genesis::read(file).unwrap().state().clone()
}

/// Finds validator sets: those that may follow a block are the candidates in the post-state of the block that it commits (spec 02
/// section 4.8).
#[derive(Default)]
pub struct Validators {
    sets: HashMap<BlockHash, ValidatorSet>,
    commits: HashMap<BlockHash, BlockHash>,
}

impl Validators {
    /// Takes note of a block and its post-state.
    pub fn note(&mut self, recorded: &RecordedBlock, state: &Trie) {
        let view = StateView::new(state, Height(0));
        let pool = view.validator_candidates().unwrap().unwrap();
        self.sets.insert(recorded.hash, ValidatorSet::select(&pool));
        let commit = recorded.block.header.hcc.block_hash;
        self.commits.insert(recorded.hash, if commit.is_zero() { recorded.hash } else { commit });
    }

    /// The validators of the block after `parent`.
    pub fn after(&self, parent: &BlockHash) -> &ValidatorSet {
        &self.sets[&self.commits[parent]]
    }
}

pub fn apply(state: &mut Trie, changes: &StateChanges) {
    for (key, value) in changes {
        match value {
            Some(value) => state.insert(key, value.as_slice()).unwrap(),
            None => state.remove(key).unwrap(),
        }
    }
}

fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    let file = std::fs::File::open(path).unwrap();
    BufReader::new(GzDecoder::new(file)).lines().map(|line| line.unwrap())
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.strip_prefix("0x").unwrap()).unwrap()
}
