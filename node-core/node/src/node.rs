//! A running node: every part that the settings ask for, in one process.

mod disk;
pub(crate) mod edge;
mod gateway;
mod hearing;
mod models;
mod money;
mod player;
mod sharing;
mod work;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use edge_gateway::Gateway;
use edge_streams::SegmentStore;
use theta_wallet::{KeyFolder, TransactionSender, Wallet};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chain::NodeChain,
    clock,
    control::{self, Control},
    data_folder::{DataFolder, Owner},
    database::Database,
    governor::Governor,
    settings::Settings,
    workers::Crew,
};
use disk::DiskUse;
use edge::EdgeState;
pub(crate) use gateway::GatewayDoor;
use money::Money;
pub use work::CrewDoor;

/// How often the schedule and timed pauses are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long open connections may hold up the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What a node is started with.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its data folder, owned by this process.
    pub folder: DataFolder,
    /// Its settings.
    pub settings: Settings,
    /// Its wallet. While that is locked the node serves its chain, keeps its vouchers, and takes no paid work.
    pub wallet: Wallet,
    /// Where the wallet's key file is, to unlock it later.
    pub keys: KeyFolder,
}

/// A running node. [`Node::stop`] ends it in good order.
#[derive(Debug)]
pub struct Node {
    parts: Arc<Parts>,
    /// Ends the parts.
    stop: CancellationToken,
    tasks: TaskTracker,
    gateway: Option<Gateway>,
    control_url: String,
    folder: DataFolder,
}

/// What the parts of a node share.
pub(crate) struct Parts {
    pub settings: Settings,
    pub data: PathBuf,
    /// Unix seconds.
    pub started: u64,
    pub keys: KeyFolder,
    pub wallet: Wallet,
    pub governor: Governor,
    pub crew: Crew,
    pub database: Database,
    pub chain: NodeChain,
    pub transactions: TransactionSender,
    pub money: Money,
    pub segments: SegmentStore,
    pub disk: DiskUse,
    pub edge: watch::Sender<EdgeState>,
    pub gateway: Option<GatewayDoor>,
    /// Where streams are played, e.g. `http://127.0.0.1:8089`.
    pub player: Option<String>,
    /// Somebody asked the node to end. It ends in good order, so this is not yet the end of its parts.
    pub stop_wanted: CancellationToken,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("data", &self.data)
            .field("wallet", &self.wallet)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Starts everything that the settings ask for, and tells other programs of this user where the control API is.
    pub async fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let NodeConfig { folder, settings, wallet, keys } = config;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let started = Self::start_parts(&folder, settings, wallet, keys, &tasks, &stop).await;
        let (parts, gateway) = match started {
            Ok(started) => started,
            Err(error) => {
                stop.cancel();
                return Err(error);
            }
        };
        let (server, serving) =
            control::serve(Control::new(parts.clone()), parts.settings.control.listen, stop.clone())
                .await
                .context("the control API cannot listen: choose another control.listen")?;
        tasks.spawn(serving);
        folder.announce(&Owner {
            control: server.url.clone(),
            token: server.token,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        })?;
        Ok(Self { parts, stop, tasks, gateway, control_url: server.url, folder })
    }

    async fn start_parts(
        folder: &DataFolder,
        settings: Settings,
        wallet: Wallet,
        keys: KeyFolder,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> anyhow::Result<(Arc<Parts>, Option<Gateway>)> {
        let database = Database::open(&folder.database())
            .with_context(|| format!("{} cannot be opened", folder.database().display()))?;
        let segments = SegmentStore::open(folder.segments(), settings.limits.cache_bytes)
            .with_context(|| format!("{} cannot be used", folder.segments().display()))?;
        for stream in database.published_streams().await? {
            segments.pin(&stream);
        }
        // Also when nothing is offered any more. Unfinished videos stay.
        empty(&work::work_folder(&folder.work(), "provider"))?;
        let disk = DiskUse::start(folder, segments.clone(), tasks, stop).await;

        let chain = NodeChain::start(&settings.chain, &folder.chain(), tasks, stop).await?;
        let transactions = TransactionSender::start(
            chain.access.clone(),
            wallet.clone(),
            Arc::new(database.clone()),
            chain.rules.clone(),
        );
        let money = Money::start(&settings, &database, &chain, &transactions, &wallet)?;
        let governor = Governor::new(&settings.places());
        if let Some(pause) = database.pause().await? {
            governor.pause(pause.until);
        }
        // Ends a pause whose time is over.
        follow_time(&governor, &settings, tasks, stop);
        follow_lock(&governor, &wallet, tasks, stop);
        let crew = Crew::start(&settings, &folder.models(), &governor);
        crew.follow(&governor, tasks, stop.clone());

        let edge = watch::Sender::new(EdgeState::Off);
        let edge_parts = edge::EdgeParts {
            settings: settings.clone(),
            mesh_key: folder.mesh_key(),
            work: folder.work(),
            wallet: wallet.clone(),
            governor: governor.clone(),
            crew: crew.clone(),
            database: database.clone(),
            chain: chain.clone(),
            money: money.clone(),
            segments: segments.clone(),
        };
        if settings.mesh.enabled {
            edge::start_when_unlocked(edge_parts.clone(), &edge, tasks, stop).await?;
        }
        let player = match settings.player.enabled {
            true => Some(player::start(&edge_parts, edge.subscribe(), tasks, stop).await?),
            false => None,
        };
        let (gateway, gateway_door) = match settings.gateway.enabled {
            true => {
                let (edge, player) = (edge.subscribe(), player.clone());
                let (gateway, door) =
                    gateway::start(&edge_parts, edge, player, &folder.sources(), tasks, stop).await?;
                (Some(gateway), Some(door))
            }
            false => (None, None),
        };
        let parts = Parts {
            data: folder.root().to_path_buf(),
            started: clock::unix_seconds(),
            settings,
            keys,
            wallet,
            governor,
            crew,
            database,
            chain,
            transactions,
            money,
            segments,
            disk,
            edge,
            gateway: gateway_door,
            player,
            stop_wanted: CancellationToken::new(),
        };
        Ok((Arc::new(parts), gateway))
    }

    /// The control API, in process.
    pub fn control(&self) -> Control {
        Control::new(self.parts.clone())
    }

    /// Where the control API listens.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// Returns when somebody asked the node to stop through its control API.
    pub async fn stop_wanted(&self) {
        self.parts.stop_wanted.cancelled().await;
    }

    /// Ends work, connections and databases, in this order.
    pub async fn stop(self) {
        let Self { parts, stop, tasks, gateway, folder, .. } = self;
        tracing::info!("stopping");
        parts.governor.stop();
        if let Some(gateway) = &gateway {
            gateway.close().await;
        }
        let edge = parts.edge.send_replace(EdgeState::Off);
        if let EdgeState::Running(edge) = edge {
            edge.stop().await;
        }
        stop.cancel();
        tasks.close();
        if tokio::time::timeout(LAST_ANSWERS, tasks.wait()).await.is_err() {
            tracing::warn!("some connections were cut off");
        }
        if let Some(gateway) = gateway
            && tokio::time::timeout(LAST_ANSWERS, gateway.finish()).await.is_err()
        {
            tracing::warn!("not all that was spent is booked; what was reserved for the rest counts in full");
        }
        parts.chain.stop().await;
        // Last: the next owner finds everything closed.
        drop(parts);
        drop(folder);
        tracing::info!("stopped");
    }
}

