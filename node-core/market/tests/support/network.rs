//! Nodes on one chain, with pipes between them that can be listened to, altered and cut.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::{ContentHash, JobKind, VideoEncoder, WorkerCapabilities};
use edge_market::{
    Clock, SystemClock,
    check::WorkerJudge,
    jobs::Jobs,
    offer::{Offers, SignedOffer},
    payee::{Payee, PayeeConfig, PayeeTerms},
    payer::{Payer, PayerConfig, PayerTerms},
    provider::{Governor, Place, Provider, ProviderConfig, ProviderSettings, SegmentShelf, ServicePrice},
    requester::{BoxedStream, DialError, Dialer, Requester, RequesterConfig, RequesterSettings},
    session::{Frame, read_frame},
    standing::Standing,
    testing::{MemoryJobStore, MemoryPayeeStore, MemoryPayerStore, MemoryStandingStore},
};
use edge_mesh::{PeerId, Protocol};
use serde_json::Value;
use theta_types::{Address, Wei};
use theta_wallet::{ChainAccess, TransactionSender, Wallet};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{chain::TestChain, journal::MemoryJournal, milli, worker::TestWorker};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToProvider,
    ToRequester,
}

/// What went over the wire. Chunks are `{"chunk": length}`.
pub type Log = Arc<Mutex<Vec<(Way, Value)>>>;

/// Changes or drops messages on the wire.
pub type Filter = Arc<dyn Fn(Way, Value) -> Option<Value> + Send + Sync>;

/// A provider, what kills it, and its wallet.
type Served = (Provider, CancellationToken, Address);

/// The nodes, by peer.
#[derive(Clone, Default)]
pub struct Wires {
    nodes: Arc<Mutex<HashMap<PeerId, Served>>>,
    pub log: Log,
    filter: Arc<Mutex<Option<Filter>>>,
    /// Pauses before each chunk that a node sends.
    drips: Arc<Mutex<HashMap<PeerId, Duration>>>,
}

impl Wires {
    pub fn set_filter(&self, filter: Option<Filter>) {
        *self.filter.lock().unwrap() = filter;
    }

    /// From now on the node's file bytes come chunk by chunk, with a pause before each.
    pub fn drip(&self, peer: PeerId, pause: Duration) {
        self.drips.lock().unwrap().insert(peer, pause);
    }

    pub fn take_log(&self) -> Vec<(Way, Value)> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

/// Opens pipes as one node.
pub struct WireDialer {
    wires: Wires,
    wallet: Address,
    /// Ends with the node.
    alive: CancellationToken,
}

impl WireDialer {
    pub fn as_wallet(wires: &Wires, wallet: Address) -> Self {
        Self { wires: wires.clone(), wallet, alive: CancellationToken::new() }
    }

