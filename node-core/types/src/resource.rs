//! Names of resources that payments are made for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::lossy_text;
use crate::rlp::{Decode, Encode, Reader, RlpError, encode_string};

/// Names what a payment is for. The chain carries any bytes; here they are kept as they are, and shown as text.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(Vec<u8>);

impl ResourceId {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for ResourceId {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for ResourceId {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&[u8]> for ResourceId {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lossy_text(&self.0))
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceId({:?})", lossy_text(&self.0))
    }
}

impl Encode for ResourceId {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_string(&self.0, out);
    }
}

impl Decode for ResourceId {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(Self(reader.string()?.to_vec()))
    }
}

impl Serialize for ResourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&lossy_text(&self.0))
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?))
    }
}
