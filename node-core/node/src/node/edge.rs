//! The overlay and what this node does on it: offers, sessions of both sides, streams.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use edge_jobs::{JobKind, WorkerCapabilities};
use edge_market::{
    SystemClock,
    check::WorkerJudge,
    jobs::Jobs,
    offer::{Offer, Offers, SignedOffer},
    payee::Payee,
    provider::{Provider, ProviderConfig, ProviderSettings, ServicePrice},
    requester::{Requester, RequesterConfig, RequesterSettings, SegmentClient},
    standing::Standing,
};
use edge_mesh::{Mesh, MeshConfig, MeshHandle, Multiaddr, NodeKey, Protocol, Reachability, Topic};
use edge_streams::{SegmentStore, SignedManifest, SourceError, StreamId};
use theta_wallet::Wallet;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    hearing,
    money::Money,
    sharing::Sharing,
    work::{GovernorDoor, Shelf, crew_door, own_door, work_folder},
};
use crate::{
    chain::NodeChain,
    data_folder::write_private_file,
    database::Database,
    governor::Governor,
    settings::{Network, Settings},
    workers::{Crew, WorkerState},
};

/// How often an offer is announced when nothing changes.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(20);
/// How soon after a change it is announced again.
const ANNOUNCE_SOON: Duration = Duration::from_millis(300);
/// Sessions that are served at a time, relays included; each holds a few buffers.
const MOST_SESSIONS: usize = 256;

/// Whether this node is on the overlay.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a node has one of these")]
pub(crate) enum EdgeState {
    /// Not yet, or not at all.
    Off,
    /// It could not join.
    Failed(String),
    /// It is.
    Running(Edge),
}

/// What the overlay's part is made of.
#[derive(Clone)]
pub(crate) struct EdgeParts {
    pub settings: Settings,
    pub mesh_key: PathBuf,
    pub work: PathBuf,
    pub wallet: Wallet,
    pub governor: Governor,
    pub crew: Crew,
    pub database: Database,
    pub chain: NodeChain,
    pub money: Money,
    pub segments: SegmentStore,
}

/// This node on the overlay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub mesh: MeshHandle,
    pub sharing: Sharing,
    pub offers: Offers,
    pub standing: Standing,
    pub jobs: Jobs,
    pub requester: Requester,
    /// Fetches segments, and pays for them.
    pub segments: SegmentClient,
    announced: watch::Receiver<Option<Offer>>,
    stop: CancellationToken,
}

/// Joins the overlay now if the wallet is unlocked, else as soon as it is: the wallet signs for the node's name there.
pub(crate) async fn start_when_unlocked(
    parts: EdgeParts,
    state: &watch::Sender<EdgeState>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut locked = parts.wallet.lock_changes();
    if !*locked.borrow_and_update() {
        state.send_replace(EdgeState::Running(Edge::start(parts, tasks, stop).await?));
        return Ok(());
    }
    let (state, their_tasks, stop) = (state.clone(), tasks.clone(), stop.clone());
    tasks.spawn(async move {
        if !matches!(stop.run_until_cancelled(locked.wait_for(|locked| !locked)).await, Some(Ok(_))) {
            return;
        }
        let started = Edge::start(parts, &their_tasks, &stop).await;
        state.send_replace(match started {
            Ok(edge) => EdgeState::Running(edge),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "this node could not join the overlay");
                EdgeState::Failed(format!("{error:#}"))
            }
        });
    });
    Ok(())
}

