//! The settings of a node: `thetis.toml` in its data folder.
//!
//! Everything has a default; a file holds what its owner chose. Unknown names are errors, so that a misspelt limit is
//! not silently no limit.

mod amount;
mod schedule;
mod threads;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use edge_jobs::{ComputeDevice, JobKind, VideoEncoder};
use serde::{Deserialize, Serialize};

pub use amount::Tfuel;
pub use schedule::{Hours, LocalTime, Schedule, Weekday};
use threads::MOST;

/// All settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which chain, and how it is reached.
    pub chain: ChainSettings,
    /// The overlay of edge nodes.
    pub mesh: MeshSettings,
    /// Work that this node does for others, and its prices.
    pub offer: OfferSettings,
    /// What work may take of this machine.
    pub limits: Limits,
    /// The APIs for creators and developers.
    pub gateway: GatewaySettings,
    /// The local player.
    pub player: PlayerSettings,
    /// The worker programs.
    pub workers: WorkerSettings,
    /// Reserves, credit and settlement.
    pub payments: PaymentSettings,
    /// The control API.
    pub control: ControlSettings,
}

/// A Theta network (design section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A chain of its own with one validator and a faucet; its coins are worth nothing.
    #[default]
    Local,
    /// The reference's private network.
    Privatenet,
    /// The public test network.
    Testnet,
    /// The main network.
    Mainnet,
}

/// How a node reaches its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainSettings {
    /// The network.
    pub network: Network,
    /// The theta.* RPC of another node, e.g. `http://127.0.0.1:16888/rpc`. Its answers are trusted, not verified. Absent: this
    /// node runs the chain itself.
    pub rpc: Option<String>,
    /// Where this node serves theta.* RPC when it runs the chain itself; loopback alone, port 0 takes a free one.
    pub rpc_listen: SocketAddr,
    /// Time between blocks of the `local` network in milliseconds.
    pub block_interval_ms: u64,
}

impl Default for ChainSettings {
    fn default() -> Self {
        Self {
            network: Network::Local,
            rpc: None,
            rpc_listen: SocketAddr::from(([127, 0, 0, 1], 16888)),
            block_interval_ms: 1_000,
        }
    }
}

/// The overlay of edge nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeshSettings {
    /// Whether this node joins the overlay.
    pub enabled: bool,
    /// Multiaddresses to listen on; port 0 takes a free one.
    pub listen: Vec<String>,
    /// Multiaddresses of nodes to join through, each with its `/p2p/` part.
    pub bootstrap: Vec<String>,
    /// Whether nodes of the same local network are looked for (multicast DNS). Absent means yes, but not on the `local` network, of
    /// which every machine may have its own. Never when it listens on loopback alone.
    pub local_discovery: Option<bool>,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: vec!["/ip4/0.0.0.0/udp/0/quic-v1".into(), "/ip4/0.0.0.0/tcp/0".into()],
            bootstrap: Vec::new(),
            local_discovery: None,
        }
    }
}

/// Work that this node does for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfferSettings {
    /// The most for one segment of a stream that is bought from other edge nodes because its creator does not answer any
    /// more. Absent means this node's own price of a segment, so that one sale pays for it; that is the most in any case.
    /// `"0"` buys nothing.
    pub copy_price: Option<Tfuel>,
    /// The most that is spent in a day on such segments.
    pub copy_budget: Tfuel,
    /// Jobs at a time for each kind, at most 1,024; 0 does not offer the kind.
    pub places: BTreeMap<JobKind, usize>,
    /// Price of a unit of each kind, e.g. `"0.05"` TFUEL.
    pub prices: BTreeMap<JobKind, Tfuel>,
}

impl OfferSettings {
    /// The most that is paid for a segment to be sold again.
    pub fn highest_copy_price(&self) -> Tfuel {
        let own = self.price(JobKind::Relay);
        match &self.copy_price {
            Some(most) if most.wei() < own.wei() => most.clone(),
            _ => own,
        }
    }

