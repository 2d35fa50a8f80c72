//! The published vectors of spec 02.

use serde_json::Value;
use theta_types::SecretKey;

/// All entries of `state.json`.
pub fn all() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../testdata/vectors/state.json")).unwrap()
}

/// The entries of one kind; there are some.
pub fn of_kind(kind: &str) -> Vec<Value> {
    let entries: Vec<_> = all().into_iter().filter(|entry| entry["kind"] == kind).collect();
    assert!(!entries.is_empty(), "no vectors of kind {kind}");
    entries
}

/// The key that the vectors name by a seed.
pub fn test_key(seed: &str) -> SecretKey {
    let entry = of_kind("test_key").into_iter().find(|entry| entry["seed"] == seed).unwrap();
    SecretKey::from_bytes(&hex::decode(entry["private_key_hex"].as_str().unwrap()).unwrap()).unwrap()
}