impl Edge {
    async fn start(parts: EdgeParts, tasks: &TaskTracker, stop: &CancellationToken) -> anyhow::Result<Self> {
        let stop = stop.child_token();
        let config = mesh_config(&parts, &stop)?;
        // The key is lent for a signature alone; the copy is wiped when this block ends.
        let key =
            parts.wallet.with_key(|key| theta_types::SecretKey::from_bytes(key.to_bytes().as_slice()))??;
        let mesh = Mesh::start(config, &key).await.context("the overlay cannot be joined")?;
        drop(key);

        let clock = Arc::new(SystemClock);
        let store = Arc::new(parts.database.clone());
        let jobs = Jobs::open(store.clone(), crate::clock::unix_seconds())?;
        let standing = Standing::open(store, clock.clone())?;
        let offers = Offers::new(&parts.chain.rules.chain_id, clock.clone());
        let requester = Requester::new(RequesterConfig {
            payer: parts.money.payer.clone(),
            dialer: Arc::new(mesh.clone()),
            offers: offers.clone(),
            standing: standing.clone(),
            judge: Arc::new(WorkerJudge::new(own_door(&parts.crew))),
            jobs: jobs.clone(),
            settings: RequesterSettings {
                // Videos may wait for a place for hours, and take none of the turns of chats.
                max_running: parts.settings.gateway.running + super::gateway::VIDEOS_AT_ONCE,
                check_share: parts.settings.gateway.check_share,
                models: super::models::limits(),
                ..RequesterSettings::default()
            },
            clock: clock.clone(),
        });
        let segments = SegmentClient::new(requester.clone(), stop.child_token());
        let (announcing, announced) = watch::channel(None);
        let sharing = Sharing::start(&parts, &mesh, &segments, tasks, &stop).await?;
        let edge = Self { mesh, sharing, offers, standing, jobs, requester, segments, announced, stop };

        hearing::start(&edge.mesh, &edge.offers, tasks, &edge.stop).await?;
        if let Some(payee) = &parts.money.payee {
            let (services, offered) = watch::channel(Vec::new());
            let provider = Provider::new(ProviderConfig {
                payee: payee.clone(),
                worker: crew_door(&parts.crew),
                governor: Arc::new(GovernorDoor(parts.governor.clone())),
                shelf: Arc::new(Shelf(parts.segments.clone())),
                jobs: edge.jobs.clone(),
                standing: edge.standing.clone(),
                services: offered,
                work_folder: work_folder(&parts.work, "provider"),
                settings: ProviderSettings {
                    max_source_bytes: parts.settings.limits.source_bytes,
                    encoder: parts.settings.workers.encoder,
                    encoder_threads: Some(parts.settings.media_threads()),
                    ..ProviderSettings::default()
                },
                clock,
            })
            .context("the folder for jobs cannot be used")?;
            for protocol in [Protocol::JOBS, Protocol::SEGMENTS] {
                edge.serve(protocol, provider.clone(), tasks).await?;
            }
            edge.announce(parts, provider, services, announcing, tasks);
        }
        Ok(edge)
    }

    /// Whether the offer that others see has this kind of work.
    pub fn offers(&self, kind: JobKind) -> bool {
        let announced = self.announced.borrow();
        announced.as_ref().is_some_and(|offer| offer.services.iter().any(|service| service.kind == kind))
    }

    /// The newest manifest of a stream that can be found.
    pub async fn manifest(&self, stream: StreamId) -> Result<Arc<SignedManifest>, SourceError> {
        self.sharing.manifest(stream).await
    }

    /// Says goodbye, and ends sessions.
    pub async fn stop(self) {
        self.stop.cancel();
        self.mesh.shutdown().await;
    }

    /// Serves the sessions that others open.
    async fn serve(&self, protocol: Protocol, provider: Provider, tasks: &TaskTracker) -> anyhow::Result<()> {
        let mut incoming = self.mesh.accept(protocol).await?;
        let (sessions, stop) = (Arc::new(tokio::sync::Semaphore::new(MOST_SESSIONS)), self.stop.clone());
        let their_tasks = tasks.clone();
        tasks.spawn(async move {
            while let Some((_, wallet, stream)) = incoming.next().await {
                // One more is dropped: its requester asks elsewhere.
                let Ok(place) = sessions.clone().try_acquire_owned() else { continue };
                let (provider, stop) = (provider.clone(), stop.clone());
                their_tasks.spawn(async move {
                    stop.run_until_cancelled(provider.serve(wallet, stream)).await;
                    drop(place);
                });
            }
        });
        Ok(())
    }

    /// Announces what this node offers, again and again, and at once when it changes.
    fn announce(
        &self,
        parts: EdgeParts,
        provider: Provider,
        services: watch::Sender<Vec<ServicePrice>>,
        announced: watch::Sender<Option<Offer>>,
        tasks: &TaskTracker,
    ) {
        let edge = self.clone();
        tasks.spawn(async move {
            let mut changes = Changes::of(&parts);
            loop {
                let capabilities = capabilities(&parts.crew);
                services.send_replace(service_prices(&parts.settings, &capabilities));
                let offer = provider.offer(edge.mesh.local_peer(), &capabilities);
                if let Some(offer) = &offer {
                    edge.publish_offer(&parts, offer).await;
                }
                announced.send_replace(offer);
                tokio::select! {
                    () = edge.stop.cancelled() => return,
                    () = changes.next() => tokio::time::sleep(ANNOUNCE_SOON).await,
                    () = tokio::time::sleep(ANNOUNCE_EVERY) => {}
                }
            }
        });
    }

