//! Positions in time: block heights, epochs, timestamps.

use std::fmt;

use num_bigint::BigUint;
use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};

use crate::rlp::{Decode, Encode, Reader, RlpError};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after; the largest stays.
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl Encode for $name {
            fn encode_to(&self, out: &mut Vec<u8>) {
                self.0.encode_to(out);
            }
        }

        impl Decode for $name {
            fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
                Ok(Self(reader.u64()?))
            }
        }
    };
}

counter!(
    /// Number of a block in its chain; genesis is 0.
    Height
);
counter!(
    /// Number of an attempt to agree on a block. Never less than the height's count of attempts so far.
    Epoch
);

/// Blocks between two checkpoints (spec 01 section 8.2).
pub const CHECKPOINT_INTERVAL: u64 = 100;

impl Height {
    /// Checkpoints are the heights that leave 1 when divided by 100.
    pub fn is_checkpoint(self) -> bool {
        self.0 % CHECKPOINT_INTERVAL == 1
    }
}

/// Seconds since 1970, as a header carries them: an unbounded integer without any rule at this level.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub BigUint);

impl Timestamp {
    /// The seconds, when they fit 64 bits.
    pub fn seconds(&self) -> Option<u64> {
        self.0.to_u64()
    }
}

impl From<u64> for Timestamp {
    fn from(seconds: u64) -> Self {
        Self(BigUint::from(seconds))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Encode for Timestamp {
    fn encode_to(&self, out: &mut Vec<u8>) {
        self.0.encode_to(out);
    }
}

impl Decode for Timestamp {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(Self(BigUint::decode_from(reader)?))
    }
}