    /// A pipe without a tap.
    pub fn open_raw(&self, peer: PeerId) -> Option<tokio::io::DuplexStream> {
        let (provider, ..) = self.wires.nodes.lock().unwrap().get(&peer).cloned()?;
        let (own, theirs) = tokio::io::duplex(256 * 1024);
        let wallet = self.wallet;
        tokio::spawn(async move { provider.serve(wallet, theirs).await });
        Some(own)
    }
}

#[async_trait]
impl Dialer for WireDialer {
    async fn open(&self, peer: PeerId, proven: Address, _: Protocol) -> Result<BoxedStream, DialError> {
        let node = self.wires.nodes.lock().unwrap().get(&peer).cloned();
        let Some((provider, alive, _)) = node.filter(|(_, _, wallet)| *wallet == proven) else {
            return Err(DialError("no such peer".into()));
        };
        let (own, near) = tokio::io::duplex(256 * 1024);
        let (far, theirs) = tokio::io::duplex(256 * 1024);
        let wallet = self.wallet;
        tokio::spawn(async move { provider.serve(wallet, theirs).await });
        let (near_reader, near_writer) = tokio::io::split(near);
        let (far_reader, far_writer) = tokio::io::split(far);
        let (there, back, own_alive) = (self.wires.clone(), self.wires.clone(), self.alive.clone());
        tokio::spawn(async move {
            let out = carry(near_reader, far_writer, Way::ToProvider, there, peer);
            let home = carry(far_reader, near_writer, Way::ToRequester, back, peer);
            tokio::select! {
                // Killed: nothing more is read or written.
                () = alive.cancelled() => {}
                () = own_alive.cancelled() => {}
                _ = async { tokio::join!(out, home) } => {}
            }
        });
        Ok(Box::new(own))
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    wires: Wires,
    provider: PeerId,
) {
    while let Ok(Some(frame)) = read_frame::<Value>(&mut from).await {
        let bytes = match frame {
            Frame::Message(message) => {
                let filter = wires.filter.lock().unwrap().clone();
                let Some(message) = filter.map_or(Some(message.clone()), |filter| filter(way, message))
                else {
                    continue;
                };
                wires.log.lock().unwrap().push((way, message.clone()));
                edge_jobs::encode_frame(&message).unwrap()
            }
            Frame::Chunk(chunk) => {
                let note = serde_json::json!({ "chunk": chunk.len() });
                let filter = wires.filter.lock().unwrap().clone();
                if filter.is_some_and(|filter| filter(way, note.clone()).is_none()) {
                    continue;
                }
                let drip = wires.drips.lock().unwrap().get(&provider).copied();
                if let Some(pause) = drip.filter(|_| way == Way::ToRequester) {
                    tokio::time::sleep(pause).await;
                }
                wires.log.lock().unwrap().push((way, note));
                let mut bytes = (chunk.len() as u32 + 1).to_be_bytes().to_vec();
                bytes.push(0);
                bytes.extend_from_slice(&chunk);
                bytes
            }
        };
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Admits everything until it is paused.
pub struct TestGovernor {
    stop: Mutex<CancellationToken>,
    places: usize,
    taken: Arc<()>,
}

impl TestGovernor {
    pub fn pause(&self) {
        self.stop.lock().unwrap().cancel();
    }

    /// Takes a place, as a job of somebody else's would.
    pub fn take_place(&self) -> Arc<()> {
        self.taken.clone()
    }

    pub fn resume(&self) {
        *self.stop.lock().unwrap() = CancellationToken::new();
    }
}

impl Governor for TestGovernor {
    fn admit(&self, _: JobKind) -> Result<Place, String> {
        let stop = self.stop.lock().unwrap().clone();
        if stop.is_cancelled() {
            return Err("paused".into());
        }
        if Arc::strong_count(&self.taken) > self.places {
            return Err("all places are taken".into());
        }
        Ok(Place::new(stop, self.taken.clone()))
    }

    fn places(&self, _: JobKind) -> (u32, u32) {
        let taken = Arc::strong_count(&self.taken) - 1;
        (self.places.saturating_sub(taken) as u32, self.places as u32)
    }
}

/// Segments in memory; may hand out other bytes than those asked for.
#[derive(Default)]
pub struct TestShelf {
    pub segments: Mutex<HashMap<ContentHash, Bytes>>,
    pub corrupt: Mutex<bool>,
    /// How long it takes to find a segment.
    pub slow: Mutex<Duration>,
}

impl TestShelf {
    pub fn put(&self, bytes: Vec<u8>) -> ContentHash {
        let hash = ContentHash::of(&bytes);
        self.segments.lock().unwrap().insert(hash, bytes.into());
        hash
    }
}

#[async_trait]
impl SegmentShelf for TestShelf {
    async fn segment(&self, hash: ContentHash) -> std::io::Result<Option<Bytes>> {
        let slow = *self.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        let found = self.segments.lock().unwrap().get(&hash).cloned();
        if *self.corrupt.lock().unwrap() {
            return Ok(found.map(|bytes| vec![b'?'; bytes.len()].into()));
        }
        Ok(found)
    }
}

/// What a node keeps over a restart.
#[derive(Clone, Default)]
pub struct Disk {
    pub payer: Arc<MemoryPayerStore>,
    pub payee: Arc<MemoryPayeeStore>,
    pub standing: Arc<MemoryStandingStore>,
    pub jobs: Arc<MemoryJobStore>,
    pub journal: Arc<MemoryJournal>,
}

/// Settings of a node in a test.
#[derive(Clone)]
pub struct NodeSettings {
    pub payer: PayerTerms,
    pub payee: PayeeTerms,
    pub requester: RequesterSettings,
    pub provider: ProviderSettings,
    /// Price of a unit of any kind.
    pub price: Wei,
    pub places: usize,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            payer: PayerTerms { duration: 400, ..PayerTerms::default() },
            payee: PayeeTerms { credit: Wei::zero(), freeze_wait: 1, ..PayeeTerms::default() },
            requester: RequesterSettings {
                check_share: 1.0,
                stall_wait: Duration::from_secs(5),
                ..RequesterSettings::default()
            },
            provider: ProviderSettings {
                pay_wait: Duration::from_secs(5),
                encoder: VideoEncoder::X264,
                ..ProviderSettings::default()
            },
            price: milli(50),
            places: 64,
        }
    }
}

/// A node: both sides of the market.
pub struct Node {
    pub wallet: Wallet,
    pub peer: PeerId,
    pub payer: Payer,
    pub payee: Payee,
    pub provider: Provider,
    pub requester: Requester,
    pub offers: Offers,
    pub standing: Standing,
    pub governor: Arc<TestGovernor>,
    pub worker: Arc<TestWorker>,
    pub shelf: Arc<TestShelf>,
    pub disk: Disk,
    pub settings: NodeSettings,
    alive: CancellationToken,
    _work: tempfile::TempDir,
    _services: watch::Sender<Vec<ServicePrice>>,
}

/// The models that every test node offers.
pub const CHAT_MODEL: &str = "chat";
pub const EMBEDDINGS_MODEL: &str = "embeddings";

impl Node {
    pub fn start(
        chain: &Arc<TestChain>,
        wires: &Wires,
        wallet: Wallet,
        worker: Arc<TestWorker>,
        settings: NodeSettings,
        disk: Disk,
    ) -> Self {
        disk.payer.break_down(false);
        disk.payee.break_down(false);
        disk.jobs.break_down(false);
        let access: Arc<dyn ChainAccess> = chain.clone();
        Self::start_on(access, chain.rules(), wires, wallet, worker, settings, disk)
    }