    /// The price of one unit of `kind`.
    pub fn price(&self, kind: JobKind) -> Tfuel {
        self.prices.get(&kind).cloned().unwrap_or_else(|| default_price(kind))
    }
}

impl Default for OfferSettings {
    fn default() -> Self {
        Self {
            copy_price: None,
            copy_budget: Tfuel::milli(5_000),
            places: JobKind::ALL.into_iter().map(|kind| (kind, 0)).collect(),
            prices: JobKind::ALL.into_iter().map(|kind| (kind, default_price(kind))).collect(),
        }
    }
}

/// Prices of the `local` network's defaults: a settlement costs 0.3 TFUEL, so that a line of ten fees is some dozens of units.
fn default_price(kind: JobKind) -> Tfuel {
    Tfuel::milli(match kind {
        JobKind::Relay => 50,
        JobKind::Transcode => 250,
        JobKind::Embeddings => 20,
        JobKind::Chat => 50,
    })
}

/// The largest video that nodes take unless told otherwise, as creators and as providers: what one takes in, the others
/// do not refuse.
const LARGEST_SOURCE: u64 = 4 << 30;

/// What work may take of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes a second sent to other nodes; absent means no limit.
    pub upload_bytes_per_second: Option<u64>,
    /// Bytes of other people's segments kept on disk.
    pub cache_bytes: u64,
    /// Processor threads that work may take: those of all transcodes and those of models together, each at least one. Absent
    /// means half of the processor for either.
    pub cpu_threads: Option<u32>,
    /// Processor threads for one job of the media worker; absent means its share of the above.
    pub media_threads: Option<u32>,
    /// Memory for the weights of models, in MiB.
    pub model_memory_mib: u64,
    /// The largest video that is taken to be transcoded, in bytes.
    pub source_bytes: u64,
    /// When work is taken; empty means always.
    pub schedule: Schedule,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes_per_second: None,
            cache_bytes: 10_000_000_000,
            cpu_threads: None,
            media_threads: None,
            model_memory_mib: 2_048,
            source_bytes: LARGEST_SOURCE,
            schedule: Schedule::default(),
        }
    }
}

/// The APIs for creators and developers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Whether they are served.
    pub enabled: bool,
    /// Where; loopback alone, port 0 takes a free one.
    pub listen: SocketAddr,
    /// Calls to models at a time, 1 to 1,024; more wait.
    pub running: usize,
    /// Calls that may wait; more are refused with 429.
    pub waiting: usize,
    /// Largest upload in bytes. Providers refuse what is above their own limits.source_bytes.
    pub upload_bytes: u64,
    /// The share of chats and embeddings that are checked by doing a part of them again, 0 to 1. What looks wrong is checked
    /// in any case, and every video is.
    pub check_share: f64,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: SocketAddr::from(([127, 0, 0, 1], 8088)),
            running: 8,
            waiting: 64,
            upload_bytes: LARGEST_SOURCE,
            check_share: 0.1,
        }
    }
}

/// The local player.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlayerSettings {
    /// Whether streams can be played through this node.
    pub enabled: bool,
    /// Where players reach it; loopback alone, port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for PlayerSettings {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], 8089)) }
    }
}

/// The worker programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// The media worker; absent means `thetis-media` beside this program, then on the path.
    pub media: Option<PathBuf>,
    /// The compute worker; absent means `thetis-compute` beside this program, then on the path.
    pub compute: Option<PathBuf>,
    /// The folder of models; absent means `models` in the data folder.
    pub models: Option<PathBuf>,
    /// The H.264 encoder.
    pub encoder: VideoEncoder,
    /// Where models run.
    pub device: ComputeDevice,
}

