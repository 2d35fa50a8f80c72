//! Hex texts of addresses and hashes.

use alloy_primitives::{Address, B256};

/// Why a text is no address or hash. The user or peer mistyped it: show the text back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Not the right number of hex digits.
    #[error("expected {expected} hex digits after 0x")]
    Length {
        /// Digits that belong there.
        expected: usize,
    },
    /// Something else than a hex digit.
    #[error("not hex digits")]
    Digit,
}

/// The address in mixed case (EIP-55) with `0x`. Consensus relevant: it breaks ties between validator candidates.
pub fn checksum_text(address: &Address) -> String {
    address.to_checksum(None)
}

/// Reads an address typed by a person: 40 hex digits, with or without `0x`, any case. The checksum is not verified, as the
/// reference never does.
///
/// # Errors
/// Other lengths and digits.
pub fn parse_address(text: &str) -> Result<Address, HexError> {
    Ok(Address::from(digits::<20>(text)?))
}

/// Reads a hash: 64 hex digits, with or without `0x`, any case.
///
/// # Errors
/// Other lengths and digits.
pub fn parse_hash(text: &str) -> Result<B256, HexError> {
    Ok(B256::from(digits::<32>(text)?))
}

/// True when the text is an address: optional `0x` or `0X`, then exactly 40 hex digits.
pub fn is_address(text: &str) -> bool {
    parse_address(text).is_ok()
}

/// The reference's forgiving reading of an address, used for RPC parameters: optional `0x`, an odd number of digits gets a `0` in
/// front, too long keeps the rightmost 20 bytes, too short is padded with zeros on the left, and what follows the first bad pair of
/// digits is dropped. Never fails (spec 01 section 2).
pub fn lenient_address(text: &str) -> Address {
    Address::from(lenient::<20>(text))
}

/// As [`lenient_address`], for 32 bytes.
pub fn lenient_hash(text: &str) -> B256 {
    B256::from(lenient::<32>(text))
}

fn without_prefix(text: &str) -> &str {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}

fn digits<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let text = without_prefix(text);
    if text.len() != 2 * N {
        return Err(HexError::Length { expected: 2 * N });
    }
    let mut bytes = [0u8; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError::Digit)?;
    Ok(bytes)
}

fn lenient<const N: usize>(text: &str) -> [u8; N] {
    let text = without_prefix(text).as_bytes();
    let padded = if text.len() % 2 == 1 { [b"0", text].concat() } else { text.to_vec() };
    let bytes: Vec<u8> = padded.chunks_exact(2).map_while(|pair| hex::decode(pair).ok()).flatten().collect();
    let used = &bytes[bytes.len().saturating_sub(N)..];
    let mut fixed = [0u8; N];
    fixed[N - used.len()..].copy_from_slice(used);
    fixed
}
