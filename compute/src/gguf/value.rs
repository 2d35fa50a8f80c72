//! Metadata values.

use super::{GgufError, cursor::Cursor};

/// The numbers that name value types in a file.
mod number {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const TEXT: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// The fewest bytes that an array's text takes in a file: its length.
const MIN_TEXT_BYTES: usize = 8;

/// A metadata value; integers and floats are widened.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// A float of any width.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of integers of any width, or of truth values as 0 and 1.
    Integers(Vec<i64>),
    /// An array of floats of any width.
    Floats(Vec<f64>),
}

const WHAT: &str = "a metadata value";

impl Value {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, GgufError> {
        match cursor.u32(WHAT)? {
            number::TEXT => Ok(Value::Text(cursor.text(WHAT)?.to_owned())),
            number::ARRAY => Self::read_array(cursor),
            kind => Self::read_scalar(cursor, kind),
        }
    }

    fn read_scalar(cursor: &mut Cursor<'_>, kind: u32) -> Result<Self, GgufError> {
        Ok(match kind {
            number::U8 => Value::Unsigned(u8::from_le_bytes(cursor.array(WHAT)?).into()),
            number::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array(WHAT)?).into()),
            number::U32 => Value::Unsigned(u32::from_le_bytes(cursor.array(WHAT)?).into()),
            number::U64 => Value::Unsigned(u64::from_le_bytes(cursor.array(WHAT)?)),
            number::I8 => Value::Signed(i8::from_le_bytes(cursor.array(WHAT)?).into()),
            number::I16 => Value::Signed(i16::from_le_bytes(cursor.array(WHAT)?).into()),
            number::I32 => Value::Signed(i32::from_le_bytes(cursor.array(WHAT)?).into()),
            number::I64 => Value::Signed(i64::from_le_bytes(cursor.array(WHAT)?)),
            number::F32 => Value::Float(f32::from_le_bytes(cursor.array(WHAT)?).into()),
            number::F64 => Value::Float(f64::from_le_bytes(cursor.array(WHAT)?)),
            number::BOOL => Value::Bool(cursor.array::<1>(WHAT)? != [0]),
            other => return Err(GgufError::ValueType(other)),
        })
    }

    fn read_array(cursor: &mut Cursor<'_>) -> Result<Self, GgufError> {
        let kind = cursor.u32(WHAT)?;
        let least = match kind {
            number::U8 | number::I8 | number::BOOL => 1,
            number::U16 | number::I16 => 2,
            number::U32 | number::I32 | number::F32 => 4,
            number::U64 | number::I64 | number::F64 => 8,
            number::TEXT => MIN_TEXT_BYTES,
            other => return Err(GgufError::ValueType(other)),
        };
        let count = usize::try_from(cursor.u64(WHAT)?).map_err(|_| GgufError::Truncated(WHAT))?;
        if count > cursor.remaining() / least {
            return Err(GgufError::Truncated(WHAT));
        }
        match kind {
            number::TEXT => {
                let mut texts = Vec::with_capacity(count);
                for _ in 0..count {
                    texts.push(cursor.text(WHAT)?.to_owned());
                }
                Ok(Value::Texts(texts))
            }
            number::F32 | number::F64 => {
                let mut floats = Vec::with_capacity(count);
                for _ in 0..count {
                    if let Value::Float(number) = Self::read_scalar(cursor, kind)? {
                        floats.push(number);
                    }
                }
                Ok(Value::Floats(floats))
            }
            _ => {
                let mut integers = Vec::with_capacity(count);
                for _ in 0..count {
                    integers.push(match Self::read_scalar(cursor, kind)? {
                        Value::Signed(number) => number,
                        Value::Unsigned(number) => {
                            i64::try_from(number).map_err(|_| GgufError::ValueType(kind))?
                        }
                        other => i64::from(other == Value::Bool(true)),
                    });
                }
                Ok(Value::Integers(integers))
            }
        }
    }
}
