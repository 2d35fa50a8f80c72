//! One requester and its providers in this process, on a chain that executes the ledger, with pipes between them.

use std::{
    collections::HashMap,
    io,
    path::Path,
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
    provider::{
        Governor, Place, Provider, ProviderConfig, ProviderSettings, SegmentShelf, ServicePrice, Worker,
    },
    requester::{BoxedStream, DialError, Dialer, Requester, RequesterConfig, RequesterSettings},
    standing::Standing,
    testing::{MemoryJobStore, MemoryPayeeStore, MemoryPayerStore, MemoryStandingStore},
};
use edge_mesh::{PeerId, Protocol};
use theta_types::{Address, Wei};
use theta_wallet::{ChainAccess, TransactionSender, Wallet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{chain::TestChain, journal::MemoryJournal};

/// Providers by peer.
type Peers = Arc<Mutex<HashMap<PeerId, Provider>>>;

/// How long either side may say nothing. Real work on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whoever asks for work, and judges it.
pub struct Asking {
    pub requester: Requester,
    pub standing: Standing,
    chain: Arc<TestChain>,
    peers: Peers,
}

impl Asking {
    /// A requester that checks everything by doing a part again on its own worker.
    pub fn start(chain: &Arc<TestChain>, wallet: Wallet, own: Arc<dyn Worker>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let access: Arc<dyn ChainAccess> = chain.clone();
        let payer = Payer::start(PayerConfig {
            wallet: wallet.clone(),
            chain: access.clone(),
            transactions: transactions(chain, &wallet),
            store: Arc::<MemoryPayerStore>::default(),
            terms: PayerTerms { duration: 4_000, ..PayerTerms::default() },
            clock: clock.clone(),
        })
        .unwrap();
        let standing = Standing::open(Arc::<MemoryStandingStore>::default(), clock.clone()).unwrap();
        let peers = Peers::default();
        let requester = Requester::new(RequesterConfig {
            payer,
            dialer: Arc::new(Pipes { wallet: wallet.address(), peers: peers.clone() }),
            offers: Offers::new(&chain.id(), clock.clone()),
            standing: standing.clone(),
            judge: Arc::new(WorkerJudge::new(own)),
            jobs: Jobs::open(Arc::<MemoryJobStore>::default(), clock.unix_seconds()).unwrap(),
            settings: RequesterSettings {
                check_share: 1.0,
                stall_wait: PATIENCE,
                progress_wait: PATIENCE,
                ..RequesterSettings::default()
            },
            clock,
        });
        Self { requester, standing, chain: chain.clone(), peers }
    }

    /// Starts a provider that offers what a worker can do at a price, and tells the requester of it.
    pub async fn meet(
        &self,
        wallet: Wallet,
        price: Wei,
        can: &[WorkerCapabilities],
        worker: Arc<dyn Worker>,
        folder: &Path,
    ) -> Offering {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let access: Arc<dyn ChainAccess> = self.chain.clone();
        let payee = Payee::start(PayeeConfig {
            wallet: wallet.clone(),
            chain: access,
            transactions: transactions(&self.chain, &wallet),
            store: Arc::<MemoryPayeeStore>::default(),
            terms: PayeeTerms { credit: Wei::zero(), ..PayeeTerms::default() },
            clock: clock.clone(),
        })
        .unwrap();
        let models = can.iter().flat_map(|can| &can.models).map(|model| {
            let kind = if model.contains("minilm") { JobKind::Embeddings } else { JobKind::Chat };
            ServicePrice { kind, model: Some(model.clone()), price: price.clone() }
        });
        let transcode = ServicePrice { kind: JobKind::Transcode, model: None, price: price.clone() };
        let (services, offered) = watch::channel(models.chain([transcode]).collect());
        let provider = Provider::new(ProviderConfig {
            payee: payee.clone(),
            worker,
            governor: Arc::new(Open),
            shelf: Arc::new(Empty),
            jobs: Jobs::open(Arc::<MemoryJobStore>::default(), clock.unix_seconds()).unwrap(),
            standing: Standing::open(Arc::<MemoryStandingStore>::default(), clock.clone()).unwrap(),
            services: offered,
            work_folder: folder.to_owned(),
            settings: ProviderSettings {
                encoder: VideoEncoder::X264,
                pay_wait: PATIENCE,
                ..ProviderSettings::default()
            },
            clock,
        })
        .unwrap();
        let mut resource = payee.resource();
        tokio::time::timeout(PATIENCE, resource.wait_for(Option::is_some)).await.unwrap().unwrap();
        let peer = PeerId::random();
        self.peers.lock().unwrap().insert(peer, provider.clone());
        let offer = provider.offer(peer, can).unwrap();
        let signed = SignedOffer::sign(offer, &self.chain.id(), &wallet).unwrap();
        self.requester.offers().take(&signed.bytes, Some(wallet.address())).unwrap();
        Offering { address: wallet.address(), payee, _services: services }
    }
}

/// A provider.
pub struct Offering {
    pub address: Address,
    payee: Payee,
    _services: watch::Sender<Vec<ServicePrice>>,
}

impl Offering {
    /// What it was paid, settled or not.
    pub async fn earned(&self) -> Wei {
        let earnings = self.payee.earnings().await.unwrap();
        earnings.settled + &earnings.signed
    }
}

fn transactions(chain: &Arc<TestChain>, wallet: &Wallet) -> TransactionSender {
    TransactionSender::start(chain.clone(), wallet.clone(), Arc::<MemoryJournal>::default(), chain.rules())
}

/// Opens a pipe to a provider.
struct Pipes {
    wallet: Address,
    peers: Peers,
}

#[async_trait]
impl Dialer for Pipes {
    async fn open(&self, peer: PeerId, _: Address, _: Protocol) -> Result<BoxedStream, DialError> {
        let provider = self.peers.lock().unwrap().get(&peer).cloned();
        let provider = provider.ok_or_else(|| DialError("no such peer".into()))?;
        let (own, theirs) = tokio::io::duplex(256 * 1024);
        let wallet = self.wallet;
        tokio::spawn(async move { provider.serve(wallet, theirs).await });
        Ok(Box::new(own))
    }
}

/// Admits everything.
struct Open;

impl Governor for Open {
    fn admit(&self, _: JobKind) -> Result<Place, String> {
        Ok(Place::new(CancellationToken::new(), ()))
    }

    fn places(&self, _: JobKind) -> (u32, u32) {
        (4, 4)
    }
}

/// Holds no segments.
struct Empty;

#[async_trait]
impl SegmentShelf for Empty {
    async fn segment(&self, _: ContentHash) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}
