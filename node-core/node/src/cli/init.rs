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
    /// Set anything else that thetis.toml knows, e.g. --set limits.cache_bytes=1000000000; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
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
        let settings = with_values(&settings, &self.set)?;
        let text = settings.to_toml()?;

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
            (several, _) => {
                bail!("there are {} wallets in {}; a node has one", several.len(), keys.path().display())
            }
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
                ("Next", place.command("serve")),
            ])
        })
    }
}

/// The settings with values set by their dotted names. A value is TOML, or else plain text.
pub(super) fn with_values(settings: &Settings, values: &[String]) -> anyhow::Result<Settings> {
    let mut table: toml::Table = settings.to_toml()?.parse()?;
    for text in values {
        let (name, value) =
            text.split_once('=').with_context(|| format!("--set wants NAME=VALUE, not {text:?}"))?;
        let value = match format!("value = {value}").parse::<toml::Table>() {
            Ok(mut parsed) => parsed.remove("value").context("a value is one TOML value")?,
            Err(_) => toml::Value::String(value.to_owned()),
        };
        let (path, last) = name
            .rsplit_once('.')
            .with_context(|| format!("{name:?} is not a name like limits.cache_bytes"))?;
        let mut inner = &mut table;
        for part in path.split('.') {
            inner = inner
                .entry(part)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                .as_table_mut()
                .with_context(|| format!("{path} holds a value, not settings"))?;
        }
        inner.insert(last.to_owned(), value);
    }
    Ok(Settings::parse(&toml::to_string(&table)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_by_their_dotted_names() {
        let values =
            ["payments.settle_at_fees=2", "offer.prices.relay=\"0.5\"", "chain.rpc=http://127.0.0.1:1/rpc"];
        let values: Vec<String> = values.iter().map(|text| (*text).to_owned()).collect();
        let settings = with_values(&Settings::default(), &values).unwrap();
        assert_eq!(settings.payments.settle_at_fees, 2);
        assert_eq!(settings.offer.price(JobKind::Relay).to_string(), "0.5");
        assert_eq!(settings.chain.rpc.as_deref(), Some("http://127.0.0.1:1/rpc"));
    }

    #[test]
    fn a_name_that_is_not_known_is_an_error() {
        assert!(with_values(&Settings::default(), &["payments.settle_at_feez=2".into()]).is_err());
        assert!(with_values(&Settings::default(), &["settle".into()]).is_err());
    }
}
