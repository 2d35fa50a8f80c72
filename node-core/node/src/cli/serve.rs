//! `thetis serve`.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use clap::Args;
use theta_types::checksum_text;
use theta_wallet::{PassphraseError, Wallet};
use tracing_subscriber::EnvFilter;

use super::{Place, init::with_values};
use crate::{
    data_folder::DataFolder,
    node::{Node, NodeConfig},
    settings::Settings,
};

/// Runs the node until it is told to stop.
#[derive(Debug, Args)]
#[command(
    after_help = "The wallet's passphrase comes from --passphrase-file, a systemd credential named thetis-passphrase, the
system's keyring, or the terminal. Without any of them the node runs with a locked wallet: it keeps its chain
and its vouchers, takes no paid work and spends nothing, until `thetis wallet unlock`.

Examples:
  thetis serve
  thetis serve --data /srv/thetis --passphrase-file /etc/thetis/passphrase
  thetis serve --set limits.upload_bytes_per_second=500000"
)]
pub struct Serve {
    /// Set anything that thetis.toml knows, for this run alone; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// What is logged, e.g. info or edge_market=debug
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info,libp2p=warn,libp2p_kad=error",
        env = "THETIS_LOG"
    )]
    log: String,
    /// Leave the wallet locked
    #[arg(long)]
    locked: bool,
}

impl Serve {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let filter =
            EnvFilter::try_new(&self.log).with_context(|| format!("--log {:?} is no filter", self.log))?;
        let colours = std::io::stderr().is_terminal();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .init();
        let folder = DataFolder::open(place.folder()?)?;
        let settings = read_settings(&folder, &self.set)?;
        let keys = place.key_folder()?;
        let address = match keys.addresses()?.as_slice() {
            [address] => *address,
            [] => bail!(
                "there is no wallet in {}: create one with `thetis wallet create`",
                keys.path().display()
            ),
            several => bail!(
                "there are {} wallets in {}; a node has one: move the others away",
                several.len(),
                keys.path().display()
            ),
        };
        let wallet = Wallet::locked(address);
        if !self.locked {
            match place.passphrase()?.for_unlocking() {
                Ok(passphrase) => wallet.unlock_with(keys.unlock(&address, &passphrase)?)?,
                Err(PassphraseError::NoSource) => {}
                Err(error) => return Err(error).context("the wallet's passphrase cannot be read"),
            }
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(NodeConfig { folder, settings, wallet, keys }))
    }
}

/// The settings of a data folder, with some replaced.
pub(super) fn read_settings(folder: &DataFolder, set: &[String]) -> anyhow::Result<Settings> {
    let path = folder.settings();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let settings = Settings::parse(&text).with_context(|| format!("{} cannot be used", path.display()))?;
    with_values(&settings, set)
}

async fn run(config: NodeConfig) -> anyhow::Result<()> {
    let wallet = config.wallet.clone();
    // From before the start on, so that a signal during it is not lost.
    let signal = stop_signal()?;
    tokio::pin!(signal);
    let node = tokio::select! {
        node = Node::start(config) => node?,
        name = &mut signal => {
            tracing::info!(signal = name, "told to stop while starting");
            return Ok(());
        }
    };
    if wallet.is_locked() {
        tracing::warn!(
            "the wallet is locked: no paid work is taken and nothing is spent; unlock it with `thetis wallet unlock`"
        );
    }
    tracing::info!(wallet = checksum_text(&wallet.address()), control = node.control_url(), "the node is up");
    tokio::select! {
        name = signal => tracing::info!(signal = name, "told to stop"),
        () = node.stop_wanted() => {}
    }
    node.stop().await;
    Ok(())
}

/// Returns with its name when a signal to end comes.
fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without a console there is nothing to wait for; the control API can still stop the node.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}
