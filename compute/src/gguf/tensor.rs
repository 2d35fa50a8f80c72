//! Tensors and their block formats.

use std::ops::Range;

use half::f16;

/// Values in a block of Q4_1 and of Q8_0.
pub const BLOCK: usize = 32;
/// A Q4_1 block: scale and minimum as f16, then 32 values of 4 bits.
const Q4_1_BYTES: usize = 4 + BLOCK / 2;
/// A Q8_0 block: scale as f16, then 32 signed bytes.
const Q8_0_BYTES: usize = 2 + BLOCK;

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// Blocks of 32: value = scale x 4-bit number + minimum.
    Q4_1,
    /// Blocks of 32: value = scale x signed byte.
    Q8_0,
}

impl TensorType {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(TensorType::F32),
            3 => Some(TensorType::Q4_1),
            8 => Some(TensorType::Q8_0),
            _ => None,
        }
    }

    /// Size in bytes; `None` when rows are not whole blocks or the size overflows.
    pub(super) fn bytes(self, rows: usize, columns: usize) -> Option<usize> {
        let row = match self {
            TensorType::F32 => columns.checked_mul(4)?,
            TensorType::Q4_1 if columns.is_multiple_of(BLOCK) => (columns / BLOCK).checked_mul(Q4_1_BYTES)?,
            TensorType::Q8_0 if columns.is_multiple_of(BLOCK) => (columns / BLOCK).checked_mul(Q8_0_BYTES)?,
            _ => return None,
        };
        row.checked_mul(rows)
    }
}

/// The name of a type by its number in the file, for messages.
pub(super) fn type_name(number: u32) -> String {
    const NAMES: [(u32, &str); 31] = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (6, "Q5_0"),
        (7, "Q5_1"),
        (8, "Q8_0"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (12, "Q4_K"),
        (13, "Q5_K"),
        (14, "Q6_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (30, "BF16"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
    ];
    match NAMES.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("type {number}"),
    }
}

/// Where a tensor lies; checked against the file's length.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub kind: TensorType,
    pub rows: usize,
    pub columns: usize,
    pub range: Range<usize>,
}

/// A tensor's values as they are stored: `rows` rows of `columns` values each.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// How the values are stored.
    pub kind: TensorType,
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub columns: usize,
    pub(super) bytes: &'a [u8],
}

impl Tensor<'_> {
    /// All values, row after row, exactly as the format defines them.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.rows * self.columns);
        match self.kind {
            TensorType::F32 => {
                values.extend(self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            TensorType::Q4_1 => {
                for block in self.bytes.as_chunks::<Q4_1_BYTES>().0 {
                    let (scale, minimum) = (half(block, 0), half(block, 2));
                    let packed = &block[4..];
                    values.extend(packed.iter().map(|byte| scale * f32::from(byte & 0xf) + minimum));
                    values.extend(packed.iter().map(|byte| scale * f32::from(byte >> 4) + minimum));
                }
            }
            TensorType::Q8_0 => {
                for block in self.bytes.as_chunks::<Q8_0_BYTES>().0 {
                    let scale = half(block, 0);
                    values.extend(block[2..].iter().map(|byte| scale * f32::from(byte.cast_signed())));
                }
            }
        }
        values
    }
}

fn half<const N: usize>(block: &[u8; N], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
