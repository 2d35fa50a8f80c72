//! The provider as the rest of the node uses it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use edge_jobs::{
    FrameError, JobError, JobErrorCode, JobId, JobKind, Order, VideoEncoder, WorkerCapabilities,
};
use edge_mesh::PeerId;
use theta_types::{Address, Wei};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tracing::{debug, info};

use super::{
    Ended, Governor, Place, SegmentShelf, Worker,
    collect::{Collector, Patience},
    seats::Seats,
    serve_chat::serve_chat,
    serve_embeddings::serve_embeddings,
    serve_segments::serve_segments,
    serve_transcode::serve_transcode,
    work_folder::WorkFolder,
};
use crate::{
    Clock,
    jobs::{JobOutcome, JobRecord, JobSide, Jobs},
    offer::{Offer, Service},
    payee::{Payee, PayeeError, SessionId, Unpaid},
    session::{Frame, Inbound, Open, Outbound, Refusal, Reply, Request, Work, check_order},
    standing::{Fault, Standing},
};

/// How long a stream may take to say what it wants.
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// How long it may take when it says that it is busy.
const LONGEST_OPEN: Duration = Duration::from_secs(180);
/// How long one that is turned away may take to hear it.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the last payment of a job that ended early is waited for.
const LAST_PAYMENT_WAIT: Duration = Duration::from_secs(5);
/// How long an offer holds, in seconds. It is made anew before.
const OFFER_LIFE: u64 = 90;

/// Something that is offered, and its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePrice {
    /// What kind of work.
    pub kind: JobKind,
    /// The model, for kinds that have one.
    pub model: Option<String>,
    /// TFuelWei for one unit.
    pub price: Wei,
}

/// Settings of a provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The largest source file that is taken, in bytes.
    pub max_source_bytes: u64,
    /// The H.264 encoder.
    pub encoder: VideoEncoder,
    /// The most threads it may use.
    pub encoder_threads: Option<u32>,
    /// How long a unit's payment is waited for while the requester says nothing.
    pub pay_wait: Duration,
    /// How long it is waited for in all.
    pub longest_pay_wait: Duration,
    /// How long a relay session may say nothing.
    pub idle_wait: Duration,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            max_source_bytes: 4 * 1024 * 1024 * 1024,
            encoder: VideoEncoder::default(),
            encoder_threads: None,
            pay_wait: Duration::from_secs(60),
            longest_pay_wait: Duration::from_secs(180),
            idle_wait: Duration::from_secs(120),
        }
    }
}

/// What a provider needs.
pub struct ProviderConfig {
    /// Takes the payments.
    pub payee: Payee,
    /// Does the work.
    pub worker: Arc<dyn Worker>,
    /// Admits it.
    pub governor: Arc<dyn Governor>,
    /// Has the segments.
    pub shelf: Arc<dyn SegmentShelf>,
    /// Keeps the record.
    pub jobs: Jobs,
    /// Remembers who pays and who does not.
    pub standing: Standing,
    /// What is offered; changes take effect with the next session.
    pub services: watch::Receiver<Vec<ServicePrice>>,
    /// A folder for sources and results while a transcode runs. What lies in it at the start is deleted.
    pub work_folder: PathBuf,
    /// The settings.
    pub settings: ProviderSettings,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderConfig").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The provider. Clones are the same provider.
#[derive(Clone)]
pub struct Provider {
    pub(super) shared: Arc<ProviderConfig>,
    folder: WorkFolder,
    seats: Seats,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("payee", &self.shared.payee).finish_non_exhaustive()
    }
}

/// What a session has done so far, and its record.
#[derive(Debug)]
pub(super) struct Tally {
    pub bytes: u64,
    pub tokens: u64,
    record: JobRecord,
    jobs: Jobs,
}

impl Tally {
    async fn begin(record: JobRecord, jobs: Jobs) -> Self {
        jobs.put(record.clone()).await;
        Self { bytes: 0, tokens: 0, record, jobs }
    }

