//! Ids with the prefixes of the Video API (spec 07 section 2).

use std::{fmt, str::FromStr};

use rand::RngExt;
use serde::{Deserialize, Serialize};

/// How many characters follow an id's prefix.
const BODY: usize = 25;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `length` characters of `a-z0-9`, each with 5.1 bits of the operating system's randomness.
pub(crate) fn random_text(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// A text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is `{prefix}` and {BODY} characters of a-z and 0-9")]
pub struct IdError {
    prefix: &'static str,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What the id begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id.
            pub fn random() -> Self {
                Self(format!("{}{}", Self::PREFIX, random_text(BODY)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let body = text.strip_prefix($prefix).filter(|body| {
                    body.len() == BODY && body.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
                });
                body.map(|_| Self(text.to_owned())).ok_or(IdError { prefix: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

prefixed_id!(
    /// The public half of an API key; the Video API calls it a service account.
    KeyId,
    "srvacc_"
);
prefixed_id!(
    /// A file that is or will be uploaded.
    UploadId,
    "upload_"
);
prefixed_id!(
    /// A video.
    VideoId,
    "video_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ_and_read_back() {
        let (one, two) = (VideoId::random(), VideoId::random());
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), "video_".len() + 25);
        assert_eq!(one.as_str().parse::<VideoId>(), Ok(one));
    }

    #[test]
    fn what_could_leave_a_folder_is_no_id() {
        for text in [
            "",
            "upload_",
            "upload_../../../../etc/passwd0000",
            "video_0123456789012345678901234",
            "upload_A123456789012345678901234",
        ] {
            assert!(text.parse::<UploadId>().is_err(), "{text}");
        }
    }
}