    async fn publish_offer(&self, parts: &EdgeParts, offer: &Offer) {
        let signed = match SignedOffer::sign(offer.clone(), &parts.chain.rules.chain_id, &parts.wallet) {
            Ok(signed) => signed,
            Err(error) => return tracing::debug!(%error, "the offer is not announced"),
        };
        // New peers ask for what is known here.
        self.offers.insert(signed.clone());
        match self.mesh.publish(Topic::OFFERS, signed.bytes).await {
            // Alone for now; the next round says it again.
            Ok(()) | Err(edge_mesh::MeshError::NobodyListens) => {}
            Err(error) => tracing::debug!(%error, "the offer could not be announced"),
        }
    }
}

/// What makes an offer out of date.
struct Changes {
    halted: watch::Receiver<Option<crate::governor::Halt>>,
    resource: Option<watch::Receiver<Option<theta_types::ResourceId>>>,
    workers: Vec<watch::Receiver<WorkerState>>,
}

impl Changes {
    fn of(parts: &EdgeParts) -> Self {
        let workers = parts.crew.media.iter().chain(&parts.crew.compute);
        Self {
            halted: parts.governor.halted(),
            resource: parts.money.payee.as_ref().map(Payee::resource),
            workers: workers.map(crate::workers::Worker::state).collect(),
        }
    }

    /// Returns when one of them changed.
    async fn next(&mut self) {
        async fn changed<T>(watched: Option<&mut watch::Receiver<T>>) {
            if let Some(watched) = watched
                && watched.changed().await.is_ok()
            {
                return;
            }
            // One that is absent or closed changes no more.
            std::future::pending().await
        }
        let mut workers = self.workers.iter_mut();
        tokio::select! {
            () = changed(Some(&mut self.halted)) => {}
            () = changed(self.resource.as_mut()) => {}
            () = changed(workers.next()) => {}
            () = changed(workers.next()) => {}
        }
    }
}

/// What the workers that are ready can do.
fn capabilities(crew: &Crew) -> Vec<WorkerCapabilities> {
    let ready = |worker: &crate::workers::Worker| match &*worker.state().borrow() {
        WorkerState::Ready(can) => Some(can.clone()),
        _ => None,
    };
    crew.media.iter().chain(&crew.compute).filter_map(ready).collect()
}

/// The prices of what the settings offer and the workers can do. Which model is for chats and which for embeddings is the
/// registry's to say; a model that it does not know is not offered.
fn service_prices(settings: &Settings, capabilities: &[WorkerCapabilities]) -> Vec<ServicePrice> {
    let price = |kind: JobKind| settings.offer.price(kind).wei().clone();
    let mut services = Vec::new();
    for kind in [JobKind::Relay, JobKind::Transcode] {
        if settings.offers(kind) {
            services.push(ServicePrice { kind, model: None, price: price(kind) });
        }
    }
    for id in capabilities.iter().flat_map(|can| &can.models) {
        if let Some(model) = super::models::find(id)
            && settings.offers(model.kind)
        {
            services.push(ServicePrice {
                kind: model.kind,
                model: Some(id.clone()),
                price: price(model.kind),
            });
        }
    }
    services
}

fn mesh_config(parts: &EdgeParts, stop: &CancellationToken) -> anyhow::Result<MeshConfig> {
    let addresses = |texts: &[String], name: &str| {
        let parsed: Result<Vec<Multiaddr>, _> = texts.iter().map(|text| text.parse()).collect();
        parsed.with_context(|| format!("{name} holds an address that is no multiaddress"))
    };
    let listen = addresses(&parts.settings.mesh.listen, "mesh.listen")?;
    let discover = parts.settings.mesh.local_discovery;
    let discover = discover.unwrap_or(parts.settings.chain.network != Network::Local);
    // A network of one machine needs nobody to tell it that it is reachable, and has no neighbours.
    let local = listen.iter().all(|address| address.to_string().starts_with("/ip4/127."));
    Ok(MeshConfig {
        listen,
        bootstrap: addresses(&parts.settings.mesh.bootstrap, "mesh.bootstrap")?,
        upload_limit: parts.settings.limits.upload_bytes_per_second,
        local_discovery: !local && discover,
        reachability: if local { Reachability::Public } else { Reachability::Detect },
        cancel: stop.clone(),
        ..MeshConfig::new(node_key(&parts.mesh_key)?, parts.chain.rules.chain_id.clone())
    })
}

/// The node's key on the overlay, made at the first start.
fn node_key(path: &std::path::Path) -> anyhow::Result<NodeKey> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(NodeKey::from_bytes(&bytes)
            .with_context(|| format!("{} is damaged: remove it for a new one", path.display()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = NodeKey::generate();
            write_private_file(path, key.to_bytes().as_slice())
                .with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}
