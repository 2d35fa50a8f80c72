//! secp256k1 key pairs.

use std::fmt;

use alloy_primitives::Address;
use k256::ecdsa::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::hash::keccak256;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_string};
use crate::signature::Signature;

/// Why bytes are no key. The key is mistyped, damaged, or of another kind: nothing can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret key has 32 bytes.
    #[error("a secret key has 32 bytes, not {0}")]
    SecretLength(usize),
    /// A secret key is above zero and below the order of the curve.
    #[error("the secret key is zero or not below the order of the curve")]
    SecretRange,
    /// A public key is 65 bytes, starts with 04, and lies on the curve.
    #[error("not an uncompressed public key on the curve")]
    Public,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
}

/// A secret key: 32 bytes, above zero and below the order. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey {
    key: SigningKey,
    address: Address,
}

impl SecretKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`] when there is none.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        loop {
            rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, bytes.as_mut_slice())
                .map_err(|_| KeyError::Randomness)?;
            // All but one in 2^128 of the numbers are keys.
            if let Ok(key) = Self::from_bytes(bytes.as_slice()) {
                return Ok(key);
            }
        }
    }

    /// From 32 big-endian bytes.
    ///
    /// # Errors
    /// Another length, zero, or a number not below the order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != 32 {
            return Err(KeyError::SecretLength(bytes.len()));
        }
        let key = SigningKey::from_slice(bytes).map_err(|_| KeyError::SecretRange)?;
        let address = PublicKey(*key.verifying_key()).address();
        Ok(Self { key, address })
    }

    /// The 32 bytes, for a keystore. Wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.key.verifying_key())
    }

    /// The address of the public key.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs keccak256 of the message, deterministically (RFC 6979), with low s and V of 0 or 1 (spec 01 section 3.2).
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.sign_hash(&keccak256(message).0)
    }

    /// Signs a 32-byte hash as it is.
    pub fn sign_hash(&self, hash: &[u8; 32]) -> Signature {
        let (signature, recovery) = self.key.sign_prehash_recoverable(hash);
        let mut bytes = [0u8; Signature::LENGTH];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = recovery.to_byte();
        Signature::from(bytes.as_slice())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.address)
    }
}

/// A public key on the curve. On the wire 65 bytes: `04`, X, Y.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(crate) VerifyingKey);

impl PublicKey {
    /// Bytes of the uncompressed form.
    pub const LENGTH: usize = 65;

    /// From the uncompressed form.
    ///
    /// # Errors
    /// Another form, or a point that is not on the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != Self::LENGTH || bytes[0] != 0x04 {
            return Err(KeyError::Public);
        }
        VerifyingKey::from_sec1_bytes(bytes).map(Self).map_err(|_| KeyError::Public)
    }

    /// The uncompressed form: `04`, X, Y.
    pub fn to_bytes(&self) -> [u8; 65] {
        let point = self.0.to_sec1_point(false);
        let mut bytes = [0u8; Self::LENGTH];
        bytes.copy_from_slice(point.as_bytes());
        bytes
    }

    /// Last 20 bytes of keccak256 of X and Y.
    pub fn address(&self) -> Address {
        Address::from_word(keccak256(&self.to_bytes()[1..]))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.to_bytes()))
    }
}

impl Encode for PublicKey {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_string(&self.to_bytes(), out);
    }
}

impl Decode for PublicKey {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Self::from_bytes(reader.string()?).map_err(|_| RlpError::Refused("not an uncompressed public key"))
    }
}
