//! GGUF files: metadata and tensors, read from bytes without trusting any of them.
//!
//! The layout is little-endian: magic, version, two counts, then key-value pairs, tensor descriptions, padding to the
//! file's alignment, and the tensors' data. Every count and length is checked against the bytes that remain before
//! anything is allocated, so no file makes the reader panic or take more memory than a few times the file's size.

mod cursor;
mod tensor;
mod value;

use std::collections::BTreeMap;

pub use self::tensor::{BLOCK, Blocks, EightBitBlock, FourBitBlock, Tensor, TensorType};
pub use self::value::Value;
use self::{cursor::Cursor, tensor::TensorInfo};

const MAGIC: &[u8; 4] = b"GGUF";
/// Versions 2 and 3 have the same layout; version 1 had 32-bit counts.
const VERSIONS: [u32; 2] = [2, 3];
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 16;
const MAX_DIMENSIONS: u32 = 4;

/// A parsed GGUF file that owns its bytes.
#[derive(Debug)]
pub struct Gguf {
    bytes: Vec<u8>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Why a file is not a GGUF file that this reader can use. No retry helps; another file does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The file does not start with the magic bytes.
    #[error("not a GGUF file")]
    Magic,
    /// A version that is not read.
    #[error("GGUF version {0} is not read, only 2 and 3")]
    Version(u32),
    /// A count, length or offset points behind the end.
    #[error("the file ends inside {0}")]
    Truncated(&'static str),
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A metadata type that does not exist, or an array of arrays.
    #[error("metadata type {0} is not read")]
    ValueType(u32),
    /// Two entries of one name.
    #[error("`{0}` is there twice")]
    Duplicate(String),
    /// An alignment that is no power of two, or too large.
    #[error("an alignment of {0} bytes is not valid")]
    Alignment(u64),
    /// A tensor type that is not read; the name says which.
    #[error("tensor `{tensor}` is {kind}, which is not read (F32, Q4_1 and Q8_0 are)")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's name.
        kind: String,
    },
    /// A tensor whose shape is not possible.
    #[error("tensor `{0}` has an impossible shape")]
    Shape(String),
    /// Two tensors share bytes.
    #[error("the tensors `{0}` and `{1}` overlap")]
    Overlap(String, String),
    /// Metadata that must be there is not, or has another type.
    #[error("`{0}` is missing or of another type")]
    Missing(String),
}

