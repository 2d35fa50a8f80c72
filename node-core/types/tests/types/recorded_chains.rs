//! Blocks of recorded chains of the reference: read, written back, hashed, and every signature checked.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use theta_types::*;

#[derive(Default)]
struct Seen {
    blocks: usize,
    transactions: usize,
    others: usize,
    trailing: usize,
    votes: usize,
    guardian_votes: usize,
    edge_node_votes: usize,
}

#[test]
fn the_payment_chain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/chains/money");
    let seen = read_chain(&folder, "privatenet");
    assert_eq!(seen.blocks, 80);
    assert_eq!(seen.others + seen.trailing, 0, "only kinds that this version knows, as it writes them");
    assert!(seen.transactions > 80 && seen.votes > 200);
}

#[test]
fn the_chain_with_staggered_forks() {
    if let Some(folder) = recorded("staggered") {
        let seen = read_chain(&folder, "testnet");
        assert_eq!(seen.blocks, 657);
        assert!(seen.guardian_votes > 0 && seen.edge_node_votes > 0);
        assert!(seen.transactions > 500 && seen.others > 500 && seen.trailing > 0);
    }
}

/// A folder of recordings that are too large for the repository.
fn recorded(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/chains").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    println!("skipped: the recorded chain {name} is not here");
    None
}

fn read_chain(folder: &Path, chain_id: &str) -> Seen {
    let forks = std::fs::read_to_string(folder.join("forks.json")).unwrap();
    let rules = ChainRules::from_forks_json(chain_id, &forks).unwrap();
    let lines = BufReader::new(GzDecoder::new(File::open(folder.join("chain.jsonl.gz")).unwrap())).lines();
    let mut seen = Seen::default();
    let mut parent = BlockHash::ZERO;
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let block = read_block(&line, &rules);
        if block.header.height > Height(0) {
            assert_eq!(block.header.parent, parent);
            block.header.validate(chain_id).unwrap();
            check_votes(&block, &mut seen);
            for raw in &block.transactions {
                check_transaction(raw, &block, &rules, &mut seen);
            }
        }
        parent = block.hash();
        seen.blocks += 1;
        seen.guardian_votes += usize::from(block.header.guardian_votes.is_some());
        seen.edge_node_votes += usize::from(block.header.edge_node_votes.is_some());
    }
    seen
}

fn read_block(line: &Value, rules: &ChainRules) -> Block {
    let raw = hex::decode(line["block"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    let block = Block::from_rlp(&raw, &rules.forks).unwrap();
    assert_eq!(block.to_rlp(), raw);
    assert_eq!(block.header.height, Height(line["height"].as_u64().unwrap()));
    assert_eq!(block.hash(), line["hash"].as_str().unwrap().parse().unwrap());
    block
}

fn check_votes(block: &Block, seen: &mut Seen) {
    for vote in block.header.hcc.votes.iter() {
        assert!(vote.is_valid());
        assert_eq!(vote.block, block.header.hcc.block_hash);
        seen.votes += 1;
    }
}

fn check_transaction(raw: &[u8], block: &Block, rules: &ChainRules, seen: &mut Seen) {
    let tx = match Transaction::decode(raw) {
        Ok(tx) => tx,
        Err(TxError::Unsupported(_)) => {
            seen.others += 1;
            return;
        }
        Err(error) => panic!("{error}"),
    };
    seen.transactions += 1;
    // The driver of the recording put bytes behind some bodies: they are ignored, but hashed.
    assert!(raw.starts_with(&tx.encode()));
    seen.trailing += usize::from(tx.hash() != Transaction::hash_of_raw(raw));
    let chain = rules.chain_id.as_str();
    let signed = |input: &TxInput, sign_bytes: &dyn Fn(SignWrapper) -> Vec<u8>| {
        assert!(signature_accepted(
            &input.signature,
            &input.address,
            block.header.height,
            &rules.forks,
            sign_bytes
        ));
    };
    match &tx {
        Transaction::Coinbase(tx) => {
            assert_eq!(tx.block_height.next(), block.header.height);
            assert!(tx.proposer.signature.verify(&tx.sign_bytes(chain), &tx.proposer.address));
        }
        Transaction::Send(tx) => {
            for input in &tx.inputs {
                signed(input, &|wrapper| tx.sign_bytes(chain, wrapper));
            }
        }
        Transaction::ReserveFund(tx) => signed(&tx.source, &|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::ReleaseFund(tx) => signed(&tx.source, &|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::SplitRule(tx) => signed(&tx.initiator, &|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::ServicePayment(tx) => {
            assert!(tx.source.signature.verify(&tx.source_sign_bytes(chain), &tx.source.address));
            assert!(tx.target.signature.verify(&tx.target_sign_bytes(chain), &tx.target.address));
        }
    }
}
