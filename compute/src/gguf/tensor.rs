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

/// A tensor's values in memory, as narrow as the file has them.
#[derive(Debug)]
pub enum Blocks {
    /// Of F32.
    Floats(Vec<f32>),
    /// Of Q4_1.
    FourBits(Vec<FourBitBlock>),
    /// Of Q8_0.
    EightBits(Vec<EightBitBlock>),
}

/// 32 values of Q4_1: `scale * number + minimum`.
#[derive(Clone, Copy, Debug)]
pub struct FourBitBlock {
    /// What numbers are multiplied by.
    pub scale: f32,
    /// What is added.
    pub minimum: f32,
    /// Two numbers in a byte: the low half is of the first 16 values, the high half of the others.
    pub numbers: [u8; BLOCK / 2],
}

/// 32 values of Q8_0: `scale * number`.
#[derive(Clone, Copy, Debug)]
pub struct EightBitBlock {
    /// What numbers are multiplied by.
    pub scale: f32,
    /// The numbers.
    pub numbers: [i8; BLOCK],
}

impl FourBitBlock {
    fn read(bytes: &[u8; Q4_1_BYTES]) -> Self {
        let mut numbers = [0; BLOCK / 2];
        numbers.copy_from_slice(&bytes[4..]);
        Self { scale: half(bytes, 0), minimum: half(bytes, 2), numbers }
    }

    /// The 32 values, exactly as the format defines them.
    #[inline(always)]
    pub fn values(&self) -> [f32; BLOCK] {
        let mut values = [0.0; BLOCK];
        for at in 0..BLOCK / 2 {
            values[at] = self.scale * f32::from(self.numbers[at] & 0xf) + self.minimum;
            values[at + BLOCK / 2] = self.scale * f32::from(self.numbers[at] >> 4) + self.minimum;
        }
        values
    }
}

impl EightBitBlock {
    fn read(bytes: &[u8; Q8_0_BYTES]) -> Self {
        let numbers = std::array::from_fn(|at| bytes[2 + at].cast_signed());
        Self { scale: half(bytes, 0), numbers }
    }

    /// The 32 values, exactly as the format defines them.
    #[inline(always)]
    pub fn values(&self) -> [f32; BLOCK] {
        self.numbers.map(|number| self.scale * f32::from(number))
    }
}

impl Tensor<'_> {
    /// All values, row after row, as narrow as they are stored.
    pub fn blocks(&self) -> Blocks {
        match self.kind {
            TensorType::F32 => Blocks::Floats(
                self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            ),
            TensorType::Q4_1 => {
                Blocks::FourBits(self.bytes.as_chunks().0.iter().map(FourBitBlock::read).collect())
            }
            TensorType::Q8_0 => {
                Blocks::EightBits(self.bytes.as_chunks().0.iter().map(EightBitBlock::read).collect())
            }
        }
    }

    /// All values, row after row, as 32-bit floats.
    pub fn values(&self) -> Vec<f32> {
        match self.blocks() {
            Blocks::Floats(values) => values,
            Blocks::FourBits(blocks) => blocks.iter().flat_map(FourBitBlock::values).collect(),
            Blocks::EightBits(blocks) => blocks.iter().flat_map(EightBitBlock::values).collect(),
        }
    }
}

fn half<const N: usize>(block: &[u8; N], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
