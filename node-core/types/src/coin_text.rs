//! Amounts as people type them.

use num_bigint::BigUint;
use num_traits::ToPrimitive;

use crate::wei::{DECIMALS, Wei};

/// Longest text and largest exponent that are read. Nobody owns 10^100 coins.
const MAX_LENGTH: usize = 200;
const MAX_EXPONENT: i64 = 100;

/// Why a text is no amount of coins. Show the user an example: `1.5`, `1e3`, `100wei`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseCoinError {
    /// Amounts are not negative.
    #[error("an amount is not negative")]
    Negative,
    /// Not a decimal number, or far too large.
    #[error("not an amount: write for example 1.5, 1e3 or 100wei")]
    Malformed,
}

/// Reads a number of whole coins, or of wei when it ends with `wei` in any case: `1.5`, `1e3`, `100wei`. Exact; what is below one wei
/// is dropped. (The reference computes with 1024 bits of precision, which can make the last wei differ: spec 01 section 6.1.)
///
/// # Errors
/// A sign of minus, other texts, and numbers beyond any use.
pub fn parse_coin_amount(text: &str) -> Result<Wei, ParseCoinError> {
    let text = text.trim();
    if text.len() > MAX_LENGTH || !text.is_ascii() {
        return Err(ParseCoinError::Malformed);
    }
    let lower = text.to_ascii_lowercase();
    let (number, decimals) = match lower.strip_suffix("wei") {
        Some(number) => (number.trim_end(), 0),
        None => (lower.as_str(), i64::from(DECIMALS)),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (mantissa, exponent) = match number.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().map_err(|_| ParseCoinError::Malformed)?),
        None => (number, 0i64),
    };
    if exponent.abs() > MAX_EXPONENT {
        return Err(ParseCoinError::Malformed);
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseCoinError::Malformed);
    }
    let digits = BigUint::parse_bytes(digits.as_bytes(), 10).ok_or(ParseCoinError::Malformed)?;
    let scale = exponent + decimals - fraction.len().to_i64().ok_or(ParseCoinError::Malformed)?;
    let power = BigUint::from(10u8).pow(scale.unsigned_abs() as u32);
    let wei = if scale >= 0 { digits * power } else { digits / power };
    if negative && wei != BigUint::default() {
        return Err(ParseCoinError::Negative);
    }
    Ok(Wei::from(wei))
}

/// Writes an amount in whole coins without rounding and without trailing zeros: `1.5`.
pub fn format_coins(amount: &Wei) -> String {
    let digits = format!("{:0>width$}", amount.to_string(), width = DECIMALS as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - DECIMALS as usize);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}
