//! JSON as the reference writes it (spec 01 section 2): counters as decimal strings, bytes as hex or base64, Go's escapes.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

/// Compact JSON text with the escapes of Go's encoder: `<`, `>`, `&`, U+2028 and U+2029 as `\u003c` and so on.
///
/// # Errors
/// Those of the value's own `Serialize`; none of this crate's types has any.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, GoFormatter))?;
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

/// A serde_json formatter with Go's escapes, for those who write to a stream of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, character) in fragment.char_indices() {
            if matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                writer.write_all(&fragment.as_bytes()[plain_from..at])?;
                write!(writer, "\\u{:04x}", u32::from(character))?;
                plain_from = at + character.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Backspace => writer.write_all(b"\\u0008"),
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}

/// The text that Go's encoder shows for bytes that should be UTF-8: each bad byte becomes U+FFFD.
pub fn lossy_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// A counter as a decimal string: `"123"`. A bare number is refused, as the reference does.
pub mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `"123"`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Copy + Into<u64>, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&(*value).into())
    }

    /// Reads `"123"`.
    ///
    /// # Errors
    /// A bare number, signs, spaces, nothing, or more than 64 bits.
    pub fn deserialize<'de, T: From<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(D::Error::custom("a counter is written in decimal digits"));
        }
        text.parse::<u64>().map(T::from).map_err(D::Error::custom)
    }
}

/// Bytes as hex: `"0x0a"`, none as `"0x"`; `null` reads as none.
pub mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `"0x…"`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("0x{}", hex::encode(bytes)))
    }

    /// Reads `"0x…"` or `null`.
    ///
    /// # Errors
    /// No prefix, an odd number of digits, other characters.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let Some(text) = Option::<std::borrow::Cow<str>>::deserialize(deserializer)? else {
            return Ok(Vec::new());
        };
        let digits = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .ok_or_else(|| D::Error::custom("hex bytes start with 0x"))?;
        hex::decode(digits).map_err(D::Error::custom)
    }
}

/// A list that Go may write as `null`.
pub mod list_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the list, `[]` when empty.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Serialize, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list)
    }

    /// Reads a list, or `null` as an empty one.
    ///
    /// # Errors
    /// Those of the elements.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}
