//! Keys derived from a seed along a path (BIP-32).

use hmac::{Hmac, KeyInit, Mac};
use k256::elliptic_curve::PrimeField;
use k256::{FieldBytes, Scalar};
use sha2::Sha512;
use theta_types::SecretKey;
use zeroize::Zeroizing;

/// Added to a step's number: such keys need the parent's secret.
pub(crate) const HARDENED: u32 = 1 << 31;

/// The key at the end of the path; `None` where the standard says that there is none.
pub(crate) fn derive(seed: &[u8], path: &[u32]) -> Option<SecretKey> {
    let root = hmac_sha512(b"Bitcoin seed", &[seed]);
    let mut key = scalar(&root[..32])?;
    let mut chain_code = Zeroizing::new([0u8; 32]);
    chain_code.copy_from_slice(&root[32..]);
    for step in path {
        let secret = Zeroizing::new(<[u8; 32]>::from(key.to_repr()));
        let number = step.to_be_bytes();
        let mixed = if *step >= HARDENED {
            hmac_sha512(chain_code.as_slice(), &[&[0], secret.as_slice(), &number])
        } else {
            hmac_sha512(chain_code.as_slice(), &[&compressed_public_key(secret.as_slice())?, &number])
        };
        key = scalar(&mixed[..32])? + key;
        chain_code.copy_from_slice(&mixed[32..]);
    }
    let secret = Zeroizing::new(<[u8; 32]>::from(key.to_repr()));
    SecretKey::from_bytes(secret.as_slice()).ok()
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// A number below the order of the curve.
fn scalar(bytes: &[u8]) -> Option<Scalar> {
    Scalar::from_repr(FieldBytes::try_from(bytes).ok()?).into_option()
}

fn compressed_public_key(secret: &[u8]) -> Option<[u8; 33]> {
    let uncompressed = SecretKey::from_bytes(secret).ok()?.public_key().to_bytes();
    let mut compressed = [0u8; 33];
    compressed[0] = 2 + (uncompressed[64] & 1);
    compressed[1..].copy_from_slice(&uncompressed[1..33]);
    Some(compressed)
}
