//! Keccak-256 and the hashes that name things.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{B256, b256};
use serde::{Deserialize, Serialize};

use crate::rlp::{Decode, Encode, Reader, RlpError};

/// Root of an empty trie: keccak256 of the byte 0x80. Blocks without transactions carry it as their transaction root.
pub const EMPTY_ROOT_HASH: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// Keccak-256 of nothing: the code hash of an account that is not a contract.
pub const EMPTY_CODE_HASH: B256 = b256!("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");

/// Code hash of a contract that destroyed itself. The account still counts as a contract (spec 01 section 7.1).
pub const SELF_DESTRUCTED_CODE_HASH: B256 =
    b256!("deaddeaddeaddeaddeaddeaddeaddeaddeaddeaddeaddeaddeaddeaddeaddead");

/// The original Keccak with 256 bits of output, as Ethereum uses it.
pub fn keccak256(bytes: impl AsRef<[u8]>) -> B256 {
    alloy_primitives::keccak256(bytes)
}

macro_rules! named_hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub B256);

        impl $name {
            /// Thirty-two zero bytes: no such thing.
            pub const ZERO: Self = Self(B256::ZERO);

            /// True for [`Self::ZERO`].
            pub fn is_zero(&self) -> bool {
                self.0.is_zero()
            }

            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_slice()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = crate::text::HexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(crate::text::parse_hash(text)?))
            }
        }

        impl From<B256> for $name {
            fn from(hash: B256) -> Self {
                Self(hash)
            }
        }

        impl From<$name> for B256 {
            fn from(hash: $name) -> Self {
                hash.0
            }
        }

        impl Encode for $name {
            fn encode_to(&self, out: &mut Vec<u8>) {
                self.0.encode_to(out);
            }
        }

        impl Decode for $name {
            fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
                Ok(Self(B256::decode_from(reader)?))
            }
        }
    };
}

named_hash!(
    /// Names a block: keccak256 of the RLP of its header, signature included.
    BlockHash
);
named_hash!(
    /// Names a transaction: keccak256 of its raw bytes as they stand in block or mempool.
    TxHash
);
