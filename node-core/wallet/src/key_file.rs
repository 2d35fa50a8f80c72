//! Encrypted key files: Web3 secret storage, version 3 (spec 01 section 3.5).

use aes::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use theta_types::{Address, SecretKey, keccak256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::kdf::{Kdf, KdfError, ScryptCost};
use crate::passphrase::Passphrase;

/// Largest key file that is read.
pub(crate) const MAX_FILE_LENGTH: usize = 64 * 1024;

const CIPHER: &str = "aes-128-ctr";
const VERSION: u32 = 3;

/// Why a key file does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The passphrase is wrong, or the file damaged: the two look alike. Try again.
    #[error("could not decrypt key with given password")]
    WrongPassphrase,
    /// Not a key file of version 3. Export the key again from where it comes.
    #[error("not a key file: {0}")]
    Malformed(String),
    /// Opening it would take too much memory or time. It was not made for this purpose.
    #[error("the key file is refused: {0}")]
    Refused(String),
    /// It holds a number that is no key.
    #[error("the key file holds no valid key")]
    NoKey,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
}

/// The members of the file in the reference's order. Unknown ones are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct KeyFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default)]
    id: String,
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    #[serde(with = "hex::serde")]
    ciphertext: Vec<u8>,
    cipherparams: CipherParams,
    #[serde(flatten)]
    kdf: Kdf,
    #[serde(with = "hex::serde")]
    mac: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CipherParams {
    #[serde(with = "hex::serde")]
    iv: Vec<u8>,
}

/// The text of a key file for this key.
pub(crate) fn encrypt(
    key: &SecretKey,
    passphrase: &Passphrase,
    cost: ScryptCost,
) -> Result<String, KeyFileError> {
    let (mut salt, mut iv) = ([0u8; 32], [0u8; 16]);
    for bytes in [salt.as_mut_slice(), iv.as_mut_slice()] {
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, bytes).map_err(|_| KeyFileError::Randomness)?;
    }
    let kdf = Kdf::scrypt(cost, salt);
    let derived = kdf.derive(passphrase.reveal())?;
    let mut ciphertext = key.to_bytes().to_vec();
    apply_cipher(&derived, &iv, &mut ciphertext);
    let file = KeyFile {
        address: Some(hex::encode(key.address())),
        crypto: Crypto {
            cipher: CIPHER.to_owned(),
            mac: check_bytes(&derived, &ciphertext).to_vec(),
            ciphertext,
            cipherparams: CipherParams { iv: iv.to_vec() },
            kdf,
        },
        id: Uuid::new_v4().to_string(),
        version: VERSION,
    };
    serde_json::to_string(&file).map_err(|error| KeyFileError::Malformed(error.to_string()))
}

/// The key in a key file.
pub(crate) fn decrypt(text: &str, passphrase: &Passphrase) -> Result<SecretKey, KeyFileError> {
    if text.len() > MAX_FILE_LENGTH {
        return Err(KeyFileError::Refused("it is too large".into()));
    }
    let file: KeyFile =
        serde_json::from_str(text).map_err(|error| KeyFileError::Malformed(error.to_string()))?;
    if file.version != VERSION {
        return Err(KeyFileError::Malformed(format!("version {} instead of {VERSION}", file.version)));
    }
    let crypto = file.crypto;
    if crypto.cipher != CIPHER {
        return Err(KeyFileError::Malformed(format!("cipher {} instead of {CIPHER}", crypto.cipher)));
    }
    let iv: [u8; 16] = crypto
        .cipherparams
        .iv
        .try_into()
        .map_err(|_| KeyFileError::Malformed("the iv has 16 bytes".into()))?;
    // Keys shorter than 32 bytes were written without leading zeros by old programs.
    if crypto.ciphertext.is_empty() || crypto.ciphertext.len() > 32 {
        return Err(KeyFileError::Malformed("a key has 32 bytes".into()));
    }
    let derived = crypto.kdf.derive(passphrase.reveal())?;
    let check = check_bytes(&derived, &crypto.ciphertext);
    if !bool::from(check.as_slice().ct_eq(&crypto.mac)) {
        return Err(KeyFileError::WrongPassphrase);
    }
    let mut key = Zeroizing::new([0u8; 32]);
    let place = &mut key[32 - crypto.ciphertext.len()..];
    place.copy_from_slice(&crypto.ciphertext);
    apply_cipher(&derived, &iv, place);
    SecretKey::from_bytes(key.as_slice()).map_err(|_| KeyFileError::NoKey)
}

/// The address that a key file says it is for. Nothing vouches for it until the file is opened.
pub(crate) fn claimed_address(text: &str) -> Option<Address> {
    let file: KeyFile = serde_json::from_str(text.get(..MAX_FILE_LENGTH.min(text.len()))?).ok()?;
    theta_types::parse_address(&file.address?).ok()
}

