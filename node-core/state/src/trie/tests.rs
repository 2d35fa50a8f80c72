use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use theta_types::{B256, EMPTY_ROOT_HASH};

use super::*;
use crate::nodes::MemoryNodes;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

fn empty() -> Trie {
    Trie::empty(Arc::new(MemoryNodes::default()))
}

fn trie_of<'a>(pairs: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Trie {
    let mut trie = empty();
    for (key, value) in pairs {
        trie.insert(key, value.as_slice()).unwrap();
    }
    trie
}

/// The same content, with every node read from a store.
fn reopened(trie: &Trie) -> Trie {
    let mut nodes = MemoryNodes::default();
    nodes.insert_all(trie.unsaved_nodes());
    Trie::open(Arc::new(nodes), trie.root()).unwrap()
}

fn content(trie: &Trie, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    trie.entries(prefix).map(|entry| entry.map(|(key, value)| (key, value.to_vec())).unwrap()).collect()
}

/// Short keys of few letters: prefixes of one another, shared nibbles, short and long values.
fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop::sample::select(vec![0x00, 0x01, 0x10, 0x11, 0xff]), 0..6)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![proptest::collection::vec(any::<u8>(), 1..4), proptest::collection::vec(any::<u8>(), 30..40)]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    proptest::collection::btree_map(key(), value(), 0..40)
}

