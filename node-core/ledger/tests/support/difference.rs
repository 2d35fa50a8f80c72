//! Shows where two sets of state changes differ, in words.

use std::fmt::Write;

use theta_ledger::{StateChanges, keys};
use theta_state::Trie;
use theta_types::{Account, Address, Decode, SplitRule, ValidatorCandidatePool};

/// The changes that do change something: what was written again unchanged is left out.
pub fn effective(changes: &StateChanges, parent: &Trie) -> StateChanges {
    let held = |key: &Vec<u8>| parent.get(key).unwrap().map(|value| value.to_vec());
    changes.iter().filter(|(key, value)| held(key) != **value).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// `None` when they are the same; else each key on which they differ, with both values readable.
pub fn between(found: &StateChanges, recorded: &StateChanges) -> Option<String> {
    let mut text = String::new();
    let all: std::collections::BTreeSet<_> = found.keys().chain(recorded.keys()).collect();
    for key in all {
        let (found, recorded) = (found.get(key), recorded.get(key));
        if found != recorded {
            writeln!(text, "{}", name(key)).unwrap();
            writeln!(text, "  recorded: {}", change(key, recorded)).unwrap();
            writeln!(text, "  found:    {}", change(key, found)).unwrap();
        }
    }
    (!text.is_empty()).then_some(text)
}

fn name(key: &[u8]) -> String {
    if let Some(address) = key.strip_prefix(keys::ACCOUNTS) {
        return format!("account {}", Address::from_slice(address));
    }
    if let Some(resource) = key.strip_prefix(keys::SPLIT_RULES) {
        return format!("split rule {}", String::from_utf8_lossy(resource));
    }
    String::from_utf8_lossy(key).into_owned()
}

fn change(key: &[u8], value: Option<&Option<Vec<u8>>>) -> String {
    match value {
        None => "unchanged".into(),
        Some(None) => "deleted".into(),
        Some(Some(value)) => readable(key, value).unwrap_or_else(|| hex::encode(value)),
    }
}

fn readable(key: &[u8], value: &[u8]) -> Option<String> {
    if key.starts_with(keys::ACCOUNTS) {
        return theta_types::json::to_string(&Account::from_rlp(value).ok()?).ok();
    }
    if key.starts_with(keys::SPLIT_RULES) {
        return theta_types::json::to_string(&SplitRule::from_rlp(value).ok()?).ok();
    }
    if key == keys::VALIDATOR_CANDIDATES {
        return theta_types::json::to_string(&ValidatorCandidatePool::from_rlp(value).ok()?).ok();
    }
    None
}