    /// Keeps the record as it stands when more units have gone out since the last time, so that it shows what an open
    /// session delivered, and what one delivered that a crash ended. Called while the payment for them is on its way.
    pub async fn keep(&mut self, delivered: u64) {
        if delivered > self.record.units {
            self.put(delivered).await;
        }
    }

    async fn put(&mut self, units: u64) {
        (self.record.units, self.record.bytes, self.record.tokens) = (units, self.bytes, self.tokens);
        self.jobs.put(self.record.clone()).await;
    }

    async fn end(mut self, units: u64, ended: u64, outcome: JobOutcome) {
        (self.record.ended, self.record.outcome) = (Some(ended), outcome);
        let JobRecord { id, kind, outcome, .. } = &self.record;
        info!(job = %id, %kind, units, ?outcome, "job ended");
        self.put(units).await;
    }
}

impl Provider {
    /// Takes up work.
    ///
    /// # Errors
    /// The work folder cannot be used.
    pub fn new(config: ProviderConfig) -> std::io::Result<Self> {
        let folder = WorkFolder::open(config.work_folder.clone())?;
        let seats = Seats::new(config.payee.terms().sessions_per_payer);
        Ok(Self { shared: Arc::new(config), folder, seats })
    }

    /// The offer to announce now; `None` while the own rule is not on the chain, or nothing is offered.
    pub fn offer(&self, peer: PeerId, capabilities: &[WorkerCapabilities]) -> Option<Offer> {
        let resource = self.shared.payee.resource().borrow().clone()?;
        // One that works, but is not the one that ladders are made with here, is no use to anybody.
        let encoder = self.shared.settings.encoder;
        let works = capabilities.iter().any(|worker| worker.encoders.contains(&encoder));
        let encoders = if works { vec![encoder] } else { Vec::new() };
        let can = |service: &ServicePrice| match (&service.kind, &service.model) {
            (JobKind::Relay, _) => true,
            (JobKind::Transcode, _) => !encoders.is_empty(),
            (_, Some(model)) => capabilities.iter().any(|worker| worker.models.contains(model)),
            (_, None) => false,
        };
        let services: Vec<Service> = self
            .shared
            .services
            .borrow()
            .iter()
            .filter(|service| can(service))
            .map(|service| {
                let (free, places) = self.shared.governor.places(service.kind);
                let ServicePrice { kind, model, price } = service.clone();
                Service { kind, model, price, free, places }
            })
            .filter(|service| service.places > 0)
            .collect();
        if services.is_empty() {
            return None;
        }
        let issued = self.shared.clock.unix_seconds();
        let device = capabilities.iter().find_map(|worker| worker.device.clone());
        Some(Offer {
            provider: self.shared.payee.provider(),
            peer,
            resource,
            services,
            encoders,
            device: device.map(|device| device.chars().take(64).collect()),
            gpu: capabilities.iter().any(|worker| worker.gpu),
            credit: self.shared.payee.terms().credit.clone(),
            issued,
            expires: issued + OFFER_LIFE,
        })
    }