    pub fn start_on(
        access: Arc<dyn ChainAccess>,
        rules: theta_types::ChainRules,
        wires: &Wires,
        wallet: Wallet,
        worker: Arc<TestWorker>,
        settings: NodeSettings,
        disk: Disk,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let transactions =
            TransactionSender::start(access.clone(), wallet.clone(), disk.journal.clone(), rules);
        let payer = Payer::start(PayerConfig {
            wallet: wallet.clone(),
            chain: access.clone(),
            transactions: transactions.clone(),
            store: disk.payer.clone(),
            terms: settings.payer.clone(),
            clock: clock.clone(),
        })
        .unwrap();
        let payee = Payee::start(PayeeConfig {
            wallet: wallet.clone(),
            chain: access.clone(),
            transactions,
            store: disk.payee.clone(),
            terms: settings.payee.clone(),
            clock: clock.clone(),
        })
        .unwrap();
        let standing = Standing::open(disk.standing.clone(), clock.clone()).unwrap();
        let jobs = Jobs::open(disk.jobs.clone(), clock.unix_seconds()).unwrap();
        let offers = Offers::new(&access.chain_id(), clock.clone());
        let governor =
            Arc::new(TestGovernor { stop: Mutex::default(), places: settings.places, taken: Arc::new(()) });
        let shelf = Arc::new(TestShelf::default());
        let price = |kind, model: Option<&str>| ServicePrice {
            kind,
            model: model.map(str::to_owned),
            price: settings.price.clone(),
        };
        let (services, prices) = watch::channel(vec![
            price(JobKind::Relay, None),
            price(JobKind::Transcode, None),
            price(JobKind::Chat, Some(CHAT_MODEL)),
            price(JobKind::Embeddings, Some(EMBEDDINGS_MODEL)),
        ]);
        let work = tempfile::tempdir().unwrap();
        let provider = Provider::new(ProviderConfig {
            payee: payee.clone(),
            worker: worker.clone(),
            governor: governor.clone(),
            shelf: shelf.clone(),
            jobs: jobs.clone(),
            standing: standing.clone(),
            services: prices,
            work_folder: work.path().join("work"),
            settings: settings.provider.clone(),
            clock: clock.clone(),
        })
        .unwrap();
        let alive = CancellationToken::new();
        let dialer = WireDialer { wires: wires.clone(), wallet: wallet.address(), alive: alive.clone() };
        let requester = Requester::new(RequesterConfig {
            payer: payer.clone(),
            dialer: Arc::new(dialer),
            offers: offers.clone(),
            standing: standing.clone(),
            judge: Arc::new(WorkerJudge::new(worker.clone())),
            jobs,
            settings: settings.requester.clone(),
            clock,
        });
        let peer = PeerId::random();
        wires.nodes.lock().unwrap().insert(peer, (provider.clone(), alive.clone(), wallet.address()));
        Self {
            wallet,
            peer,
            payer,
            payee,
            provider,
            requester,
            offers,
            standing,
            governor,
            worker,
            shelf,
            disk,
            settings,
            alive,
            _work: work,
            _services: services,
        }
    }

    pub fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Waits until the own rule is on the chain, and tells the others what is offered.
    pub async fn announce_to(&self, chain_id: &str, others: &[&Node]) {
        let mut resource = self.payee.resource();
        tokio::time::timeout(Duration::from_secs(20), resource.wait_for(Option::is_some))
            .await
            .unwrap()
            .unwrap();
        let capabilities = [WorkerCapabilities {
            version: "1".into(),
            encoders: vec![VideoEncoder::X264, VideoEncoder::Openh264],
            models: vec![CHAT_MODEL.into(), EMBEDDINGS_MODEL.into()],
            device: None,
            gpu: false,
        }];
        let offer = self.provider.offer(self.peer, &capabilities).unwrap();
        let signed = SignedOffer::sign(offer, chain_id, &self.wallet).unwrap();
        for other in others {
            other.offers.take(&signed.bytes, Some(self.address())).unwrap();
        }
    }

    /// As kill -9: from this moment on nothing is read, written or kept.
    pub fn kill(&self, wires: &Wires) {
        self.killer(wires)();
    }

    /// Kills it when it is called, from wherever.
    pub fn killer(&self, wires: &Wires) -> impl Fn() + Send + Sync + use<> {
        let (disk, alive, nodes, peer) =
            (self.disk.clone(), self.alive.clone(), wires.nodes.clone(), self.peer);
        move || {
            disk.payer.break_down(true);
            disk.payee.break_down(true);
            disk.jobs.break_down(true);
            alive.cancel();
            nodes.lock().unwrap().remove(&peer);
        }
    }
}
