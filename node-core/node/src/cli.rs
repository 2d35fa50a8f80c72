//! The command line.
//!
//! Commands that only need files work on the data folder; the others ask the node that owns it through its control API.

mod chain;
mod coins;
mod faucet;
mod gateway;
mod genesis;
mod init;
mod offers;
mod output;
mod running;
mod serve;
mod streams;
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
    /// Run the node until it is told to stop
    Serve(serve::Serve),
    /// Show what the running node does, and why not more
    Status,
    /// Show jobs, what they brought, and how they are paid
    Earnings(running::EarningsCommand),
    /// Stop work for others, for a while or until resumed
    Pause(running::PauseCommand),
    /// Work for others again
    Resume,
    /// Change the running node's limits until its next start
    Limits(running::LimitsCommand),
    /// Bring all vouchers that are worth a fee to the chain now
    Settle,
    /// End the running node in good order
    Stop,
    /// Create, import and export wallets; send coins
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// Get play money on a local network
    Faucet(faucet::Faucet),
    /// API keys of the gateway
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// Play a stream of the network
    Play(streams::PlayCommand),
    /// List the streams that this node published
    Streams,
    /// Show what providers of the network offer, and at what price
    Offers,
    /// Check the chain that is stored here
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Look into genesis files
    #[command(subcommand)]
    Genesis(genesis::GenesisCommand),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<()> {
        // HTTPS needs one for the whole program; a second call finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let place = &self.place;
        match self.command {
            Command::Init(command) => command.run(place),
            Command::Serve(command) => command.run(place),
            Command::Status => running::status(place),
            Command::Earnings(command) => command.run(place),
            Command::Pause(command) => command.run(place),
            Command::Resume => running::resume(place),
            Command::Limits(command) => command.run(place),
            Command::Settle => running::settle(place),
            Command::Stop => running::stop(place),
            Command::Wallet(command) => command.run(place),
            Command::Faucet(command) => command.run(place),
            Command::Gateway(command) => command.run(place),
            Command::Play(command) => command.run(place),
            Command::Streams => streams::list(place),
            Command::Offers => offers::list(place),
            Command::Chain(command) => command.run(place),
            Command::Genesis(command) => command.run(place),
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

    /// A command on this data folder, for a person to type.
    pub fn command(&self, name: &str) -> String {
        match &self.data {
            Some(folder) => format!("thetis --data {} {name}", folder.display()),
            None => format!("thetis {name}"),
        }
    }

    /// How answers look.
    pub fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Calls `look` with a command and all below it.
    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        for inner in command.get_subcommands() {
            each(inner, look);
        }
    }

    #[test]
    fn every_command_and_every_argument_explains_itself() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        command.build();
        let mut commands = 0;
        each(&command, &mut |command| {
            commands += 1;
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                let name = format!("{} {}", command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{name} has no help");
            }
        });
        assert!(commands > 20, "{commands}");
    }

    #[test]
    fn help_is_printed_for_every_command() {
        let mut command = Cli::command();
        command.build();
        let mut paths = Vec::new();
        collect(&command, Vec::new(), &mut paths);
        for path in paths {
            let asked = path.iter().map(String::as_str).chain(["--help"]);
            let shown = Cli::try_parse_from(asked).unwrap_err();
            assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp, "{path:?}");
            assert!(shown.to_string().contains("Usage:"), "{path:?}: {shown}");
        }
    }

    fn collect(command: &clap::Command, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) {
        path.push(command.get_name().to_owned());
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            collect(inner, path.clone(), paths);
        }
        paths.push(path);
    }
}
