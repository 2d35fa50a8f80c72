//! Tests of the public types: vectors, recorded chains, properties, rules.
#![allow(clippy::panic, clippy::unwrap_used)]

mod amounts_and_rules;
mod json_forms;
mod recorded_chains;
mod rlp_properties;
mod rlp_strictness;
mod signatures;
mod values;
mod vectors;
mod votes_and_validators;