/// Reserves, credit and settlement (design section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentSettings {
    /// What one reserve for a provider holds.
    pub reserve: Tfuel,
    /// How long a reserve lasts in blocks, 300 to 43,200.
    pub reserve_blocks: u64,
    /// A line is settled when it exceeds so many fees.
    pub settle_at_fees: u64,
    /// What a payer without a reserve may owe.
    pub credit: Tfuel,
    /// The most that this node spends in a day.
    pub daily_limit: Tfuel,
}

impl Default for PaymentSettings {
    fn default() -> Self {
        Self {
            reserve: Tfuel::milli(20_000),
            reserve_blocks: 1_000,
            settle_at_fees: 10,
            credit: Tfuel::milli(100),
            daily_limit: Tfuel::milli(200_000),
        }
    }
}

/// The control API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlSettings {
    /// Where it listens; loopback alone, port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }
}

/// Settings that cannot be used, with the reason for a person.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not TOML, or holds a name or value that is not known.
    #[error("the settings are not valid: {0}")]
    Malformed(#[from] toml::de::Error),
    /// Values that cannot be meant.
    #[error("the settings are not valid: {0}")]
    Invalid(String),
}

impl Settings {
    /// Reads settings from TOML and checks them.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text)?;
        settings.check()?;
        Ok(settings)
    }

    /// The settings as TOML.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string_pretty(self).map_err(|error| SettingsError::Invalid(error.to_string()))
    }

    fn check(&self) -> Result<(), SettingsError> {
        let invalid = |text: &str| Err(SettingsError::Invalid(text.to_owned()));
        // Spec 02 section 7.1: the chain refuses other durations.
        if !(300..=43_200).contains(&self.payments.reserve_blocks) {
            return invalid("payments.reserve_blocks is between 300 and 43200");
        }
        if self.payments.settle_at_fees == 0 {
            return invalid(
                "payments.settle_at_fees is at least 1: a settlement never costs more than it brings",
            );
        }
        // Design section 9: whoever wants an API elsewhere puts a server of their own in front of it, which says who may ask.
        for (name, listen, why) in [
            ("control.listen", self.control.listen, "the control API can move money"),
            ("gateway.listen", self.gateway.listen, "its keys would pass over the network in clear"),
            ("player.listen", self.player.listen, "this node would pay for whatever strangers watch"),
            ("chain.rpc_listen", self.chain.rpc_listen, "the theta.* RPC asks nobody for a name"),
        ] {
            if !listen.ip().is_loopback() {
                return Err(SettingsError::Invalid(format!("{name} is a loopback address: {why}")));
            }
        }
        if self.chain.network != Network::Local && self.chain.rpc.is_none() {
            return invalid(
                "chain.rpc is needed: this version runs the chain itself on the local network alone",
            );
        }
        if self.chain.block_interval_ms < 50 {
            return invalid("chain.block_interval_ms is at least 50");
        }
        // Not a number is no share either.
        if !(0.0..=1.0).contains(&self.gateway.check_share) {
            return invalid("gateway.check_share is between 0 and 1");
        }
        if self.limits.upload_bytes_per_second.is_some_and(|rate| rate < 1_024) {
            return invalid(
                "limits.upload_bytes_per_second is at least 1024; to send nothing, offer no places",
            );
        }
        self.check_counts()
    }

    /// Counts that the parts of a node could not be made with, or not be meant.
    fn check_counts(&self) -> Result<(), SettingsError> {
        let most = u64::from(MOST);
        let within = |name: &str, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(SettingsError::Invalid(format!("{name} is between {least} and {most}"))),
        };
        for (kind, places) in &self.offer.places {
            within(&format!("offer.places.{}", kind.name()), *places as u64, 0, most)?;
        }
        within("gateway.running", self.gateway.running as u64, 1, most)?;
        within("gateway.waiting", self.gateway.waiting as u64, 0, 100_000)?;
        within("gateway.upload_bytes", self.gateway.upload_bytes, 1, u64::MAX)?;
        within("limits.cpu_threads", self.limits.cpu_threads.unwrap_or(1).into(), 1, most)?;
        within("limits.media_threads", self.limits.media_threads.unwrap_or(1).into(), 1, most)?;
        within("limits.model_memory_mib", self.limits.model_memory_mib, 64, 1 << 24)?;
        within("limits.source_bytes", self.limits.source_bytes, 1, u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_survive_a_file() {
        let text = Settings::default().to_toml().unwrap();
        assert_eq!(Settings::parse(&text).unwrap(), Settings::default());
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn a_misspelt_name_is_an_error_that_names_it() {
        let error = Settings::parse("[limits]\nupload_bytes_per_secnd = 5000\n").unwrap_err().to_string();
        assert!(error.contains("upload_bytes_per_secnd"), "{error}");
    }

    #[test]
    fn amounts_are_written_in_tfuel_and_never_as_floating_point() {
        let settings = Settings::parse("[offer.prices]\nrelay = \"0.000000000000000001\"\n").unwrap();
        assert_eq!(settings.offer.price(JobKind::Relay).wei().to_u64(), Some(1));
        assert_eq!(settings.offer.price(JobKind::Chat), default_price(JobKind::Chat));
        assert!(Settings::parse("[offer.prices]\nrelay = 0.1\n").is_err());
        assert!(Settings::parse("[offer.prices]\nrelay = \"-1\"\n").is_err());
    }

    #[test]
    fn the_control_api_stays_on_loopback() {
        assert!(Settings::parse("[control]\nlisten = \"0.0.0.0:1\"\n").is_err());
        assert!(Settings::parse("[control]\nlisten = \"127.0.0.1:1\"\n").is_ok());
    }

    #[test]
    fn every_other_api_stays_on_loopback_too() {
        for (section, name) in [("gateway", "listen"), ("player", "listen"), ("chain", "rpc_listen")] {
            let set = |address: &str| Settings::parse(&format!("[{section}]\n{name} = \"{address}\"\n"));
            for address in ["0.0.0.0:1", "192.168.1.2:80", "[::]:1"] {
                let error = set(address).unwrap_err().to_string();
                assert!(error.contains(&format!("{section}.{name} is a loopback address")), "{error}");
            }
            assert!(set("127.0.0.1:1").is_ok() && set("[::1]:1").is_ok());
        }
    }

    #[test]
    fn counts_that_nothing_could_be_made_with_are_refused_by_name() {
        for (text, name) in [
            ("[offer.places]\nchat = 4611686018427387904\n", "offer.places.chat"),
            ("[offer.places]\nrelay = 1025\n", "offer.places.relay"),
            ("[gateway]\nrunning = 0\n", "gateway.running"),
            ("[gateway]\nrunning = 4611686018427387904\n", "gateway.running"),
            ("[gateway]\nwaiting = 4611686018427387904\n", "gateway.waiting"),
            ("[limits]\ncpu_threads = 0\n", "limits.cpu_threads"),
            ("[limits]\nmedia_threads = 5000\n", "limits.media_threads"),
            ("[limits]\nmodel_memory_mib = 1\n", "limits.model_memory_mib"),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(name), "{text}: {error}");
        }
        let most = Settings::parse("[offer.places]\nchat = 1024\n[gateway]\nrunning = 1024\n").unwrap();
        crate::governor::Governor::new(&most.places());
    }

    #[test]
    fn what_a_creator_takes_in_a_provider_with_the_same_settings_does_not_refuse() {
        let settings = Settings::default();
        assert!(settings.gateway.upload_bytes <= settings.limits.source_bytes);
    }

    #[test]
    fn a_public_network_wants_an_rpc_address() {
        assert!(Settings::parse("[chain]\nnetwork = \"mainnet\"\n").is_err());
        assert!(
            Settings::parse("[chain]\nnetwork = \"mainnet\"\nrpc = \"http://127.0.0.1:16888/rpc\"\n").is_ok()
        );
    }
}