    /// Serves one stream to its end. `payer` is the wallet that the peer proved.
    pub async fn serve<S>(&self, payer: Address, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // More than can be turned away in good order are dropped.
        let Some(seat) = self.seats.take(payer) else { return };
        let (reader, writer) = tokio::io::split(stream);
        let mut inbound = Inbound::<Request>::start(reader);
        let mut out = Outbound::new(writer);
        if seat.one_too_many {
            return turn_away(inbound, out, Refusal::Busy, "too many sessions of one wallet".into()).await;
        }
        let begun = tokio::time::Instant::now();
        let open = loop {
            match tokio::time::timeout(OPEN_WAIT, inbound.next()).await {
                Ok(Ok(Some(Frame::Message(Request::Open(open))))) => break *open,
                // It opens a reserve first.
                Ok(Ok(Some(Frame::Message(Request::Alive)))) if begun.elapsed() < LONGEST_OPEN => {}
                Ok(Ok(None) | Err(FrameError::Io(_))) | Err(_) => return,
                Ok(Ok(Some(_))) => return self.nonsense(payer, "a session that does not begin").await,
                Ok(Err(error)) => return self.nonsense(payer, &error.to_string()).await,
            }
        };
        match self.admit(payer, &open).await {
            Ok((session, place)) => {
                let settings = &self.shared.settings;
                let patience = Patience { silent: settings.pay_wait, longest: settings.longest_pay_wait };
                let payee = self.shared.payee.clone();
                let collector = Collector::new(inbound, out, payee, payer, session, place, patience);
                // In a task of its own, so that the session is closed in the books whatever becomes of the caller.
                let provider = self.clone();
                let led = tokio::spawn(async move {
                    provider.run(collector, open).await;
                    drop(seat);
                });
                let _ = led.await;
            }
            Err((reason, message)) => {
                debug!(%payer, ?reason, %message, "a session is refused");
                if let Err(error) = self.shared.payee.forget_stranger(payer).await {
                    debug!(%error, "a stranger is remembered");
                }
                let _ = out.send(&Reply::Refused { reason, message }).await;
                let _ = out.finish().await;
            }
        }
    }

    /// Whether a session may begin: its place, and its number in the books.
    async fn admit(&self, payer: Address, open: &Open) -> Result<(SessionId, Place), (Refusal, String)> {
        let kind = open.work.kind();
        let model = match &open.work {
            Work::Order { order } => {
                check_order(order, self.shared.settings.max_source_bytes)
                    .map_err(|error| (Refusal::BadOrder, error.message))?;
                model_of(order)
            }
            Work::Relay => None,
        };
        let price = {
            let services = self.shared.services.borrow();
            let mut offered = services.iter();
            offered
                .find(|service| service.kind == kind && service.model.as_deref() == model)
                .map(|service| service.price.clone())
        };
        let price = price.ok_or((Refusal::NotOffered, format!("{kind} is not offered here")))?;
        if open.price < price {
            return Err((Refusal::Price, format!("a unit costs {price} TFuelWei now")));
        }
        // An id names one job, in the record and in the books.
        let known = self.shared.jobs.get(open.job, JobSide::Provider).await;
        if known.map_err(|error| (Refusal::Internal, error.to_string()))?.is_some() {
            return Err((Refusal::BadOrder, "there was a job with this id".into()));
        }
        // Whoever cannot be served is told at once. The place is not held yet: a stranger may name a reserve that does not
        // exist, which is waited for.
        drop(self.shared.governor.admit(kind).map_err(|why| (Refusal::Busy, why))?);
        let payee = &self.shared.payee;
        let voucher = open.voucher.as_deref().cloned();
        let refused = |error: PayeeError| (refusal_of(&error), error.to_string());
        payee.look_at(payer, open.reserve, voucher.as_ref()).await.map_err(refused)?;
        let place = self.shared.governor.admit(kind).map_err(|why| (Refusal::Busy, why))?;
        let session = payee.open(payer, open.job, kind, open.price.clone(), voucher).await;
        Ok((session.map_err(refused)?, place))
    }

