//! One session of a requester: it takes what comes, and pays.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edge_jobs::{Event, FrameError, JobError, JobErrorCode, JobId, JobKind};
use edge_mesh::Protocol;
use theta_types::{Address, Wei};
use tokio::{
    io::{AsyncRead, WriteHalf},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{BoxedStream, DialError, Purse, PurseEmpty, RequestError, handle::Shared};
use crate::{
    LineId,
    jobs::{JobOutcome, JobRecord, JobSide},
    offer::Candidate,
    payer::{PayError, PayerError, UnitsDue},
    session::{Frame, Inbound, Open, Outbound, Refusal, Reply, Request, Work},
    standing::Fault,
};

/// How often a busy requester says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long opening a session may take on the other side: it may wait for a reserve to be final there.
const OPEN_WAIT: Duration = Duration::from_secs(45);
/// How long a good-bye may take.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a session with one provider ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuyError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("it refused: {message}")]
    Refused { reason: Refusal, message: String },
    #[error("it broke off: {0}")]
    BrokeOff(String),
    #[error("it sent nonsense: {0}")]
    Nonsense(String),
    #[error("{0}")]
    Failed(JobError),
    #[error("it did not take the payment: {0}")]
    PaymentRefused(String),
    #[error("it lied: {detail}")]
    Lie { fault: Fault, detail: String },
    #[error("it is not known whether it did the work: {0}")]
    Doubtful(String),
    #[error("{0}")]
    Payer(#[from] PayerError),
    #[error("{0}")]
    Purse(#[from] PurseEmpty),
    #[error("{0}")]
    Local(String),
    #[error("the request was cancelled")]
    Cancelled,
}

impl From<FrameError> for BuyError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => BuyError::BrokeOff(error.to_string()),
            nonsense => BuyError::Nonsense(nonsense.to_string()),
        }
    }
}

impl BuyError {
    /// What the provider is blamed for.
    pub fn fault(&self) -> Option<(Fault, String)> {
        let fault = match self {
            BuyError::Dial(_) | BuyError::BrokeOff(_) => Fault::BrokeOff,
            BuyError::Nonsense(_) => Fault::BadMessage,
            BuyError::Lie { fault, .. } => *fault,
            BuyError::Doubtful(_) => Fault::Doubtful,
            BuyError::Failed(error) if error.code == JobErrorCode::Internal => Fault::BrokeOff,
            BuyError::Refused {
                reason: Refusal::NotOffered | Refusal::Price | Refusal::Internal, ..
            } => Fault::Refused,
            BuyError::PaymentRefused(_) => Fault::Refused,
            _ => return None,
        };
        Some((fault, self.to_string()))
    }

    /// The provider has no free place now, and may have one soon.
    pub fn is_busy(&self) -> bool {
        matches!(self, BuyError::Refused { reason: Refusal::Busy, .. })
    }

    /// What the request fails with, when no other provider could do better.
    pub fn final_error(self) -> Result<RequestError, Self> {
        match self {
            BuyError::Cancelled => Ok(RequestError::Cancelled),
            BuyError::Purse(empty) => Ok(RequestError::OverBudget(empty.to_string())),
            BuyError::Local(what) => Ok(RequestError::Local(what)),
            BuyError::Failed(error) if !error.code.worth_another_provider() => {
                Ok(RequestError::BadOrder(error))
            }
            BuyError::Refused { reason: reason @ Refusal::BadOrder, message } => {
                Ok(RequestError::BadOrder(reason.error(message)))
            }
            // What is the matter with one provider's reserve or rule need not be with another's.
            BuyError::Payer(
                error @ (PayerError::NoRule | PayerError::NotFinal | PayerError::Pay(PayError::PriceChanged)),
            ) => Err(BuyError::Payer(error)),
            BuyError::Payer(error) => Ok(RequestError::CannotPay(error.to_string())),
            other => Err(other),
        }
    }

    fn outcome(&self) -> JobOutcome {
        match self {
            BuyError::Cancelled => JobOutcome::Cancelled,
            BuyError::Failed(error) => {
                JobOutcome::Failed { code: error.code, message: error.message.clone() }
            }
            other => JobOutcome::Failed { code: JobErrorCode::Internal, message: other.to_string() },
        }
    }
}

