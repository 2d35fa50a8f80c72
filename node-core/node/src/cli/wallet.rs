//! `thetis wallet`: the key files of a data folder.

use std::{io::Read, path::PathBuf};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use theta_types::{Address, SecretKey, checksum_text};
use theta_wallet::{DerivationPath, KeyFolder, WordCount, Words, parse_secret_key};
use zeroize::Zeroizing;

use super::{
    Place,
    coins::{self, SendCommand},
};

/// Commands on wallets.
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Create a wallet from new recovery words, which are shown once
    Create {
        /// How many recovery words
        #[arg(long, value_enum, default_value_t = WordsWanted::Twelve)]
        words: WordsWanted,
    },
    /// Import a wallet: recovery words, a hexadecimal key or a keystore file, read from standard input or FILE
    Import {
        /// The file; standard input when absent
        file: Option<PathBuf>,
    },
    /// List the wallets of the data folder
    List,
    /// Print a wallet's encrypted keystore file, which thetacli and web wallets open with its passphrase
    Export {
        /// The wallet's address; may be left out when there is only one
        address: Option<Address>,
    },
    /// Send coins from the running node's wallet
    Send(SendCommand),
    /// Show the balance of the running node's wallet
    Balance,
    /// Wipe the wallet's key from the running node's memory
    Lock,
    /// Open the wallet of the running node
    Unlock,
}

/// Numbers of recovery words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WordsWanted {
    /// 12 words.
    #[value(name = "12")]
    Twelve,
    /// 24 words.
    #[value(name = "24")]
    TwentyFour,
}

#[derive(Serialize)]
struct Stored {
    address: String,
}

/// Longest input of an import: a keystore file has some 500 bytes.
const LONGEST_IMPORT: u64 = 64 * 1024;

impl WalletCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        match self {
            WalletCommand::Create { words } => create(place, &place.key_folder()?, words),
            WalletCommand::Import { file } => import(place, &place.key_folder()?, file),
            WalletCommand::Send(command) => command.run(place),
            WalletCommand::Balance => coins::balance(place),
            WalletCommand::Lock => coins::lock(place),
            WalletCommand::Unlock => coins::unlock(place),
            WalletCommand::List => {
                let keys = place.key_folder()?;
                let addresses: Vec<String> = keys.addresses()?.iter().map(checksum_text).collect();
                place.output().print(&addresses, |addresses| match addresses.as_slice() {
                    [] => "There is no wallet yet: create one with `thetis wallet create`.".into(),
                    some => some.join("\n"),
                })
            }
            WalletCommand::Export { address } => {
                let keys = place.key_folder()?;
                let address = match (address, keys.addresses()?.as_slice()) {
                    (Some(address), _) => address,
                    (None, [only]) => *only,
                    (None, []) => bail!("there is no wallet to export"),
                    (None, _) => bail!("there are several wallets: say which by its address"),
                };
                println!("{}", keys.export(&address)?);
                Ok(())
            }
        }
    }
}

fn create(place: &Place, keys: &KeyFolder, words: WordsWanted) -> anyhow::Result<()> {
    let count = match words {
        WordsWanted::Twelve => WordCount::Twelve,
        WordsWanted::TwentyFour => WordCount::TwentyFour,
    };
    let words = Words::random(count)?;
    store(place, keys, &words.key(DerivationPath::default(), 0)?)?;
    // To the terminal alone, so that the words do not end in a file with the answer.
    eprintln!(
        "\nRecovery words. Write them on paper now; they are not shown again, and who has them has the money:\n\n  {}",
        words.reveal()
    );
    Ok(())
}

fn import(place: &Place, keys: &KeyFolder, file: Option<PathBuf>) -> anyhow::Result<()> {
    let mut text = Zeroizing::new(String::new());
    match &file {
        Some(path) => std::fs::File::open(path)
            .with_context(|| format!("{} cannot be opened", path.display()))?
            .take(LONGEST_IMPORT)
            .read_to_string(&mut text)
            .with_context(|| format!("{} cannot be read", path.display()))?,
        None => std::io::stdin().lock().take(LONGEST_IMPORT).read_to_string(&mut text)?,
    };
    let text = text.trim();
    if text.starts_with('{') {
        let passphrase = place.passphrase()?.for_unlocking()?;
        let address = keys.import_file(text, &passphrase)?;
        return print_address(place, &address);
    }
    let key = if text.contains(char::is_whitespace) {
        Words::parse(text)?.key(DerivationPath::default(), 0)?
    } else {
        parse_secret_key(text)?
    };
    store(place, keys, &key)
}

fn store(place: &Place, keys: &KeyFolder, key: &SecretKey) -> anyhow::Result<()> {
    if keys.addresses()?.contains(&key.address()) {
        bail!("the wallet {} is here already", checksum_text(&key.address()));
    }
    let passphrase = place.passphrase()?.for_new_key()?;
    keys.store(key, &passphrase)?;
    print_address(place, &key.address())
}

fn print_address(place: &Place, address: &Address) -> anyhow::Result<()> {
    let stored = Stored { address: checksum_text(address) };
    place.output().print(&stored, |stored| format!("Wallet {}", stored.address))
}
