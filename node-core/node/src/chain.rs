//! The chain as this node has it: run in process, or reached over the RPC of another node.

mod local_keys;
mod own_chain;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use theta_consensus::{Chain, ChainConfig, ChainHandle, GenesisSource, Timing, local_network};
use theta_ledger::MempoolLimits;
use theta_rpc::{BuildInfo, Faucet, ServerLimits, ThetaService};
use theta_types::{ChainRules, Coins, Wei};
use theta_wallet::{ChainAccess, RpcChain, RpcOptions};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use local_keys::LocalKeys;
pub use own_chain::OwnChain;

use crate::settings::{ChainSettings, Network};

/// TFUEL that the local network's faucet gives at a time.
const FAUCET_TFUEL: u64 = 1_000;
/// THETA that it gives with it.
const FAUCET_THETA: u64 = 1_000;
/// How long a node waits for the RPC of another at its start: both may have been started together.
const RPC_PATIENCE: Duration = Duration::from_secs(30);
const RPC_RETRY: Duration = Duration::from_millis(300);

/// The chain of a running node.
#[derive(Clone)]
pub struct NodeChain {
    /// What wallet and market use.
    pub access: Arc<dyn ChainAccess>,
    /// Its rules.
    pub rules: ChainRules,
    /// The chain itself, when it runs in this process.
    pub own: Option<ChainHandle>,
    /// Where theta.* RPC is: this node's own, or the one that it trusts.
    pub rpc: String,
}

impl std::fmt::Debug for NodeChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeChain")
            .field("rpc", &self.rpc)
            .field("own", &self.own.is_some())
            .finish_non_exhaustive()
    }
}

/// The rules of a network.
pub fn rules_of(network: Network) -> ChainRules {
    match network {
        Network::Local => ChainRules::local(),
        Network::Privatenet => ChainRules::privatenet(),
        Network::Testnet => ChainRules::testnet(),
        Network::Mainnet => ChainRules::mainnet(),
    }
}

impl NodeChain {
    /// Starts the chain, or connects to the one that the settings name.
    pub async fn start(
        settings: &ChainSettings,
        folder: &Path,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        match &settings.rpc {
            Some(url) => Self::connect(settings.network, url, stop).await,
            None => Self::run(settings, folder, tasks, stop).await,
        }
    }

    async fn connect(network: Network, url: &str, stop: &CancellationToken) -> anyhow::Result<Self> {
        let rules = rules_of(network);
        let connected = async {
            loop {
                match RpcChain::connect(url, RpcOptions::default()).await {
                    Ok(chain) => return chain,
                    Err(error) => tracing::debug!(%error, url, "the chain's RPC does not answer yet"),
                }
                tokio::time::sleep(RPC_RETRY).await;
            }
        };
        let chain = stop
            .run_until_cancelled(tokio::time::timeout(RPC_PATIENCE, connected))
            .await
            .context("stopped while it connected to the chain")?
            .with_context(|| {
                format!("no Theta node answers at {url}: start it, or change chain.rpc in the settings")
            })?;
        if chain.chain_id() != rules.chain_id {
            bail!(
                "the node at {url} is of the chain {}, not {}: change chain.rpc or chain.network",
                chain.chain_id(),
                rules.chain_id
            );
        }
        Ok(Self { access: Arc::new(chain), rules, own: None, rpc: url.to_owned() })
    }

    async fn run(
        settings: &ChainSettings,
        folder: &Path,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let keys = LocalKeys::open(folder)?;
        let (mut network, genesis) = local_network(keys.validator.address(), keys.faucet.address())?;
        let interval = Duration::from_millis(settings.block_interval_ms);
        network.timing = Timing { min_block_interval: interval, max_epoch_length: interval * 2 };
        let rules = network.rules.clone();
        let handle = Chain::start(ChainConfig {
            data_dir: folder.to_path_buf(),
            network,
            genesis: GenesisSource::Made(Box::new(genesis)),
            validator: Some(keys.validator),
            mempool: MempoolLimits::default(),
        })
        .with_context(|| format!("the chain in {} does not start", folder.display()))?;

        let portion = Coins { theta: Wei::from_coins(FAUCET_THETA), tfuel: Wei::from_coins(FAUCET_TFUEL) };
        let service = ThetaService::new(Arc::new(handle.clone()), build_info())
            .with_faucet(Faucet::new(keys.faucet, portion));
        let address = serve_rpc(settings.rpc_listen, service, tasks, stop).await?;
        let access = Arc::new(OwnChain::new(handle.clone()));
        Ok(Self { access, rules, own: Some(handle), rpc: format!("http://{address}/rpc") })
    }

    /// Ends the chain, when it is this node's, after its last block is on disk.
    pub async fn stop(&self) {
        if let Some(chain) = &self.own {
            chain.shutdown().await;
        }
    }
}

/// What theta.GetVersion says. A build by a packager sets the two variables.
fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        git_hash: option_env!("THETIS_GIT_HASH").unwrap_or_default().into(),
        timestamp: option_env!("THETIS_BUILD_TIME").unwrap_or_default().into(),
    }
}

async fn serve_rpc(
    listen: SocketAddr,
    service: ThetaService,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("the theta.* RPC cannot listen on {listen}: choose another chain.rpc_listen")
    })?;
    let address = listener.local_addr()?;
    let stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = theta_rpc::serve(listener, Arc::new(service), ServerLimits::default(), stop).await
        {
            tracing::error!(%error, "the theta.* RPC ended");
        }
    });
    Ok(address)
}