/// A session with one provider.
pub(super) struct Buyer {
    shared: Arc<Shared>,
    inbound: Inbound<Reply>,
    out: Outbound<WriteHalf<BoxedStream>>,
    provider: Address,
    kind: JobKind,
    price: Wei,
    credit: Wei,
    purse: Arc<dyn Purse>,
    cancel: CancellationToken,
    /// A file was cut off, so that nothing more can be said.
    cut_off: bool,
    /// Units paid.
    pub paid: u64,
    /// The record of the job. Whoever leads the session counts units, bytes and tokens in it.
    pub record: JobRecord,
}

/// What a session is about.
pub(super) struct Errand {
    pub work: Work,
    pub kind: JobKind,
    pub model: Option<String>,
    /// The first job of the request, when this is a later try.
    pub first: Option<JobId>,
    pub protocol: Protocol,
}

impl Buyer {
    /// Opens a session: reaches the provider, sees to it that it can be paid, and is accepted. A provider that is owed a unit
    /// from before this program was killed is paid, and asked again.
    pub async fn open(
        shared: Arc<Shared>,
        candidate: &Candidate,
        errand: impl Fn() -> Errand,
        purse: Arc<dyn Purse>,
        cancel: CancellationToken,
    ) -> Result<Self, BuyError> {
        let opened =
            Self::open_once(shared.clone(), candidate, errand(), purse.clone(), cancel.clone()).await;
        let Err(BuyError::Refused { reason: Refusal::Unpaid, .. }) = &opened else { return opened };
        // In a task of its own: a payment that was begun is made, also when its request is cancelled.
        let (payer, provider) = (shared.clone(), candidate.offer.provider);
        let paying = tokio::spawn(async move { payer.pay_begun_units(provider).await });
        let paid = cancel.run_until_cancelled(paying).await.ok_or(BuyError::Cancelled)?;
        match paid.map_err(|error| BuyError::Local(error.to_string()))?? {
            true => Self::open_once(shared, candidate, errand(), purse, cancel).await,
            false => opened,
        }
    }

    async fn open_once(
        shared: Arc<Shared>,
        candidate: &Candidate,
        errand: Errand,
        purse: Arc<dyn Purse>,
        cancel: CancellationToken,
    ) -> Result<Self, BuyError> {
        let offer = &candidate.offer;
        let job = JobId::random();
        let opening = shared.dialer.open(offer.peer, offer.provider, errand.protocol);
        let stream = tokio::select! {
            () = cancel.cancelled() => return Err(BuyError::Cancelled),
            stream = opening => stream?,
        };
        let (reader, writer) = tokio::io::split(stream);
        let record = JobRecord {
            id: job,
            first: errand.first,
            side: JobSide::Requester,
            kind: errand.kind,
            model: errand.model,
            counterparty: offer.provider,
            price: candidate.price.clone(),
            units: 0,
            bytes: 0,
            tokens: 0,
            started: shared.clock.unix_seconds(),
            ended: None,
            outcome: JobOutcome::Running,
        };
        let mut buyer = Self {
            inbound: Inbound::start(reader),
            out: Outbound::new(writer),
            provider: offer.provider,
            kind: errand.kind,
            price: candidate.price.clone(),
            credit: offer.credit.clone(),
            purse,
            cancel,
            cut_off: false,
            paid: 0,
            record,
            shared,
        };
        match buyer.begin(errand.work, offer.resource.clone()).await {
            Ok(()) => {
                buyer.shared.jobs.put(buyer.record.clone()).await;
                Ok(buyer)
            }
            // Not a job: it may be asked again every other second for hours.
            Err(error) if error.is_busy() => {
                buyer.shared.payer.release(job).await?;
                Err(error)
            }
            Err(error) => {
                let _ = buyer.end(Some(&error)).await;
                Err(error)
            }
        }
    }