/// Serves a router on an address until the node stops; gives the address, with the port that was free.
pub(crate) async fn serve_http(
    name: &'static str,
    listen: SocketAddr,
    router: impl FnOnce(SocketAddr) -> Router,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("{name} cannot listen on {listen}: another program does, or choose another address")
    })?;
    let address = listener.local_addr()?;
    let (router, stop) = (router(address), stop.clone());
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
        {
            tracing::error!(%error, name, "a server ended");
        }
    });
    Ok(address)
}

/// Lets the governor follow the clock.
fn follow_time(governor: &Governor, settings: &Settings, tasks: &TaskTracker, stop: &CancellationToken) {
    let (governor, schedule, stop) = (governor.clone(), settings.limits.schedule.clone(), stop.clone());
    governor.tick(clock::unix_seconds(), clock::local_time(), &schedule);
    tasks.spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            governor.tick(clock::unix_seconds(), clock::local_time(), &schedule);
        }
    });
}

/// Lets the governor follow the wallet's lock.
fn follow_lock(governor: &Governor, wallet: &Wallet, tasks: &TaskTracker, stop: &CancellationToken) {
    let (governor, stop) = (governor.clone(), stop.clone());
    let mut locked = wallet.lock_changes();
    governor.wallet_locked(*locked.borrow_and_update());
    tasks.spawn(async move {
        while let Some(Ok(())) = stop.run_until_cancelled(locked.changed()).await {
            governor.wallet_locked(*locked.borrow_and_update());
        }
    });
}

/// Empties a folder of what the last run left, or makes it.
fn empty(folder: &std::path::Path) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be emptied", folder.display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(failed),
        _ => {}
    }
    crate::data_folder::create_private_folder(folder).with_context(failed)
}
