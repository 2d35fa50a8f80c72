//! The tries of `testdata/vectors/state.json`.
#![allow(clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use theta_state::{MemoryNodes, Trie, list_root};
use theta_types::{B256, EMPTY_ROOT_HASH, Encode, Wei};

fn vectors(kind: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/state.json");
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let found: Vec<_> = all.into_iter().filter(|vector| vector["kind"] == kind).collect();
    assert!(!found.is_empty(), "no vector of kind {kind}");
    found
}

fn hash(vector: &Value, field: &str) -> B256 {
    vector[field].as_str().unwrap().parse().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn empty() -> Trie {
    Trie::empty(Arc::new(MemoryNodes::default()))
}

#[test]
fn roots_of_the_reference_tests() {
    for vector in vectors("trie_root") {
        let mut trie = empty();
        if let Some(operations) = vector["ops_utf8"].as_array() {
            for operation in operations {
                let (key, value) = (operation[0].as_str().unwrap(), operation[1].as_str().unwrap());
                trie.insert(key.as_bytes(), value.as_bytes()).unwrap();
            }
        } else if let Some(pairs) = vector["pairs_hex"].as_array() {
            for pair in pairs {
                trie.insert(&bytes(&pair[0]), bytes(&pair[1])).unwrap();
            }
        } else {
            assert_eq!(vector["pairs"].as_array().unwrap().len(), 0, "{}", vector["name"]);
        }
        assert_eq!(trie.root(), hash(&vector, "expected_root"), "{}", vector["name"]);
    }
}

#[test]
fn storage_root_of_raw_slots() {
    for vector in vectors("storage_root") {
        let mut trie = empty();
        for (slot, value) in vector["slots"].as_object().unwrap() {
            let key = hex::decode(format!("{slot:0>64}")).unwrap();
            trie.insert(&key, Wei::from_be_bytes(&bytes(value)).to_rlp()).unwrap();
        }
        assert_eq!(trie.root(), hash(&vector, "expected_storage_root"), "{}", vector["name"]);
    }
}

#[test]
fn no_transactions_have_the_empty_root() {
    assert_eq!(list_root::<&[u8]>([]), EMPTY_ROOT_HASH);
    assert_eq!(list_root([b""]), EMPTY_ROOT_HASH);
}