    async fn begin(&mut self, work: Work, resource: theta_types::ResourceId) -> Result<(), BuyError> {
        let payer = self.shared.payer.clone();
        let (provider, job, price) = (self.provider, self.record.id, self.price.clone());
        payer.introduce(provider, resource).await?;
        payer.authorize(job, price.clone()).await?;
        if !price.is_zero() {
            let owed = payer.owed(provider).await?;
            let first_time = !payer.has_open_reserve(provider).await?;
            if first_time && self.shared.settings.use_credit && owed + price.clone() <= self.credit {
                // The first units go on credit while the reserve is on its way.
                payer.refill(provider).await?;
            } else {
                self.busy(payer.ensure(provider, price.clone())).await??;
            }
        }
        let voucher = payer.settle_up(provider).await?;
        let reserve = payer.read(move |ledger| ledger.open_reserve(provider)).await?;
        let open = Open { job, work, price, reserve, voucher: voucher.map(Box::new) };
        self.out.send(&Request::Open(Box::new(open))).await?;
        let accepted = tokio::time::timeout(OPEN_WAIT, async {
            loop {
                let frame = self.notice().await?;
                if let Some(frame) = self.attend(frame).await? {
                    return Ok::<_, BuyError>(frame);
                }
            }
        });
        let Ok(answer) = accepted.await else {
            return Err(BuyError::BrokeOff("it does not answer".into()));
        };
        match answer? {
            Frame::Message(Reply::Accepted { credit }) => {
                self.credit = self.credit.clone().min(credit);
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The next frame that the session is about. Requests to freeze a line are answered on the way.
    pub async fn next(&mut self) -> Result<Frame<Reply>, BuyError> {
        let progress = Instant::now() + self.shared.settings.progress_wait;
        self.next_by(progress).await
    }

    /// When a provider that shows nothing new from now on is given up.
    pub fn patience(&self) -> Instant {
        Instant::now() + self.shared.settings.progress_wait
    }

    /// The next frame that the session is about, until `progress`; and something at all every little while. Whoever leads
    /// the session says what is progress: a frame alone is none.
    pub async fn next_by(&mut self, progress: Instant) -> Result<Frame<Reply>, BuyError> {
        loop {
            // A provider that never pauses would never be found late.
            if Instant::now() >= progress {
                return Err(BuyError::BrokeOff("it does not get on".into()));
            }
            let sign_of_life = Instant::now() + self.shared.settings.stall_wait;
            let deadline = progress.min(sign_of_life);
            let frame = match tokio::time::timeout_at(deadline, self.notice()).await {
                Ok(frame) => frame?,
                Err(_) if deadline == progress => {
                    return Err(BuyError::BrokeOff("it does not get on".into()));
                }
                Err(_) => return Err(BuyError::BrokeOff("it says nothing any more".into())),
            };
            if let Some(frame) = self.attend(frame).await? {
                return Ok(frame);
            }
        }
    }

    /// Whatever comes next. Safe to drop; what it returns is for [`Buyer::attend`].
    pub async fn notice(&mut self) -> Result<Frame<Reply>, BuyError> {
        let frame = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(BuyError::Cancelled),
            frame = self.inbound.next() => frame?,
        };
        frame.ok_or_else(|| BuyError::BrokeOff("the stream ended".into()))
    }

    /// Deals with what belongs to every session; gives back what is about this one.
    pub async fn attend(&mut self, frame: Frame<Reply>) -> Result<Option<Frame<Reply>>, BuyError> {
        match frame {
            Frame::Message(Reply::Alive) => Ok(None),
            Frame::Message(Reply::Freeze { reserve, sequence }) => {
                self.freeze(reserve, sequence).await?;
                Ok(None)
            }
            Frame::Message(Reply::Event { event: Event::Failed { error, .. } }) => {
                Err(BuyError::Failed(error))
            }
            Frame::Message(Reply::Unpaid { message }) => Err(BuyError::PaymentRefused(message)),
            Frame::Message(Reply::Refused { reason, message }) => Err(BuyError::Refused { reason, message }),
            other => Ok(Some(other)),
        }
    }

    /// The next bytes of a file.
    pub async fn next_chunk(&mut self) -> Result<Bytes, BuyError> {
        match self.next().await? {
            Frame::Chunk(bytes) => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn say(&mut self, request: &Request) -> Result<(), BuyError> {
        Ok(self.out.send(request).await?)
    }

    /// Sends a file that the provider asked for.
    pub async fn send_file(&mut self, file: impl AsyncRead + Unpin, length: u64) -> Result<(), BuyError> {
        self.cut_off = true;
        tokio::select! {
            () = self.cancel.cancelled() => Err(BuyError::Cancelled),
            sent = self.out.send_file(file, length) => {
                self.cut_off = false;
                Ok(sent?)
            }
        }
    }

    /// Waits for something on this side, and tells the provider that this side is alive.
    pub async fn busy<T>(&mut self, work: impl Future<Output = T>) -> Result<T, BuyError> {
        tokio::pin!(work);
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        alive.tick().await;
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(BuyError::Cancelled),
                done = &mut work => return Ok(done),
                _ = alive.tick() => {}
            }
            self.out.send(&Request::Alive).await?;
        }
    }

    /// Pays for all units up to `units`, which were delivered and found good. With `more`, the next unit is wanted too,
    /// as far as the payer's limits allow.
    pub async fn pay(&mut self, units: u64, more: bool) -> Result<(), BuyError> {
        let new = units.saturating_sub(self.paid);
        if new == 0 {
            return Ok(());
        }
        let payer = self.shared.payer.clone();
        let amount = &self.price * new;
        self.purse.charge(&amount)?;
        let due = UnitsDue {
            provider: self.provider,
            job: self.record.id,
            kind: self.kind,
            price: self.price.clone(),
            units,
        };
        // On credit there must be room for the next unit, too.
        let credit = if more { self.credit.saturating_sub(&self.price) } else { self.credit.clone() };
        let voucher = match payer.pay(due.clone(), credit.clone()).await {
            Err(PayerError::Pay(PayError::NoRoom { .. })) => {
                self.busy(payer.ensure(self.provider, amount)).await??;
                payer.pay(due, credit).await?
            }
            other => other?,
        };
        // The next unit's price is set aside before this payment lets the provider begin it.
        let next = if more { payer.authorize(self.record.id, self.price.clone()).await } else { Ok(()) };
        if next.is_err() {
            self.out.send(&Request::Cancel).await?;
        }
        self.out.send(&Request::Pay { units, voucher: voucher.map(Box::new) }).await?;
        self.paid = units;
        // The voucher is in the book; now the record shows what it is for.
        self.shared.jobs.put(JobRecord { units, ..self.record.clone() }).await;
        next?;
        if more {
            payer.refill(self.provider).await?;
        }
        Ok(())
    }

    /// Ends the session: says good-bye, and records how it went. Units that were delivered, counted and not paid when the
    /// requester went away are paid now.
    pub async fn end(mut self, error: Option<&BuyError>) -> Result<(), BuyError> {
        let farewell = async {
            if self.cut_off {
                return Ok(());
            }
            if let Some(BuyError::Cancelled) = error {
                self.cancel = CancellationToken::new();
                self.out.send(&Request::Cancel).await?;
                let counted = self.record.units;
                self.pay(counted, false).await?;
            }
            Ok::<_, BuyError>(self.out.finish().await?)
        };
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, farewell).await {
            debug!(%error, "a session ended without a good-bye");
        }
        let released = self.shared.payer.release(self.record.id).await;
        self.record.units = self.paid;
        self.record.ended = Some(self.shared.clock.unix_seconds());
        self.record.outcome = error.map_or(JobOutcome::Done, BuyError::outcome);
        self.shared.jobs.put(self.record.clone()).await;
        Ok(released?)
    }

    async fn freeze(&mut self, reserve: u64, sequence: u64) -> Result<(), BuyError> {
        let line = LineId { counterparty: self.provider, reserve, sequence };
        let voucher = self.shared.payer.freeze(line).await?.map(Box::new);
        Ok(self.out.send(&Request::Frozen { reserve, sequence, voucher }).await?)
    }
}

/// A frame that does not belong where it came.
pub(super) fn unexpected(frame: &Frame<Reply>) -> BuyError {
    let what = match frame {
        Frame::Chunk(bytes) => format!("{} bytes of a file", bytes.len()),
        Frame::Message(reply) => {
            let mut text = format!("{reply:?}");
            text.truncate(text.char_indices().nth(80).map_or(text.len(), |(index, _)| index));
            text
        }
    };
    BuyError::Nonsense(format!("{what} came unexpectedly"))
}
