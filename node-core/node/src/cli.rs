//! The command line.
//!
//! Commands that only need files work on the data folder; the others ask the node that owns it through its control API.

mod genesis;
mod init;
mod output;
mod wallet;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use theta_wallet::{OsKeyring, PassphraseSource, TerminalPrompt};

pub use output::Output;

use crate::data_folder::create_private_folder;

/// Thetis, an open edge node for the Theta Network.
#[derive(Debug, Parser)]
#[command(name = "thetis", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub place: Place,
}

const EXAMPLES: &str = "Examples:
  thetis init                        create a data folder on the local network, with a new wallet
  thetis serve                       run the node
  thetis status                      what the running node does, and why not more
  thetis genesis inspect FILE        check a genesis file and show what it holds";

/// Where the node's data lies, and how answers look.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The data folder [default: ~/.thetis]
    #[arg(long, global = true, value_name = "FOLDER", env = "THETIS_DATA")]
    pub data: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Take the wallet's passphrase from this file, which only its owner may read (mode 0600)
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a data folder: settings and a wallet
    Init(init::Init),
    /// Create, import, list and export wallets
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// Look into genesis files
    #[command(subcommand)]
    Genesis(genesis::GenesisCommand),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init(command) => command.run(&self.place),
            Command::Wallet(command) => command.run(&self.place),
            Command::Genesis(command) => command.run(&self.place),
        }
    }
}

impl Place {
    /// The data folder that is meant.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.data {
            Some(folder) => Ok(folder.clone()),
            None => std::env::home_dir()
                .map(|home| home.join(".thetis"))
                .context("there is no home folder: say where the data lies with --data"),
        }
    }

    /// The folder of the wallet's key files, created if need be.
    pub fn key_folder(&self) -> anyhow::Result<theta_wallet::KeyFolder> {
        let path = self.folder()?.join("keys");
        create_private_folder(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(theta_wallet::KeyFolder::open(path)?)
    }

    /// Where the passphrase of this folder's wallet comes from: a file, else the keyring, else the person at the terminal.
    pub fn passphrase(&self) -> anyhow::Result<PassphraseSource> {
        let folder = self.folder()?;
        let scope = std::path::absolute(&folder).unwrap_or(folder);
        Ok(PassphraseSource::new(
            self.passphrase_file.clone(),
            Some(OsKeyring::of_folder(&scope.to_string_lossy())),
            Some(Box::new(TerminalPrompt)),
        ))
    }

    /// How answers look.
    pub fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}
