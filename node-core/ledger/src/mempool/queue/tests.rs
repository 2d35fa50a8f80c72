use std::collections::HashMap;

use serde::Deserialize;
use theta_types::keccak256;

use super::*;

#[derive(Deserialize)]
struct Vector {
    kind: String,
    #[serde(default)]
    txs: Vec<Transaction>,
    #[serde(default)]
    expected_reap_all: Vec<String>,
    after_update_commit: Option<AfterUpdate>,
}

#[derive(Deserialize)]
struct Transaction {
    tx: String,
    address: String,
    sequence: u64,
    gas_price: u64,
}

#[derive(Deserialize)]
struct AfterUpdate {
    committed: Vec<String>,
    expected_size: usize,
    expected_reap: Vec<String>,
}

fn named(name: &str) -> TxHash {
    TxHash(keccak256(name))
}

fn order(queue: &Queue) -> Vec<String> {
    queue.best_first().map(|queued| String::from_utf8_lossy(&queued.raw).into_owned()).collect()
}

/// Vectors let the two worst transactions stand in either order: their price is the same.
fn same_order(mut found: Vec<String>, expected: &[String], prices: &HashMap<String, u64>) {
    for (at, name) in expected.iter().enumerate() {
        if &found[at] != name && prices[&found[at]] == prices[name] {
            found.swap(at, at + 1);
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn the_recorded_order_of_best_candidates_is_kept() {
    let vectors: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../../../testdata/vectors/state.json")).unwrap();
    let vectors = vectors.into_iter().filter(|vector| vector["kind"] == "mempool");
    let vectors: Vec<Vector> = vectors.map(|vector| serde_json::from_value(vector).unwrap()).collect();
    assert_eq!(vectors.len(), 1);
    for vector in vectors {
        assert_eq!(vector.kind, "mempool");
        let prices = vector.txs.iter().map(|tx| (tx.tx.clone(), tx.gas_price)).collect();
        let mut queue = Queue::default();
        for tx in &vector.txs {
            let sender = Address::from_word(keccak256(&tx.address));
            let price = Wei::from(tx.gas_price);
            queue.push(Queued::new(tx.tx.clone().into_bytes(), named(&tx.tx), sender, tx.sequence, price));
        }
        same_order(order(&queue), &vector.expected_reap_all, &prices);

        let update = vector.after_update_commit.unwrap();
        for name in &update.committed {
            queue.remove(&named(name));
        }
        assert_eq!(queue.len(), update.expected_size);
        same_order(order(&queue), &update.expected_reap, &prices);
    }
}

#[test]
fn bytes_and_counts_follow_pushes_and_removals() {
    let mut queue = Queue::default();
    let sender = Address::repeat_byte(1);
    for (name, sequence) in [("aaa", 2), ("bb", 1), ("bb", 1)] {
        queue.push(Queued::new(name.as_bytes().to_vec(), named(name), sender, sequence, Wei::from(1u64)));
    }
    assert_eq!((queue.len(), queue.bytes(), queue.of_sender(&sender)), (2, 5, 2));
    assert_eq!(order(&queue), ["bb", "aaa"]);
    queue.remove(&named("aaa"));
    queue.remove(&named("aaa"));
    assert_eq!((queue.len(), queue.bytes(), queue.of_sender(&sender)), (1, 2, 1));
    queue.remove(&named("bb"));
    assert_eq!((queue.len(), queue.bytes(), queue.of_sender(&sender)), (0, 0, 0));
}
