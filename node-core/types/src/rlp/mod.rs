//! The chain's RLP: plain Ethereum RLP, read strictly.
//!
//! Everything here follows spec 01 section 1. Writing has one form for every value; reading refuses whatever is not that form, so
//! that decode followed by encode gives the same bytes. Own reader and writer, because the chain's integers are unbounded and its
//! optional parts differ from Ethereum's.

mod reader;
mod structure;
mod writer;

pub use reader::Reader;
pub use writer::{encode_list, encode_string, encode_uint_bytes};

pub(crate) use structure::rlp_structure;

use alloy_primitives::{Address, FixedBytes};
use num_bigint::BigUint;

/// Why bytes were refused as RLP of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RlpError {
    /// The item says it is longer than what is left of its list or of the input. The bytes are cut or wrong: ask again.
    #[error("an item runs past its end")]
    TooShort,
    /// Something follows the value. The bytes are not this value: refuse them.
    #[error("bytes follow the value")]
    TrailingBytes,
    /// A list stands where a string belongs.
    #[error("a list where a string is expected")]
    UnexpectedList,
    /// A string stands where a list belongs.
    #[error("a string where a list is expected")]
    UnexpectedString,
    /// A length or a single byte is written in a longer form than needed. No honest encoder writes this.
    #[error("length is not written in its shortest form")]
    NonCanonicalLength,
    /// An integer has a leading zero byte. No honest encoder writes this.
    #[error("integer with leading zeros")]
    LeadingZero,
    /// An integer does not fit its width.
    #[error("integer is wider than {bits} bits")]
    IntegerTooWide {
        /// The width that it must fit.
        bits: u32,
    },
    /// A truth value other than 0 and 1.
    #[error("truth value is neither 0 nor 1")]
    InvalidBool,
    /// A fixed-size value has another size.
    #[error("expected {expected} bytes, found {found}")]
    WrongSize {
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that were there.
        found: usize,
    },
    /// A list lacks elements that the structure has.
    #[error("too few elements")]
    TooFewElements,
    /// A list has more elements than the structure.
    #[error("too many elements")]
    TooManyElements,
    /// Well-formed RLP that the type's own rule refuses.
    #[error("{0}")]
    Refused(&'static str),
}

/// A value with one RLP form.
pub trait Encode {
    /// Appends the RLP of the value.
    fn encode_to(&self, out: &mut Vec<u8>);

    /// The RLP of the value.
    fn to_rlp(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }
}

/// A value that can be read from RLP.
pub trait Decode: Sized {
    /// Reads the next item.
    ///
    /// # Errors
    /// Any deviation from the type's one form.
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError>;

    /// Reads a buffer that holds exactly this value.
    ///
    /// # Errors
    /// Any deviation from the type's one form, and [`RlpError::TrailingBytes`] when something follows.
    fn from_rlp(bytes: &[u8]) -> Result<Self, RlpError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode_from(&mut reader)?;
        if !reader.is_empty() {
            return Err(RlpError::TrailingBytes);
        }
        Ok(value)
    }
}

macro_rules! unsigned {
    ($($int:ty => $read:ident),*) => {$(
        impl Encode for $int {
            fn encode_to(&self, out: &mut Vec<u8>) {
                encode_uint_bytes(&self.to_be_bytes(), out);
            }
        }

        impl Decode for $int {
            fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
                reader.$read()
            }
        }
    )*};
}
// No u8: a list of u8 and a byte string would then look alike in code, and they differ on the wire.
unsigned!(u16 => u16, u32 => u32, u64 => u64);

impl Encode for bool {
    fn encode_to(&self, out: &mut Vec<u8>) {
        out.push(if *self { 0x01 } else { 0x80 });
    }
}

impl Decode for bool {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        reader.bool()
    }
}

impl Encode for BigUint {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_uint_bytes(&self.to_bytes_be(), out);
    }
}

impl Decode for BigUint {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(BigUint::from_bytes_be(reader.uint_bytes()?))
    }
}

impl<const N: usize> Encode for FixedBytes<N> {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_string(self.as_slice(), out);
    }
}

impl<const N: usize> Decode for FixedBytes<N> {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(FixedBytes(reader.fixed::<N>()?))
    }
}

impl Encode for Address {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_string(self.as_slice(), out);
    }
}

impl Decode for Address {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(Address::from(reader.fixed::<20>()?))
    }
}

impl<T: Encode> Encode for [T] {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            for element in self {
                element.encode_to(out);
            }
        });
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode_to(&self, out: &mut Vec<u8>) {
        self.as_slice().encode_to(out);
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut list = reader.list()?;
        let mut elements = Vec::new();
        while !list.is_empty() {
            elements.push(T::decode_from(&mut list)?);
        }
        Ok(elements)
    }
}