impl Gguf {
    /// Parses a file's bytes and keeps them.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(&bytes);
        if cursor.take(4, "the header")? != MAGIC {
            return Err(GgufError::Magic);
        }
        let version = cursor.u32("the header")?;
        if !VERSIONS.contains(&version) {
            return Err(GgufError::Version(version));
        }
        let tensor_count = cursor.u64("the header")?;
        let value_count = cursor.u64("the header")?;
        let metadata = read_metadata(&mut cursor, value_count)?;
        let described = read_descriptions(&mut cursor, tensor_count)?;
        let data_start = data_start(cursor.position(), &metadata)?;
        let mut tensors = BTreeMap::new();
        for (name, description) in described {
            let info = description.locate(&name, data_start, bytes.len())?;
            tensors.insert(name, info);
        }
        refuse_overlaps(&tensors)?;
        Ok(Self { bytes, metadata, tensors })
    }

    /// A metadata value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A text that must be there.
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        match self.value(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(GgufError::Missing(key.into())),
        }
    }

    /// A whole number, not negative, that must be there.
    pub fn count(&self, key: &str) -> Result<u64, GgufError> {
        match self.value(key) {
            Some(Value::Unsigned(number)) => Ok(*number),
            Some(Value::Signed(number)) => u64::try_from(*number).map_err(|_| GgufError::Missing(key.into())),
            _ => Err(GgufError::Missing(key.into())),
        }
    }

    /// A fraction that must be there.
    pub fn fraction(&self, key: &str) -> Result<f64, GgufError> {
        match self.value(key) {
            Some(Value::Float(number)) => Ok(*number),
            _ => Err(GgufError::Missing(key.into())),
        }
    }

    /// An array of texts that must be there.
    pub fn texts(&self, key: &str) -> Result<&[String], GgufError> {
        match self.value(key) {
            Some(Value::Texts(texts)) => Ok(texts),
            _ => Err(GgufError::Missing(key.into())),
        }
    }

    /// An array of whole numbers that must be there.
    pub fn integers(&self, key: &str) -> Result<&[i64], GgufError> {
        match self.value(key) {
            Some(Value::Integers(numbers)) => Ok(numbers),
            _ => Err(GgufError::Missing(key.into())),
        }
    }

    /// A tensor of exactly this shape, given as rows and columns; a vector has one row.
    pub fn tensor(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor<'_>, GgufError> {
        let info = self.tensors.get(name).ok_or_else(|| GgufError::Missing(name.into()))?;
        if (info.rows, info.columns) != (rows, columns) {
            return Err(GgufError::Shape(name.into()));
        }
        Ok(Tensor { kind: info.kind, rows, columns, bytes: &self.bytes[info.range.clone()] })
    }

    /// Whether a tensor of that name is there.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Value>, GgufError> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.text("a metadata key")?.to_owned();
        let value = Value::read(cursor)?;
        if metadata.contains_key(&key) {
            return Err(GgufError::Duplicate(key));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// What the file says about a tensor, before its place is checked.
struct Description {
    kind: TensorType,
    rows: usize,
    columns: usize,
    offset: u64,
}

impl Description {
    fn locate(self, name: &str, data_start: u64, length: usize) -> Result<TensorInfo, GgufError> {
        let Self { kind, rows, columns, offset } = self;
        let size = kind.bytes(rows, columns).ok_or_else(|| GgufError::Shape(name.into()))?;
        let start = data_start.checked_add(offset).and_then(|start| usize::try_from(start).ok());
        let end = start.and_then(|start| start.checked_add(size)).filter(|end| *end <= length);
        match (start, end) {
            (Some(start), Some(end)) => Ok(TensorInfo { kind, rows, columns, range: start..end }),
            _ => Err(GgufError::Truncated("a tensor")),
        }
    }
}

fn read_descriptions(
    cursor: &mut Cursor<'_>,
    count: u64,
) -> Result<BTreeMap<String, Description>, GgufError> {
    const WHAT: &str = "a tensor's description";
    let mut described = BTreeMap::new();
    for _ in 0..count {
        let name = cursor.text(WHAT)?.to_owned();
        let dimensions = cursor.u32(WHAT)?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(GgufError::Shape(name));
        }
        // The first dimension is the one whose values stand side by side.
        let columns = cursor.u64(WHAT)?;
        let mut rows = 1_u64;
        for _ in 1..dimensions {
            rows = rows.checked_mul(cursor.u64(WHAT)?).ok_or_else(|| GgufError::Shape(name.clone()))?;
        }
        let number = cursor.u32(WHAT)?;
        let kind = TensorType::from_number(number)
            .ok_or_else(|| GgufError::TensorType { tensor: name.clone(), kind: tensor::type_name(number) })?;
        let offset = cursor.u64(WHAT)?;
        let (Ok(rows), Ok(columns)) = (usize::try_from(rows), usize::try_from(columns)) else {
            return Err(GgufError::Shape(name));
        };
        if described.contains_key(&name) {
            return Err(GgufError::Duplicate(name));
        }
        described.insert(name, Description { kind, rows, columns, offset });
    }
    Ok(described)
}

/// Each tensor is copied when it is loaded: many that share the same bytes would take many times the file's memory.
fn refuse_overlaps(tensors: &BTreeMap<String, TensorInfo>) -> Result<(), GgufError> {
    let mut placed: Vec<_> = tensors.iter().filter(|(_, info)| !info.range.is_empty()).collect();
    placed.sort_by_key(|(_, info)| info.range.start);
    match placed.windows(2).find(|pair| pair[0].1.range.end > pair[1].1.range.start) {
        Some(pair) => Err(GgufError::Overlap(pair[0].0.clone(), pair[1].0.clone())),
        None => Ok(()),
    }
}

fn data_start(position: usize, metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let alignment = match metadata.get("general.alignment") {
        Some(Value::Unsigned(alignment)) => *alignment,
        Some(_) => return Err(GgufError::Missing("general.alignment".into())),
        None => DEFAULT_ALIGNMENT,
    };
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        return Err(GgufError::Alignment(alignment));
    }
    (position as u64).checked_next_multiple_of(alignment).ok_or(GgufError::Alignment(alignment))
}

#[cfg(test)]
pub(crate) mod writer;

#[cfg(test)]
mod tests;
