//! Tests of the wallet: key files, passphrases, words, vouchers, reserves, sending, and a chain over RPC.
#![allow(clippy::panic, clippy::unwrap_used)]

mod chain_model;
mod key_folder;
mod key_words;
mod passphrases;
mod rpc_chain;
mod sending;
mod vouchers;
