//! A reading position in a file's bytes.

use super::GgufError;

/// Reads little-endian values one after another; every read is checked against what remains.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], GgufError> {
        if count > self.remaining() {
            return Err(GgufError::Truncated(what));
        }
        let taken = &self.bytes[self.position..self.position + count];
        self.position += count;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length (8 bytes) and as many bytes of UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let length = usize::try_from(self.u64(what)?).map_err(|_| GgufError::Truncated(what))?;
        std::str::from_utf8(self.take(length, what)?).map_err(|_| GgufError::Text)
    }
}
