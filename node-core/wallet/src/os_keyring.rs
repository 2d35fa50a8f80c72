//! The passphrase in the operating system's keyring.

use keyring::v1::{Entry, Error};
use theta_types::{Address, checksum_text};

use crate::passphrase::Passphrase;

/// The service name of all entries.
const SERVICE: &str = "thetis";

/// Why the keyring did not keep a passphrase. Ask the person instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is no keyring, for example no desktop session.
    #[error("there is no keyring: {0}")]
    Absent(String),
    /// It is locked, or refuses.
    #[error("the keyring keeps nothing: {0}")]
    Refused(String),
}

/// The entry for one wallet: the key file's passphrase, never the key.
///
/// All calls block until the desktop answers, which may show a window first: keep them off async threads.
#[derive(Debug, Clone)]
pub struct OsKeyring {
    user: String,
}

impl OsKeyring {
    /// The entry of the wallet with this address, in the data folder that `scope` names (so that two folders do not share one).
    pub fn of_wallet(address: &Address, scope: &str) -> Self {
        Self { user: format!("{scope}/{}", checksum_text(address)) }
    }

    /// The entry of the wallet that a data folder is about to get.
    pub fn of_folder(scope: &str) -> Self {
        Self { user: scope.to_owned() }
    }

    /// What is kept, if anything, and if the keyring is there and open.
    pub fn passphrase(&self) -> Option<Passphrase> {
        self.entry().ok()?.get_password().ok().map(Passphrase::new)
    }

    /// Keeps a passphrase, and reads it back: a keyring counts only when it does both.
    ///
    /// # Errors
    /// No keyring, or one that keeps nothing.
    pub fn keep(&self, passphrase: &Passphrase) -> Result<(), KeyringError> {
        self.entry()?.set_password(passphrase.reveal()).map_err(refused)?;
        match self.passphrase() {
            Some(kept) if kept.reveal() == passphrase.reveal() => Ok(()),
            _ => Err(KeyringError::Refused("it does not give back what was kept".into())),
        }
    }

    /// Forgets the passphrase, if one is kept.
    ///
    /// # Errors
    /// No keyring, or one that refuses.
    pub fn forget(&self) -> Result<(), KeyringError> {
        match self.entry()?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    fn entry(&self) -> Result<Entry, KeyringError> {
        Entry::new(SERVICE, &self.user).map_err(|error| KeyringError::Absent(error.to_string()))
    }
}

fn refused(error: Error) -> KeyringError {
    KeyringError::Refused(error.to_string())
}
