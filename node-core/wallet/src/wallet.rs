//! The key that a node earns and pays with, locked or unlocked.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use theta_types::{
    Address, CoinbaseTx, ReserveFundTx, SecretKey, SendTx, ServicePaymentTx, Signature, SplitRuleTx,
};
use tokio::sync::watch;

use crate::key_folder::{KeyFolder, KeyFolderError};
use crate::passphrase::Passphrase;

/// Why the wallet did not sign or unlock.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The key is not in memory. Unlock the wallet first.
    #[error("the wallet is locked")]
    Locked,
    /// The key file could not be opened.
    #[error(transparent)]
    KeyFolder(#[from] KeyFolderError),
    /// The key that was given belongs to another address.
    #[error("the key belongs to {found}, not to {expected}")]
    OtherKey {
        /// Address of this wallet.
        expected: Address,
        /// Address of the key.
        found: Address,
    },
    /// The machine stopped before the key file was opened.
    #[error("unlocking was cut off")]
    Interrupted,
}

/// An address, and its key while unlocked. Clones share the key: locking one locks all.
#[derive(Clone)]
pub struct Wallet {
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    key: RwLock<Option<SecretKey>>,
    locked: watch::Sender<bool>,
}

impl Wallet {
    /// A wallet whose key is not in memory.
    pub fn locked(address: Address) -> Self {
        let shared = Shared { address, key: RwLock::new(None), locked: watch::Sender::new(true) };
        Self { shared: Arc::new(shared) }
    }

    /// A wallet that can sign.
    pub fn unlocked(key: SecretKey) -> Self {
        let shared =
            Shared { address: key.address(), key: RwLock::new(Some(key)), locked: watch::Sender::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// Whose wallet.
    pub fn address(&self) -> Address {
        self.shared.address
    }

    /// True while the key is not in memory.
    pub fn is_locked(&self) -> bool {
        *self.shared.locked.borrow()
    }

    /// [`Wallet::is_locked`], as it changes.
    pub fn lock_changes(&self) -> watch::Receiver<bool> {
        self.shared.locked.subscribe()
    }

    /// Opens the key file. Takes about a second of one core, and 256 MiB of memory.
    ///
    /// # Errors
    /// A wrong passphrase, or no such key in the folder.
    pub async fn unlock(&self, folder: &KeyFolder, passphrase: &Passphrase) -> Result<(), WalletError> {
        let (folder, passphrase, address) = (folder.clone(), passphrase.clone(), self.address());
        let opened = tokio::task::spawn_blocking(move || folder.unlock(&address, &passphrase)).await;
        self.unlock_with(opened.map_err(|_| WalletError::Interrupted)??)
    }

    /// Takes a key that is open already.
    ///
    /// # Errors
    /// [`WalletError::OtherKey`].
    pub fn unlock_with(&self, key: SecretKey) -> Result<(), WalletError> {
        if key.address() != self.address() {
            return Err(WalletError::OtherKey { expected: self.address(), found: key.address() });
        }
        *self.shared.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
        self.shared.locked.send_replace(false);
        Ok(())
    }

    /// Wipes the key from memory.
    pub fn lock(&self) {
        self.shared.key.write().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.locked.send_replace(true);
    }

    /// Lends the key, for what signs on its own.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn with_key<T>(&self, use_key: impl FnOnce(&SecretKey) -> T) -> Result<T, WalletError> {
        let key = self.shared.key.read().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().map(use_key).ok_or(WalletError::Locked)
    }

    /// Signs keccak256 of a message.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign(&self, message: &[u8]) -> Result<Signature, WalletError> {
        self.with_key(|key| key.sign(message))
    }

    /// Signs the inputs that are this wallet's.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign_send(&self, chain_id: &str, tx: &mut SendTx) -> Result<(), WalletError> {
        self.with_key(|key| tx.sign(chain_id, key))
    }

    /// Signs as the payer who reserves.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign_reserve(&self, chain_id: &str, tx: &mut ReserveFundTx) -> Result<(), WalletError> {
        self.with_key(|key| tx.sign(chain_id, key))
    }

    /// Signs as who makes the rule.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign_split_rule(&self, chain_id: &str, tx: &mut SplitRuleTx) -> Result<(), WalletError> {
        self.with_key(|key| tx.sign(chain_id, key))
    }

    /// Signs as the proposer of a block.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign_coinbase(&self, chain_id: &str, tx: &mut CoinbaseTx) -> Result<(), WalletError> {
        self.with_key(|key| tx.sign(chain_id, key))
    }

    /// Signs a payment as the payer, before the work.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign_payment(&self, chain_id: &str, tx: &mut ServicePaymentTx) -> Result<(), WalletError> {
        self.with_key(|key| tx.sign_as_source(chain_id, key))
    }

    /// Signs a payment as the one who is paid, to settle it.
    ///
    /// # Errors
    /// [`WalletError::Locked`].
    pub fn sign_settlement(&self, chain_id: &str, tx: &mut ServicePaymentTx) -> Result<(), WalletError> {
        self.with_key(|key| tx.sign_as_target(chain_id, key))
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("address", &self.address()).field("locked", &self.is_locked()).finish()
    }
}
