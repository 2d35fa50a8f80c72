//! What a viewer's node does when those it takes segments from are broken, hostile, or not there.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::{ContentHash, Event, JobError, JobErrorCode, JobId, JobKind, Task};
use edge_market::{
    SystemClock,
    jobs::Jobs,
    offer::SignedOffer,
    payee::{Payee, PayeeConfig, PayeeTerms},
    provider::{
        Governor, Place, Provider, ProviderConfig, ProviderSettings, RunningTask, SegmentShelf, ServicePrice,
        Worker,
    },
    standing::{Standing, StandingStore},
    testing::{MemoryJobStore, MemoryPayeeStore, MemoryStandingStore},
};
use edge_mesh::{Mesh, MeshConfig, MeshHandle, NodeKey, Protocol, Topic};
use support::{
    Daemon, status,
    streams::{MeetingPlace, Noise, Player, files, heard_of, offers, units},
    tls, until, until_within,
};
use theta_types::{Address, ChainRules, SecretKey, Wei};
use theta_wallet::{ChainAccess, RpcChain, RpcOptions, TransactionSender, Wallet};
use thetis::{control::ControlClient, database::Database};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NOISE: Noise = Noise { nonce: 5, segments: 8, segment_bytes: 80_000 };

/// A creator that has published [`NOISE`], and is up.
async fn creator(place: &MeetingPlace) -> (Daemon, ControlClient, edge_streams::SignedManifest) {
    let mut creator = place.init(&[]);
    let stream = NOISE.publish(&creator).await;
    let client = creator.serve(&[]).await;
    (creator, client, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_edge_nodes_a_viewer_takes_the_stream_from_its_creator_for_nothing() {
    tls();
    let place = MeetingPlace::start().await;
    let (mut creator, _, stream) = creator(&place).await;
    let (_viewer, viewer) = place.join(&[]).await;
    let player = Player::open(&viewer, &NOISE, &stream).await;
    for index in 0..4 {
        player.segment(index).await;
    }
    assert_eq!(units(&viewer, "requester").await, 0);
    // What was fetched is kept; the rest is gone with the creator, and the player is told so.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(creator.end("-TERM"));
    player.segment(0).await;
    assert_eq!(player.try_segment(NOISE.segments - 1).await, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_rotted_on_an_edge_nodes_disk_comes_from_elsewhere() {
    tls();
    let place = MeetingPlace::start().await;
    let (_creator, _, stream) = creator(&place).await;
    let (edge, edge_client) = place.join(&["--offer", "relay"]).await;
    until("the edge node holds the stream", async || {
        files(&edge_client).await == NOISE.segments as usize && offers(&edge_client, JobKind::Relay).await
    })
    .await;
    let file = |index| {
        let name = NOISE.hash(index).to_string();
        edge.data().join("segments").join(&name[..2]).join(name)
    };
    let rotten: [PathBuf; 2] = [file(3), file(5)];
    for path in &rotten {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[1_000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let (_viewer, viewer) = place.join(&[]).await;
    // It need not wait until the edge node announces its offer again.
    let heard = async || heard_of(&viewer, JobKind::Relay).await == 1;
    until_within(Duration::from_secs(5), "the viewer has heard of the edge node", heard).await;
    let player = Player::open(&viewer, &NOISE, &stream).await;
    player.segment(0).await;
    // The first ones go on credit while the viewer's reserve is on its way.
    until("the viewer has a reserve for the edge node", async || {
        !status(&viewer).await.spent.locked.is_zero()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for index in 1..NOISE.segments {
        player.segment(index).await;
    }
    // On a busy machine the creator may be faster now and then; for the two it is the only one.
    let paid = units(&viewer, "requester").await;
    assert!((1..=u64::from(NOISE.segments) - 2).contains(&paid), "{paid}");
    assert!(rotten.iter().all(|path| !path.exists()), "wrong bytes are deleted, never served");
}

/// A peer that offers segments, with a rule on the chain like an honest one, and sends other bytes.
struct Hostile {
    mesh: MeshHandle,
    wallet: Wallet,
    provider: Provider,
    asked: Arc<AtomicUsize>,
    chain_id: String,
    _services: watch::Sender<Vec<ServicePrice>>,
    _folder: tempfile::TempDir,
}

/// Says of every segment that it has it.
struct WrongBytes {
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl SegmentShelf for WrongBytes {
    async fn segment(&self, hash: ContentHash) -> io::Result<Option<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let index = (0..NOISE.segments).find(|index| NOISE.hash(*index) == hash);
        // The right length and all but one of the right bytes.
        Ok(index.map(|index| {
            let mut bytes = NOISE.segment(index);
            bytes[NOISE.segment_bytes / 2] ^= 0x40;
            bytes.into()
        }))
    }
}

struct NoWorker;

#[async_trait]
impl Worker for NoWorker {
    async fn start(&self, _: JobId, _: Task) -> Result<RunningTask, JobError> {
        let (_, events) = tokio::sync::mpsc::channel::<Event>(1);
        drop(events);
        Err(JobError::new(JobErrorCode::Unsupported, "no worker here"))
    }
}

struct Anybody;

impl Governor for Anybody {
    fn admit(&self, _: JobKind) -> Result<Place, String> {
        Ok(Place::new(CancellationToken::new(), ()))
    }

    fn places(&self, _: JobKind) -> (u32, u32) {
        (100, 100)
    }
}

impl Hostile {
    async fn start(place: &MeetingPlace) -> Self {
        let key = SecretKey::random().unwrap();
        let wallet = Wallet::unlocked(SecretKey::from_bytes(key.to_bytes().as_slice()).unwrap());
        place.daemon.json(&["faucet", &wallet.address().to_string(), "--amount", "100"]);
        let chain: Arc<dyn ChainAccess> =
            Arc::new(RpcChain::connect(&place.rpc, RpcOptions::default()).await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let journal = Database::open(&folder.path().join("db")).unwrap();
        let rules = ChainRules::local();
        let chain_id = rules.chain_id.clone();
        let transactions = TransactionSender::start(chain.clone(), wallet.clone(), Arc::new(journal), rules);
        let payee = Payee::start(PayeeConfig {
            wallet: wallet.clone(),
            chain,
            transactions,
            store: Arc::new(MemoryPayeeStore::default()),
            terms: PayeeTerms::default(),
            clock: Arc::new(SystemClock),
        })
        .unwrap();
        // The cheapest of all, so that it is asked first.
        let price = ServicePrice { kind: JobKind::Relay, model: None, price: Wei::from(1_000u64) };
        let (services, offered) = watch::channel(vec![price]);
        let asked = Arc::new(AtomicUsize::new(0));
        let standing = Standing::open(Arc::new(MemoryStandingStore::default()), Arc::new(SystemClock));
        let provider = Provider::new(ProviderConfig {
            payee: payee.clone(),
            worker: Arc::new(NoWorker),
            governor: Arc::new(Anybody),
            shelf: Arc::new(WrongBytes { asked: asked.clone() }),
            jobs: Jobs::open(Arc::new(MemoryJobStore::default()), 0).unwrap(),
            standing: standing.unwrap(),
            services: offered,
            work_folder: folder.path().join("work"),
            settings: ProviderSettings::default(),
            clock: Arc::new(SystemClock),
        })
        .unwrap();
        let bootstrap = place.join.iter().map(|address| address.parse().unwrap()).collect();
        let config = MeshConfig { bootstrap, ..MeshConfig::loopback(NodeKey::generate(), chain_id.clone()) };
        let mesh = Mesh::start(config, &key).await.unwrap();
        let mut incoming = mesh.accept(Protocol::SEGMENTS).await.unwrap();
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Some((_, payer, stream)) = incoming.next().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(payer, stream).await });
            }
        });
        let mut resource = payee.resource();
        let registered = resource.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(60), registered).await.unwrap().unwrap();
        Self { mesh, wallet, provider, asked, chain_id, _services: services, _folder: folder }
    }

    fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Says what it offers; whether somebody listened.
    async fn announce(&self) -> bool {
        let offer = self.provider.offer(self.mesh.local_peer(), &[]).unwrap();
        let signed = SignedOffer::sign(offer, &self.chain_id, &self.wallet).unwrap();
        self.mesh.publish(Topic::OFFERS, signed.bytes).await.is_ok()
    }
}

/// How far a node distrusts another, as its database has it.
fn penalty(node: &Daemon, of: Address) -> u32 {
    let database = Database::open(&node.data().join("thetis.sqlite")).unwrap();
    let records = StandingStore::load(&database).unwrap();
    records.iter().find(|record| record.node == of).map_or(0, |record| record.penalty)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_peers_wrong_bytes_are_dropped_scored_and_replaced() {
    tls();
    let place = MeetingPlace::start().await;
    let (_creator, _, stream) = creator(&place).await;
    let hostile = Hostile::start(&place).await;
    let (viewer, viewer_client) = place.join(&[]).await;
    let address = status(&viewer_client).await.overlay.unwrap().listen[0].clone();
    hostile.mesh.dial(address.parse().unwrap()).await.unwrap();
    hostile.mesh.provide(stream.id().as_bytes()).await.unwrap();
    until("the hostile peer's offer is heard", async || hostile.announce().await).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let player = Player::open(&viewer_client, &NOISE, &stream).await;
    for index in 0..NOISE.segments {
        // Whatever the hostile peer says: the bytes are the stream's.
        player.segment(index).await;
    }
    let asked = hostile.asked.load(Ordering::SeqCst);
    println!("{asked} segments were asked of the hostile peer");
    assert!(asked > 0, "it was never asked");
    until("its standing is lowered until it is not asked any more", async || {
        penalty(&viewer, hostile.address()) >= 60
    })
    .await;
    assert!(asked <= 4, "it was asked {asked} times");
    assert_eq!(units(&viewer_client, "requester").await, 0, "nothing was paid for wrong bytes");
}