    async fn run<S>(&self, mut collector: Collector<S>, open: Open)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (payer, session) = (collector.payer, collector.session);
        let record = JobRecord {
            id: open.job,
            first: None,
            side: JobSide::Provider,
            kind: open.work.kind(),
            model: match &open.work {
                Work::Order { order } => model_of(order).map(str::to_owned),
                Work::Relay => None,
            },
            counterparty: payer,
            price: open.price.clone(),
            units: 0,
            bytes: 0,
            tokens: 0,
            started: self.shared.clock.unix_seconds(),
            ended: None,
            outcome: JobOutcome::Running,
        };
        let mut tally = Tally::begin(record, self.shared.jobs.clone()).await;
        let credit = self.shared.payee.terms().credit.clone();
        let outcome = match collector.say(&Reply::Accepted { credit }).await {
            Ok(()) => self.work(&mut collector, open.job, open.work, &mut tally).await,
            Err(ended) => Err(ended),
        };
        if let Err(ended) = &outcome {
            debug!(job = %open.job, %ended, "a session ended early");
            if let Ended::Nonsense(what) = ended {
                self.nonsense(payer, what).await;
            }
            if ended.last_payment_may_come() {
                collector.ask_last().await;
            }
            if let Some(reply) = ended.reply(open.job) {
                collector.say_last(&reply).await;
            }
            if ended.last_payment_may_come() {
                collector.last_payment(LAST_PAYMENT_WAIT).await;
            }
        }
        collector.finish().await;
        let units = match &outcome {
            Err(ended) if !ended.leaves_debt() => {
                let _ = self.shared.payee.retract(session).await;
                collector.paid
            }
            _ => collector.delivered,
        };
        if let Err(error) = self.shared.payee.close(session).await {
            tracing::warn!(%error, "a session could not be closed in the books");
        }
        tally.end(units, self.shared.clock.unix_seconds(), outcome_of(outcome)).await;
    }

    async fn work<S>(
        &self,
        collector: &mut Collector<S>,
        job: JobId,
        work: Work,
        tally: &mut Tally,
    ) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match work {
            Work::Relay => serve_segments(self, collector, tally).await,
            Work::Order { order: Order::Chat(order) } => serve_chat(self, collector, job, order, tally).await,
            Work::Order { order: Order::Embeddings(order) } => {
                serve_embeddings(self, collector, job, order, tally).await
            }
            Work::Order { order: Order::Transcode(order) } => {
                let folder = self.folder.for_job(job).map_err(|error| {
                    Ended::Failed(JobError::new(JobErrorCode::Internal, format!("no work folder: {error}")))
                })?;
                serve_transcode(self, collector, job, order, &folder, tally).await
            }
        }
    }

    async fn nonsense(&self, payer: Address, what: &str) {
        self.shared.standing.fault(payer, Fault::BadMessage, what).await;
    }
}

/// Says no, and waits a little until the other side has read it: a stream that is dropped with bytes on their way looks like
/// a broken one.
async fn turn_away<W: AsyncWrite + Unpin>(
    mut inbound: Inbound<Request>,
    mut out: Outbound<W>,
    reason: Refusal,
    message: String,
) {
    let farewell = async {
        let _ = out.send(&Reply::Refused { reason, message }).await;
        let _ = out.finish().await;
        while let Ok(Some(_)) = inbound.next().await {}
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

fn outcome_of(outcome: Result<(), Ended>) -> JobOutcome {
    match outcome {
        Ok(()) => JobOutcome::Done,
        Err(Ended::Cancelled | Ended::Gone) => JobOutcome::Cancelled,
        Err(Ended::Failed(error)) => JobOutcome::Failed { code: error.code, message: error.message },
        Err(other) => JobOutcome::Failed {
            code: match other {
                Ended::Stopped => JobErrorCode::Busy,
                Ended::Nonsense(_) => JobErrorCode::BadInput,
                _ => JobErrorCode::Internal,
            },
            message: other.to_string(),
        },
    }
}

fn refusal_of(error: &PayeeError) -> Refusal {
    match error {
        PayeeError::Unpaid(Unpaid::NotCovered { .. } | Unpaid::UnitOwed) => Refusal::NotCovered,
        PayeeError::Unpaid(Unpaid::Lost { .. }) => Refusal::Unpaid,
        PayeeError::Unpaid(Unpaid::TooMany) => Refusal::Busy,
        _ => Refusal::Internal,
    }
}

fn model_of(order: &Order) -> Option<&str> {
    match order {
        Order::Transcode(_) => None,
        Order::Embeddings(order) => Some(&order.model),
        Order::Chat(order) => Some(&order.model),
    }
}
