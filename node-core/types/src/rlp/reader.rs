//! Taking RLP items from the front of a buffer.

use super::RlpError;

/// What is left of a list, or of the whole input. Every method takes the next item. Nothing is allocated or copied, so a length
/// that lies costs nothing.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    in_list: bool,
}

struct Item<'a> {
    is_list: bool,
    payload: &'a [u8],
    raw: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, in_list: false }
    }

    /// True when no item is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether the next item is a list; `None` at the end.
    pub fn next_is_list(&self) -> Option<bool> {
        self.rest.first().map(|byte| *byte >= 0xc0)
    }

    /// A byte string.
    ///
    /// # Errors
    /// A list, a cut item, or one byte below 0x80 written with a header.
    pub fn string(&mut self) -> Result<&'a [u8], RlpError> {
        let item = self.take()?;
        if item.is_list {
            return Err(RlpError::UnexpectedList);
        }
        Ok(item.payload)
    }

    /// A list, as a reader of its elements. Call [`Reader::finish`] on it when all of them are taken.
    ///
    /// # Errors
    /// A string or a cut item.
    pub fn list(&mut self) -> Result<Reader<'a>, RlpError> {
        let item = self.take()?;
        if !item.is_list {
            return Err(RlpError::UnexpectedString);
        }
        Ok(Reader { rest: item.payload, in_list: true })
    }

    /// The next item whole, header and all, whatever it is. Only its outer form is checked.
    ///
    /// # Errors
    /// A cut or non-canonical header.
    pub fn raw_item(&mut self) -> Result<&'a [u8], RlpError> {
        Ok(self.take()?.raw)
    }

    /// A string of exactly `N` bytes.
    ///
    /// # Errors
    /// Another size, or not a string.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], RlpError> {
        let bytes = self.string()?;
        bytes.try_into().map_err(|_| RlpError::WrongSize { expected: N, found: bytes.len() })
    }

    /// The minimal big-endian bytes of an unsigned integer; none for zero.
    ///
    /// # Errors
    /// Leading zeros, or not a string.
    pub fn uint_bytes(&mut self) -> Result<&'a [u8], RlpError> {
        let bytes = self.string()?;
        if bytes.first() == Some(&0) {
            return Err(RlpError::LeadingZero);
        }
        Ok(bytes)
    }

    /// An unsigned integer of at most 64 bits.
    ///
    /// # Errors
    /// See [`Reader::uint_bytes`]; and a wider integer.
    pub fn u64(&mut self) -> Result<u64, RlpError> {
        self.uint_up_to(8)
    }

    /// An unsigned integer of at most 32 bits.
    ///
    /// # Errors
    /// As [`Reader::u64`].
    pub fn u32(&mut self) -> Result<u32, RlpError> {
        Ok(self.uint_up_to(4)? as u32)
    }

    /// An unsigned integer of at most 16 bits.
    ///
    /// # Errors
    /// As [`Reader::u64`].
    pub fn u16(&mut self) -> Result<u16, RlpError> {
        Ok(self.uint_up_to(2)? as u16)
    }

    /// An unsigned integer of at most 8 bits.
    ///
    /// # Errors
    /// As [`Reader::u64`].
    pub fn u8(&mut self) -> Result<u8, RlpError> {
        Ok(self.uint_up_to(1)? as u8)
    }

    /// A truth value.
    ///
    /// # Errors
    /// Anything but 0 and 1.
    pub fn bool(&mut self) -> Result<bool, RlpError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RlpError::InvalidBool),
        }
    }

    /// Checks that a list has no more elements.
    ///
    /// # Errors
    /// [`RlpError::TooManyElements`] (in a list) or [`RlpError::TrailingBytes`] (at the top).
    pub fn finish(&self) -> Result<(), RlpError> {
        match (self.rest.is_empty(), self.in_list) {
            (true, _) => Ok(()),
            (false, true) => Err(RlpError::TooManyElements),
            (false, false) => Err(RlpError::TrailingBytes),
        }
    }

    fn uint_up_to(&mut self, width: usize) -> Result<u64, RlpError> {
        let bytes = self.uint_bytes()?;
        if bytes.len() > width {
            return Err(RlpError::IntegerTooWide { bits: width as u32 * 8 });
        }
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn take(&mut self) -> Result<Item<'a>, RlpError> {
        let Some(&first) = self.rest.first() else {
            return Err(if self.in_list { RlpError::TooFewElements } else { RlpError::TooShort });
        };
        let (is_list, header, length) = match first {
            0x00..=0x7f => (false, 0, 1),
            0x80..=0xb7 => (false, 1, usize::from(first - 0x80)),
            0xb8..=0xbf => {
                let (header, length) = self.long_length(usize::from(first - 0xb7))?;
                (false, header, length)
            }
            0xc0..=0xf7 => (true, 1, usize::from(first - 0xc0)),
            0xf8..=0xff => {
                let (header, length) = self.long_length(usize::from(first - 0xf7))?;
                (true, header, length)
            }
        };
        let end = header.checked_add(length).ok_or(RlpError::TooShort)?;
        let raw = self.rest.get(..end).ok_or(RlpError::TooShort)?;
        let payload = &raw[header..];
        if first == 0x81 && payload[0] < 0x80 {
            return Err(RlpError::NonCanonicalLength);
        }
        self.rest = &self.rest[end..];
        Ok(Item { is_list, payload, raw })
    }

    /// Header size and payload length of an item whose length takes `width` bytes.
    fn long_length(&self, width: usize) -> Result<(usize, usize), RlpError> {
        let bytes = self.rest.get(1..=width).ok_or(RlpError::TooShort)?;
        if bytes[0] == 0 {
            return Err(RlpError::NonCanonicalLength);
        }
        let length = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if length < 56 {
            return Err(RlpError::NonCanonicalLength);
        }
        Ok((1 + width, usize::try_from(length).map_err(|_| RlpError::TooShort)?))
    }
}
