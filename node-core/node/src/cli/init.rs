//! `thetis init`.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use edge_jobs::JobKind;
use serde::Serialize;
use theta_types::{SecretKey, checksum_text};

use super::{Place, output::columns};
use crate::{
    data_folder::{DataFolder, write_private_file},
    settings::{Network, Settings},
};

/// Creates a data folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thetis init                                   a node on a local network of its own, to try things
  thetis init --offer relay,transcode           also works for others
  thetis init --rpc http://127.0.0.1:16888/rpc  takes part in the chain of another node")]
pub struct Init {
    /// The network
    #[arg(long, value_enum, default_value_t = NetworkName::Local)]
    network: NetworkName,
    /// The theta.* RPC of another node, whose answers are trusted; without it the node runs the chain itself
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Kinds of work to offer to others
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    offer: Vec<KindName>,
    /// Serve the APIs for creators and developers
    #[arg(long)]
    gateway: bool,
    /// Multiaddress of a node to join the overlay through, with its /p2p/ part; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    /// Use the wallet that is in the folder already, and create none
    #[arg(long)]
    keep_wallet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NetworkName {
    Local,
    Privatenet,
    Testnet,
    Mainnet,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindName {
    Relay,
    Transcode,
    Embeddings,
    Chat,
}

impl From<NetworkName> for Network {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::Local => Network::Local,
            NetworkName::Privatenet => Network::Privatenet,
            NetworkName::Testnet => Network::Testnet,
            NetworkName::Mainnet => Network::Mainnet,
        }
    }
}

impl From<KindName> for JobKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Relay => JobKind::Relay,
            KindName::Transcode => JobKind::Transcode,
            KindName::Embeddings => JobKind::Embeddings,
            KindName::Chat => JobKind::Chat,
        }
    }
}

/// Jobs at a time of a kind that is offered.
fn places(kind: JobKind) -> usize {
    match kind {
        JobKind::Relay => 16,
        JobKind::Transcode => 1,
        JobKind::Embeddings | JobKind::Chat => 2,
    }
}

#[derive(Serialize)]
struct Created {
    data: String,
    wallet: String,
    network: Network,
}

impl Init {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let mut settings = Settings::default();
        settings.chain.network = self.network.into();
        settings.chain.rpc = self.rpc.clone();
        settings.gateway.enabled = self.gateway;
        settings.mesh.bootstrap = self.bootstrap.clone();
        for kind in self.offer.iter().map(|kind| JobKind::from(*kind)) {
            settings.offer.places.insert(kind, places(kind));
        }
        let text = settings.to_toml()?;
        Settings::parse(&text)?;

        let folder = DataFolder::create(place.folder()?)?;
        if folder.settings().exists() {
            bail!(
                "{} is a data folder already; its settings are in {}",
                folder.root().display(),
                folder.settings().display()
            );
        }
        let keys = place.key_folder()?;
        let address = match (keys.addresses()?.as_slice(), self.keep_wallet) {
            ([address], _) => *address,
            ([], true) => bail!("there is no wallet in {} to keep", keys.path().display()),
            ([], false) => {
                let passphrase = place.passphrase()?.for_new_key()?;
                let key = SecretKey::random()?;
                keys.store(&key, &passphrase)?;
                key.address()
            }
            (several, _) => bail!("there are {} wallets in {}; a node has one", several.len(), keys.path().display()),
        };
        // Last, because a folder with settings counts as created.
        write_private_file(&folder.settings(), text.as_bytes())
            .with_context(|| format!("{} cannot be written", folder.settings().display()))?;
        let created = Created {
            data: folder.root().display().to_string(),
            wallet: checksum_text(&address),
            network: settings.chain.network,
        };
        place.output().print(&created, |created| {
            columns(&[
                ("Data", created.data.clone()),
                ("Wallet", created.wallet.clone()),
                ("Settings", folder.settings().display().to_string()),
                ("Next", "thetis serve".into()),
            ])
        })
    }
}
