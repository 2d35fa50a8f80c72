//! Arguments of a call, in the forms that clients use (spec 06 section 1.2).

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, Unexpected, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::RpcError;

/// The `params` member of a request, not looked into yet.
#[derive(Debug, Clone, Default)]
pub struct Params {
    text: Option<Box<RawValue>>,
}

impl Params {
    pub(crate) fn new(text: Option<Box<RawValue>>) -> Self {
        Self { text }
    }

    /// The JSON text; `None` when the request has no arguments.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref().map(RawValue::get)
    }

    /// The argument object: the member itself, or the first element of a list. Nothing, `[]` and `{}` leave every field at its default;
    /// names match in any case, unknown ones are ignored, of repeated ones the last counts.
    ///
    /// # Errors
    /// A field of the wrong type, or no object.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        let Some(text) = self.text() else { return fields(Map::new()) };
        let argument = match serde_json::from_str(text).map_err(RpcError::arguments)? {
            Value::Array(list) => list.into_iter().next().unwrap_or_else(|| Value::Object(Map::new())),
            other => other,
        };
        match argument {
            Value::Object(members) => fields(members),
            _ => Err(RpcError::arguments("the arguments have to be an object")),
        }
    }
}

fn fields<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, RpcError> {
    let members = members.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    T::deserialize(Value::Object(members)).map_err(RpcError::arguments)
}

/// A height in an argument: a decimal string as the reference wants it, or a JSON number, which some clients send.
pub fn height<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Decimal;

    impl Visitor<'_> for Decimal {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a decimal number in a string")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { text.parse().ok() } else { None };
            number.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Decimal)
}

/// A text in an argument; `null` counts as empty.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A flag in an argument; `null` counts as false.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
