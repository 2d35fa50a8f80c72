//! The genesis files of the reference's networks against `testdata/vectors/genesis.json`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use theta_state::{Genesis, GenesisError, Trie};
use theta_types::{Account, B256, BlockHash, Decode, Encode, keccak256};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn vector(name: &str) -> Value {
    let file = std::fs::read(checkout().join("testdata/vectors/genesis.json")).unwrap();
    let all: Value = serde_json::from_slice(&file).unwrap();
    all["files"].as_array().unwrap().iter().find(|vector| vector["data_file"] == name).unwrap().clone()
}

/// The unpacked file. The large ones are not in the repository: without them a test is skipped by name, except in CI.
fn plain(name: &str) -> Option<Vec<u8>> {
    let places = [checkout().join("testdata").join(name), checkout().join("../shared/data").join(name)];
    let Some(packed) = places.iter().find_map(|path| std::fs::read(path).ok()) else {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing");
        eprintln!("skipped: {name} is not here");
        return None;
    };
    let mut plain = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
    Some(plain)
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(vector, field).trim_start_matches("0x")).unwrap()
}

/// What section 8.3 of spec 05 asks for.
fn check(name: &str) {
    let Some(file) = plain(name) else { return };
    let vector = vector(name);
    let genesis = Genesis::read(&file[..]).unwrap();

    assert_eq!(genesis.header().to_rlp(), bytes(&vector, "header_rlp"));
    let hash: BlockHash = text(&vector, "block_hash").parse().unwrap();
    genesis.require(hash).unwrap();
    assert_eq!(genesis.state().root(), text(&vector, "header_state_root").parse::<B256>().unwrap());

    let summary = genesis.summary().unwrap();
    assert_eq!(summary.chain_id, text(&vector, "chain_id"));
    assert_eq!(summary.timestamp, vector["timestamp"].as_u64());
    assert_eq!(Some(summary.entries), vector["trie_leaves"].as_u64());
    assert_eq!(Some(summary.accounts), vector["accounts"].as_u64());
    assert_eq!(summary.balances.theta.to_string(), text(&vector, "sum_theta_wei_accounts"));
    assert_eq!(summary.balances.tfuel.to_string(), text(&vector, "sum_tfuel_wei_accounts"));
    assert_eq!(summary.staked.to_string(), text(&vector, "sum_theta_wei_staked"));
    let candidates = vector["candidates"].as_array().unwrap();
    assert_eq!(summary.validators.len(), candidates.len());
    for (found, wanted) in summary.validators.iter().zip(candidates) {
        assert_eq!(found.holder.to_string(), text(wanted, "holder"));
        assert_eq!(found.stake.to_string(), text(wanted, "total_stake_wei"));
    }

    assert_eq!(genesis.state().get(b"ls/vcp").unwrap().unwrap().to_vec(), bytes(&vector, "raw_ls_vcp"));
    assert_eq!(genesis.state().get(b"ls/sthl").unwrap().unwrap().to_vec(), bytes(&vector, "raw_ls_sthl"));
    for sample in vector["sample_accounts"].as_array().unwrap() {
        let value = genesis.state().get(&bytes(sample, "trie_key")).unwrap().unwrap();
        assert_eq!(value.to_vec(), bytes(sample, "trie_value"));
    }
    for entry in genesis.state().entries(b"ls/a/") {
        let (_, value) = entry.unwrap();
        assert_eq!(Account::from_rlp(&value).unwrap().to_rlp(), value.to_vec());
    }

    let proof = genesis.state().prove(b"ls/vcp").unwrap();
    let wanted = vector["proof_of_ls_vcp"].as_array().unwrap();
    assert_eq!(proof.nodes.len(), wanted.len());
    for (found, wanted) in proof.nodes.iter().zip(wanted) {
        assert_eq!(*found, bytes(wanted, "node_rlp"));
        assert_eq!(keccak256(found).to_vec(), bytes(wanted, "node_hash"));
    }
    let proven = proof.verify(genesis.state().root(), b"ls/vcp").unwrap().unwrap();
    assert_eq!(proven.to_vec(), bytes(&vector, "raw_ls_vcp"));

    // In another order, the same root.
    let mut entries: Vec<_> = genesis.state().entries(b"").map(Result::unwrap).collect();
    entries.sort_by_key(|(key, _)| keccak256(key));
    let mut shuffled = Trie::empty(genesis.state().store().clone());
    for (key, value) in entries {
        shuffled.insert(&key, value).unwrap();
    }
    assert_eq!(shuffled.root(), genesis.state().root());

    let mut written = Vec::new();
    genesis.write(&mut written).unwrap();
    assert!(written == file, "{name} is written as other bytes than it was read from");
}

#[test]
fn mainnet_genesis_has_its_roots_and_sums() {
    check("mainnet-genesis.gz");
}

#[test]
fn privatenet_genesis_has_its_roots_and_sums() {
    check("privatenet-genesis.gz");
}

#[test]
fn privatenet_eth_genesis_has_its_roots_and_sums() {
    check("privatenet-eth-genesis.gz");
}

#[test]
fn every_changed_byte_is_noticed() {
    let file = plain("privatenet-eth-genesis.gz").unwrap();
    let expected: BlockHash = text(&vector("privatenet-eth-genesis.gz"), "block_hash").parse().unwrap();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let read = Genesis::read(&changed[..]).and_then(|genesis| genesis.require(expected));
        assert!(read.is_err(), "byte {at}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let file = plain("privatenet-eth-genesis.gz").unwrap();
    for end in 0..file.len() {
        assert!(Genesis::read(&file[..end]).is_err(), "{end}");
    }
    let longer = [&file[..], &8u64.to_le_bytes(), b"and more"].concat();
    assert!(matches!(Genesis::read(&longer[..]), Err(GenesisError::Record { .. })));
}

#[test]
fn the_compressed_file_is_the_plain_file() {
    let packed = std::fs::read(checkout().join("testdata/privatenet-eth-genesis.gz")).unwrap();
    let plain = plain("privatenet-eth-genesis.gz").unwrap();
    assert_eq!(Genesis::read(&packed[..]).unwrap().hash(), Genesis::read(&plain[..]).unwrap().hash());
}

#[test]
fn a_later_snapshot_is_refused_by_its_version() {
    let header = hex::decode("1000000000000000cf8d5468657461546f44614d6f6f6e04").unwrap();
    assert!(matches!(Genesis::read(&header[..]), Err(GenesisError::Snapshot(4))));
}
