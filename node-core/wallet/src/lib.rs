//! The wallet: encrypted keys, signing, access to a chain, and payment vouchers.
//!
//! This crate owns the key from its file to its signatures, and the rules of payment by voucher. It stores nothing but key files: who
//! journals transactions and vouchers implements [`TxJournal`] or keeps [`Voucher`]s itself. It runs no chain: it talks to one through
//! [`ChainAccess`].
#![warn(missing_docs)]

mod chain_access;
mod fees;
mod hd;
mod journal;
mod kdf;
mod key_file;
mod key_folder;
mod os_keyring;
mod passphrase;
mod requests;
mod reserve;
mod rpc_chain;
mod rpc_client;
mod sender;
mod voucher;
mod wallet;
mod words;

pub use chain_access::{ChainAccess, ChainError, TxStatus};
pub use fees::{fee_height, regular_fee, send_fee};
pub use journal::{JournalEntry, JournalError, TxJournal, TxOutcome};
pub use key_file::KeyFileError;
pub use key_folder::{KeyFolder, KeyFolderError, address_of_key_file, open_key_file};
pub use os_keyring::{KeyringError, OsKeyring};
pub use passphrase::{
    CREDENTIAL_NAME, Passphrase, PassphraseError, PassphraseSource, Prompt, TerminalPrompt,
    systemd_credential,
};
pub use requests::{RULE_DURATION, RequestError, TxRequest, random_resource_id};
pub use reserve::{Reserve, ReserveError, ReserveTerms, check_reserve};
pub use rpc_chain::{RpcChain, RpcOptions};
pub use sender::{SendError, Sent, TransactionSender};
pub use voucher::{MAX_VOUCHER_LENGTH, PaymentLine, Voucher, VoucherError};
pub use wallet::{Wallet, WalletError};
pub use words::{DerivationPath, WordCount, Words, WordsError, parse_secret_key};
