//! What the tests of this crate share. Each test file uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod chain;
pub mod journal;
pub mod network;
pub mod scene;
pub mod worker;

use theta_types::{SecretKey, Wei};
use theta_wallet::Wallet;

/// A key from a number.
pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).unwrap()
}

/// The wallet of that key.
pub fn wallet(number: u8) -> Wallet {
    Wallet::unlocked(secret(number))
}

/// Thousandths of a TFuel, in wei.
pub fn milli(amount: u64) -> Wei {
    Wei::from(1_000_000_000_000_000u64) * amount
}

/// The fee of every transaction but sends.
pub fn fee() -> Wei {
    milli(300)
}