proptest! {
    #[test]
    fn root_does_not_depend_on_order(pairs in pairs(), seed: u64) {
        let mut shuffled: Vec<_> = pairs.iter().collect();
        shuffled.sort_by_key(|(key, _)| theta_types::keccak256([&seed.to_be_bytes()[..], key].concat()));
        prop_assert_eq!(trie_of(&pairs).root(), trie_of(shuffled).root());
    }

    #[test]
    fn removing_gives_the_trie_that_never_had_it(kept in pairs(), removed in pairs(), store_between: bool) {
        let all: Pairs = removed.iter().chain(&kept).map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut trie = trie_of(&all);
        if store_between {
            trie = reopened(&trie);
        }
        for key in removed.keys().filter(|key| !kept.contains_key(*key)) {
            trie.remove(key).unwrap();
        }
        let fresh = trie_of(&kept);
        prop_assert_eq!(trie.root(), fresh.root());
        prop_assert_eq!(content(&trie, b""), content(&fresh, b""));
    }

    #[test]
    fn every_key_is_found_and_no_other(pairs in pairs(), other in key(), stored: bool) {
        let trie = trie_of(&pairs);
        let trie = if stored { reopened(&trie) } else { trie };
        for (key, value) in &pairs {
            let held = trie.get(key).unwrap();
            prop_assert_eq!(held.as_deref(), Some(value.as_slice()));
        }
        let held = trie.get(&other).unwrap();
        prop_assert_eq!(held.as_deref(), pairs.get(&other).map(Vec::as_slice));
    }

    #[test]
    fn entries_of_a_prefix_come_in_key_order(pairs in pairs(), prefix in key()) {
        let wanted: Vec<_> =
            pairs.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone())).collect();
        prop_assert_eq!(content(&reopened(&trie_of(&pairs)), &prefix), wanted);
    }

    #[test]
    fn proofs_show_presence_and_absence(pairs in pairs(), other in key()) {
        let trie = trie_of(&pairs);
        for key in pairs.keys().chain([&other]) {
            let proof = trie.prove(key).unwrap();
            let proven = proof.verify(trie.root(), key).unwrap();
            prop_assert_eq!(proven.as_deref(), pairs.get(key).map(Vec::as_slice));
        }
    }

    #[test]
    fn a_changed_proof_proves_nothing(pairs in pairs(), key in key(), node: prop::sample::Index, byte: prop::sample::Index, flip in 1u8..) {
        let trie = trie_of(&pairs);
        let mut proof = trie.prove(&key).unwrap();
        if !proof.nodes.is_empty() {
            let at = node.index(proof.nodes.len());
            let byte = byte.index(proof.nodes[at].len());
            proof.nodes[at][byte] ^= flip;
            prop_assert!(proof.verify(trie.root(), &key).is_err());
        }
    }

    #[test]
    fn a_padded_proof_is_refused(pairs in pairs(), key in key(), padding in proptest::collection::vec(any::<u8>(), 1..40)) {
        let trie = trie_of(&pairs);
        let mut proof = trie.prove(&key).unwrap();
        proof.nodes.push(padding);
        prop_assert!(proof.verify(trie.root(), &key).is_err());
    }

    #[test]
    fn arbitrary_node_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), key in key()) {
        use_node(&bytes, &key);
    }

    #[test]
    fn damaged_node_bytes_never_panic(pairs in pairs(), key in key(), at: prop::sample::Index, flip in 1u8..) {
        for (_, mut bytes) in trie_of(&pairs).unsaved_nodes() {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            use_node(&bytes, &key);
        }
    }

    #[test]
    fn what_is_read_as_a_node_is_written_the_same(pairs in pairs(), at: prop::sample::Index, flip: u8) {
        for (_, mut bytes) in trie_of(&pairs).unsaved_nodes() {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(node) = Node::decode(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }

    #[test]
    fn clones_do_not_see_each_others_changes(pairs in pairs(), more in pairs(), less in pairs()) {
        let original = trie_of(&pairs);
        let (mut one, mut two) = (original.clone(), original.clone());
        for (key, value) in &more {
            one.insert(key, value.as_slice()).unwrap();
        }
        for key in less.keys() {
            two.remove(key).unwrap();
        }
        prop_assert_eq!(content(&original, b""), pairs.clone().into_iter().collect::<Vec<_>>());
        let grown: Pairs = pairs.iter().chain(&more).map(|(k, v)| (k.clone(), v.clone())).collect();
        prop_assert_eq!(one.root(), trie_of(&grown).root());
        let shrunk: Pairs =
            pairs.iter().filter(|(k, _)| !less.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        prop_assert_eq!(two.root(), trie_of(&shrunk).root());
    }

    #[test]
    fn unsaved_nodes_are_what_the_store_lacks(first in pairs(), second in pairs()) {
        let mut nodes = MemoryNodes::default();
        let mut trie = trie_of(&first);
        nodes.insert_all(trie.unsaved_nodes());
        trie.mark_saved();
        prop_assert!(trie.unsaved_nodes().is_empty());
        for (key, value) in &second {
            trie.insert(key, value.as_slice()).unwrap();
        }
        nodes.insert_all(trie.unsaved_nodes());
        let read = Trie::open(Arc::new(nodes), trie.root()).unwrap();
        prop_assert_eq!(content(&read, b""), content(&trie, b""));
    }
}

fn use_node(bytes: &[u8], key: &[u8]) {
    let nodes = MemoryNodes::from_iter([bytes.to_vec()]);
    if let Ok(mut trie) = Trie::open(Arc::new(nodes), theta_types::keccak256(bytes)) {
        let _ = trie.get(key);
        let _ = trie.prove(key);
        let _ = trie.entries(key).count();
        let _ = trie.insert(key, *b"value");
        let _ = trie.remove(key);
        trie.root();
    }
}

#[test]
fn a_missing_node_is_named_and_changes_nothing() {
    let pairs: Pairs = (0u8..64).map(|i| (vec![i, i], vec![i; 40])).collect();
    let full = trie_of(&pairs);
    let mut nodes = full.unsaved_nodes();
    let missing = nodes.pop().unwrap();
    let mut store = MemoryNodes::default();
    store.insert_all(nodes);
    let mut trie = Trie::open(Arc::new(store), full.root()).unwrap();
    let lost: Vec<_> = pairs.keys().filter(|key| trie.get(key).is_err()).cloned().collect();
    assert!(!lost.is_empty());
    for key in &lost {
        assert!(matches!(trie.get(key), Err(TrieError::MissingNode(hash)) if hash == missing.0));
        assert!(trie.insert(key, *b"new").is_err());
        assert!(trie.remove(key).is_err());
    }
    assert_eq!(trie.root(), full.root());
    assert!(matches!(trie.entries(b"").last(), Some(Err(TrieError::MissingNode(_)))));
}

#[test]
fn zero_and_the_empty_root_both_open_as_empty() {
    let nodes: Arc<MemoryNodes> = Arc::default();
    for root in [B256::ZERO, EMPTY_ROOT_HASH] {
        assert_eq!(Trie::open(nodes.clone(), root).unwrap().root(), EMPTY_ROOT_HASH);
    }
    assert!(Trie::open(nodes, B256::repeat_byte(1)).is_err());
}

#[test]
fn thousands_of_nested_keys_do_not_exhaust_the_stack() {
    // Each key begins the next, so the trie is as deep as it can be made. A small stack stands for a deeper chain of keys.
    let deep = std::thread::Builder::new().stack_size(32 * 1024).spawn(|| {
        let mut trie = empty();
        let longest = vec![0x61; 1_500];
        for length in 1..=longest.len() {
            trie.insert(&longest[..length], *b"v").unwrap();
        }
        let root = trie.root();
        let mut nodes = MemoryNodes::default();
        nodes.insert_all(trie.unsaved_nodes());
        trie.mark_saved();
        let mut read = Trie::open(Arc::new(nodes), root).unwrap();
        assert_eq!(read.entries(b"").count(), longest.len());
        assert_eq!(read.prove(&longest).unwrap().verify(root, &longest).unwrap().as_deref(), Some(&b"v"[..]));
        for length in (2..=longest.len()).rev() {
            read.remove(&longest[..length]).unwrap();
        }
        read.root()
    });
    let last_one = deep.unwrap().join().unwrap();
    let mut only = empty();
    only.insert(b"a", *b"v").unwrap();
    assert_eq!(last_one, only.root());
}