/// Encrypts and decrypts alike.
fn apply_cipher(derived: &[u8; 32], iv: &[u8; 16], bytes: &mut [u8]) {
    let mut key = Zeroizing::new([0u8; 16]);
    key.copy_from_slice(&derived[..16]);
    ctr::Ctr128BE::<aes::Aes128>::new((&*key).into(), iv.into()).apply_keystream(bytes);
}

/// keccak256 of the second half of the derived bytes and the ciphertext.
fn check_bytes(derived: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    keccak256([&derived[16..], ciphertext].concat()).0
}

impl From<KdfError> for KeyFileError {
    fn from(error: KdfError) -> Self {
        match error {
            KdfError::TooCostly => Self::Refused(error.to_string()),
            KdfError::Senseless | KdfError::Unknown => Self::Malformed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHEAP: ScryptCost = ScryptCost { log_n: 1, r: 8, p: 1 };

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_key_comes_back_with_its_passphrase_alone(secret in any::<[u8; 32]>(), passphrase in ".{0,20}", at in any::<prop::sample::Index>()) {
            let key = SecretKey::from_bytes(&secret).unwrap();
            let text = encrypt(&key, &Passphrase::new(passphrase.as_str()), CHEAP).unwrap();
            let opened = decrypt(&text, &Passphrase::new(passphrase.as_str())).unwrap();
            prop_assert_eq!(opened.to_bytes(), key.to_bytes());
            prop_assert_eq!(claimed_address(&text), Some(key.address()));
            prop_assert_eq!(decrypt(&text, &Passphrase::new(passphrase + "x")).unwrap_err(), KeyFileError::WrongPassphrase);

            let mut damaged = text.into_bytes();
            let at = at.index(damaged.len());
            damaged[at] ^= 1;
            if let Ok(opened) = String::from_utf8(damaged).map(|text| decrypt(&text, &Passphrase::new("x"))) {
                prop_assert!(opened.is_err());
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            prop_assert!(decrypt(&text, &Passphrase::new("")).is_err());
        }
    }

    #[test]
    fn the_file_is_written_as_thetacli_writes_it() {
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        let text = encrypt(&key, &Passphrase::new("p"), CHEAP).unwrap();
        let address = hex::encode(key.address());
        let start =
            format!("{{\"address\":\"{address}\",\"crypto\":{{\"cipher\":\"aes-128-ctr\",\"ciphertext\":\"");
        assert!(text.starts_with(&start), "{text}");
        let order = [
            "ciphertext",
            "cipherparams",
            "\"kdf\":\"scrypt\"",
            "\"kdfparams\":{\"dklen\":32,\"n\":2,\"p\":1,\"r\":8,\"salt\":\"",
            "\"mac\":",
            "\"id\":",
        ];
        let places: Vec<_> = order.iter().map(|part| text.find(part).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.ends_with(",\"version\":3}"), "{text}");
        assert_ne!(text, encrypt(&key, &Passphrase::new("p"), CHEAP).unwrap(), "salt, iv and id are random");
    }

    #[test]
    fn costly_and_senseless_parameters_are_refused_before_any_work() {
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        let text = encrypt(&key, &Passphrase::new("p"), CHEAP).unwrap();
        let open = |from: &str, to: &str| {
            assert!(text.contains(from));
            decrypt(&text.replace(from, to), &Passphrase::new("p")).unwrap_err()
        };
        assert!(matches!(open("\"n\":2,", "\"n\":1099511627776,"), KeyFileError::Refused(_)));
        assert!(matches!(open("\"n\":2,\"p\":1", "\"n\":2,\"p\":4000000000"), KeyFileError::Refused(_)));
        assert!(matches!(open("\"n\":2,", "\"n\":3,"), KeyFileError::Malformed(_)));
        assert!(matches!(open("\"r\":8", "\"r\":0"), KeyFileError::Malformed(_)));
        assert!(matches!(open("\"dklen\":32", "\"dklen\":16"), KeyFileError::Malformed(_)));
        assert!(matches!(open("aes-128-ctr", "aes-128-cbc"), KeyFileError::Malformed(_)));
        assert!(matches!(open("\"version\":3", "\"version\":4"), KeyFileError::Malformed(_)));
        assert!(matches!(open("\"kdf\":\"scrypt\"", "\"kdf\":\"argon2\""), KeyFileError::Malformed(_)));
        assert!(matches!(
            decrypt(&" ".repeat(MAX_FILE_LENGTH + 1), &Passphrase::new("p")),
            Err(KeyFileError::Refused(_))
        ));
    }
}
