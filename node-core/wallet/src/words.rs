//! Keys from twelve or twenty-four words (BIP-39, BIP-32; spec 06 section 4.2).

use std::fmt;

use bip39::{Language, Mnemonic};
use theta_types::SecretKey;
use zeroize::Zeroizing;

use crate::hd::{self, HARDENED};

/// How many words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordCount {
    /// 128 bits, as the Theta wallets make them.
    Twelve,
    /// 256 bits.
    TwentyFour,
}

/// Which wallets derive such keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DerivationPath {
    /// `m/44'/500'/0'/0/index`: Theta wallets.
    #[default]
    Theta,
    /// `m/44'/60'/0'/0/index`: MetaMask and other Ethereum wallets. Offer it when the account of the other is empty.
    Ethereum,
}

/// Why words give no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Neither 12 nor 24.
    #[error("expected 12 or 24 words, found {0}")]
    Count(usize),
    /// Counted from 1. Look it up in the list of English words.
    #[error("word {0} is not in the word list")]
    UnknownWord(usize),
    /// One of the words is wrong, or two are swapped.
    #[error("the words do not fit together: one is wrong, or the order is")]
    Checksum,
    /// There is no key at this place; take the next index.
    #[error("there is no key at this index")]
    NoKey,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
}

/// The words of a wallet. Wiped from memory when dropped; printed only by [`Words::reveal`].
#[derive(Clone)]
pub struct Words {
    text: Zeroizing<String>,
}

impl Words {
    /// New words from the operating system's randomness.
    ///
    /// # Errors
    /// [`WordsError::Randomness`].
    pub fn random(count: WordCount) -> Result<Self, WordsError> {
        let mut entropy = Zeroizing::new([0u8; 32]);
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, entropy.as_mut_slice())
            .map_err(|_| WordsError::Randomness)?;
        let used = match count {
            WordCount::Twelve => &entropy[..16],
            WordCount::TwentyFour => &entropy[..],
        };
        let mnemonic =
            Mnemonic::from_entropy_in(Language::English, used).map_err(|_| WordsError::Randomness)?;
        Ok(Self::of(&mnemonic))
    }

    /// Reads words as typed: any case, any spaces between.
    ///
    /// # Errors
    /// Another number of words, an unknown word, or a wrong check sum.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let lower = Zeroizing::new(text.to_lowercase());
        let words: Zeroizing<Vec<String>> =
            Zeroizing::new(lower.split_whitespace().map(str::to_owned).collect());
        if !matches!(words.len(), 12 | 24) {
            return Err(WordsError::Count(words.len()));
        }
        if let Some(at) = words.iter().position(|word| Language::English.find_word(word).is_none()) {
            return Err(WordsError::UnknownWord(at + 1));
        }
        let joined = Zeroizing::new(words.join(" "));
        Mnemonic::parse_in_normalized(Language::English, &joined)
            .map(|mnemonic| Self::of(&mnemonic))
            .map_err(|_| WordsError::Checksum)
    }

    /// The words with single spaces between. Whoever reads them owns the coins.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The key at a place. Index 0 is the wallet's first account.
    ///
    /// # Errors
    /// [`WordsError::NoKey`], once in 2^127 places.
    pub fn key(&self, path: DerivationPath, index: u32) -> Result<SecretKey, WordsError> {
        let mnemonic =
            Mnemonic::parse_in_normalized(Language::English, &self.text).map_err(|_| WordsError::Checksum)?;
        let seed = Zeroizing::new(mnemonic.to_seed_normalized(""));
        let coin = match path {
            DerivationPath::Theta => 500,
            DerivationPath::Ethereum => 60,
        };
        let steps = [44 + HARDENED, coin + HARDENED, HARDENED, 0, index];
        hd::derive(seed.as_slice(), &steps).ok_or(WordsError::NoKey)
    }

    fn of(mnemonic: &Mnemonic) -> Self {
        Self { text: Zeroizing::new(mnemonic.words().collect::<Vec<_>>().join(" ")) }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(…)")
    }
}

/// Reads a secret key as 64 hex digits, with or without `0x`.
///
/// # Errors
/// Other lengths and digits, and numbers that are no key.
pub fn parse_secret_key(text: &str) -> Result<SecretKey, theta_types::KeyError> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let bytes = Zeroizing::new(
        hex::decode(digits).map_err(|_| theta_types::KeyError::SecretLength(digits.len() / 2))?,
    );
    SecretKey::from_bytes(&bytes)
}
