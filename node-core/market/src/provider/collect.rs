//! One session of a provider: units out, payments in.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use edge_jobs::{Event, FrameError, JobError, JobErrorCode};
use theta_types::Address;
use tokio::{
    io::{AsyncRead, AsyncWrite, WriteHalf},
    sync::watch,
    time::Instant,
};
use tracing::debug;

use super::{Place, RunningTask};
use crate::{
    LineId,
    payee::{Payee, PayeeError, SessionId},
    session::{Frame, Inbound, Outbound, Reply, Request},
};

/// How often a working provider says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
/// Requests that may wait while a file is on its way. An honest requester has no more to say in that time than a payment,
/// an answer to a freeze and what it wants next.
const MAX_EARLY: usize = 8;
/// Bytes a second, on average, that a file from the requester must come at: a place is not held for a trickle.
const SLOWEST_FILE: u64 = 16 * 1024;

/// Why a session ended before its work did.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The requester stopped the job.
    #[error("the requester stopped the job")]
    Cancelled,
    /// The requester is gone.
    #[error("the requester went away")]
    Gone,
    /// The requester did not pay in time, or not enough.
    #[error("the requester did not pay: {0}")]
    Unpaid(String),
    /// The requester sent what no honest program sends.
    #[error("the requester sent nonsense: {0}")]
    Nonsense(String),
    /// This node stops the job: it was paused, or is ending.
    #[error("this node stopped the job")]
    Stopped,
    /// The work failed.
    #[error("{0}")]
    Failed(JobError),
    /// The book could not be written.
    #[error("{0}")]
    Book(PayeeError),
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(_) => Ended::Gone,
            nonsense => Ended::Nonsense(nonsense.to_string()),
        }
    }
}

impl From<JobError> for Ended {
    /// Of a worker's task. A requester that stops its job has said so before: a task that was stopped otherwise was stopped by
    /// this node, and another one may do the work.
    fn from(error: JobError) -> Self {
        match error.code {
            JobErrorCode::Cancelled => Ended::Stopped,
            _ => Ended::Failed(error),
        }
    }
}

impl From<PayeeError> for Ended {
    fn from(error: PayeeError) -> Self {
        match error {
            PayeeError::Unpaid(why) => Ended::Unpaid(why.to_string()),
            PayeeError::Voucher(why) => Ended::Unpaid(why.to_string()),
            other => Ended::Book(other),
        }
    }
}

impl Ended {
    /// Whether the unit that was begun stays due. It does unless this side broke off: else whoever has had most of a unit
    /// could do away with the debt, by an order that is bound to fail or by hanging up.
    pub fn leaves_debt(&self) -> bool {
        match self {
            Ended::Cancelled | Ended::Gone | Ended::Unpaid(_) | Ended::Nonsense(_) => true,
            Ended::Failed(error) => error.code == JobErrorCode::BadInput,
            Ended::Stopped | Ended::Book(_) => false,
        }
    }

    /// Whether an honest requester pays the unit that was begun now, if it is given the time.
    pub fn last_payment_may_come(&self) -> bool {
        matches!(self, Ended::Cancelled | Ended::Failed(_)) && self.leaves_debt()
    }

    /// What the requester is told about it, if it is there to be told.
    pub fn reply(&self, job: edge_jobs::JobId) -> Option<Reply> {
        let failed = |code, message: String| Reply::Event {
            event: Event::Failed { job, error: JobError::new(code, message) },
        };
        match self {
            Ended::Gone | Ended::Cancelled => None,
            Ended::Unpaid(message) => Some(Reply::Unpaid { message: message.clone() }),
            Ended::Nonsense(message) => Some(failed(JobErrorCode::BadInput, message.clone())),
            Ended::Stopped => Some(failed(JobErrorCode::Busy, "the provider paused".into())),
            Ended::Failed(error) => Some(Reply::Event { event: Event::Failed { job, error: error.clone() } }),
            Ended::Book(_) => {
                Some(failed(JobErrorCode::Internal, "the provider cannot keep its books".into()))
            }
        }
    }
}

/// How long a payment is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// While nothing at all is heard of the requester.
    pub silent: Duration,
    /// In all, whatever it says: a place is not held for promises.
    pub longest: Duration,
}

/// What a session does besides its work: it delivers unit by unit, takes payments, passes on requests to freeze a line,
/// and says that it is alive.
pub(super) struct Collector<S> {
    pub inbound: Inbound<Request>,
    out: Outbound<WriteHalf<S>>,
    pub payee: Payee,
    pub payer: Address,
    pub session: SessionId,
    place: Place,
    patience: Patience,
    /// Units that went out, and those that are paid.
    pub delivered: u64,
    pub paid: u64,
    closings: watch::Receiver<u64>,
    asked: Option<LineId>,
    alive: tokio::time::Interval,
    /// When the requester was last heard of.
    heard: Instant,
    /// The requester waits for this side, and is told that it is there.
    pub working: bool,
    /// Bytes of files that the requester sent, and since when.
    received: (u64, Instant),
    /// Said by the requester while a file was on its way to it.
    early: VecDeque<Request>,
    /// A file was cut off, so that nothing more can be said.
    cut_off: bool,
}

/// Something to attend to.
enum Notice {
    Said(Request),
    Chunk(Bytes),
    Closing,
    Alive,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Collector<S> {
    pub fn new(
        inbound: Inbound<Request>,
        out: Outbound<WriteHalf<S>>,
        payee: Payee,
        payer: Address,
        session: SessionId,
        place: Place,
        patience: Patience,
    ) -> Self {
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let closings = payee.closings();
        Self {
            inbound,
            out,
            payee,
            payer,
            session,
            place,
            patience,
            delivered: 0,
            paid: 0,
            closings,
            asked: None,
            alive,
            heard: Instant::now(),
            working: true,
            received: (0, Instant::now()),
            early: VecDeque::new(),
            cut_off: false,
        }
    }

    /// Records that `units` more go out now. Everything before must be paid.
    pub async fn deliver(&mut self, units: u64) -> Result<(), Ended> {
        if units > 0 {
            self.delivered = self.payee.deliver(self.session, units).await?;
        }
        Ok(())
    }

    /// Says how many units are delivered, so that the requester pays.
    pub async fn ask(&mut self) -> Result<(), Ended> {
        let due = Reply::Due { units: self.delivered };
        self.say(&due).await
    }

    pub async fn say(&mut self, reply: &Reply) -> Result<(), Ended> {
        Ok(self.out.send(reply).await?)
    }

    /// Asks for the unit that was begun before the session ended early, if the requester can still be asked.
    pub async fn ask_last(&mut self) {
        if !self.cut_off && self.paid < self.delivered {
            let _ = self.ask().await;
        }
    }

    /// Says why the session ended, if the requester can still be told.
    pub async fn say_last(&mut self, reply: &Reply) {
        if !self.cut_off {
            let _ = self.out.send(reply).await;
        }
    }

    /// Says that nothing follows.
    pub async fn finish(&mut self) {
        let _ = self.out.finish().await;
    }

    /// Sends a message and the file that belongs to it, and stops when the requester or this node does.
    pub async fn send_file(
        &mut self,
        reply: &Reply,
        file: impl AsyncRead + Unpin,
        length: u64,
    ) -> Result<(), Ended> {
        let Self { inbound, out, place, early, cut_off, heard, .. } = self;
        *cut_off = true;
        let sending = async {
            out.put(reply).await?;
            out.send_file(file, length).await
        };
        tokio::pin!(sending);
        loop {
            tokio::select! {
                sent = &mut sending => {
                    sent?;
                    *cut_off = false;
                    return Ok(());
                }
                () = place.stopped() => return Err(Ended::Stopped),
                frame = inbound.next(), if early.len() < MAX_EARLY => match frame? {
                    Some(Frame::Message(Request::Cancel)) => return Err(Ended::Cancelled),
                    Some(Frame::Message(Request::Alive)) => *heard = Instant::now(),
                    Some(Frame::Message(request)) => early.push_back(request),
                    Some(Frame::Chunk(_)) => return Err(unasked()),
                    None => return Err(Ended::Gone),
                },
            }
        }
    }

    /// Waits until so many units are paid. A sign of life gives more time, but only up to a limit.
    pub async fn wait_paid(&mut self, units: u64) -> Result<(), Ended> {
        self.heard = Instant::now();
        let last = self.heard + self.patience.longest;
        while self.paid < units {
            let deadline = last.min(self.heard + self.patience.silent);
            match tokio::time::timeout_at(deadline, self.notice()).await {
                Ok(notice) => self.attend(notice?).await?,
                Err(_) => return Err(Ended::Unpaid("no payment came in time".into())),
            }
        }
        Ok(())
    }

    /// The next event of a task, while the requester is attended to.
    pub async fn next_event(&mut self, task: &mut RunningTask) -> Result<Option<Event>, Ended> {
        loop {
            let notice = tokio::select! {
                biased;
                notice = self.notice() => notice?,
                event = task.next() => return Ok(event),
            };
            self.attend(notice).await?;
        }
    }

    /// The next bytes of a file that the requester sends. It may pause for `wait`, and must keep up a slow pace over all.
    pub async fn next_chunk(&mut self, wait: Duration) -> Result<Bytes, Ended> {
        let (bytes, since) = &mut self.received;
        if *bytes == 0 {
            *since = Instant::now();
        }
        let slowest = *since + wait + Duration::from_secs(*bytes / SLOWEST_FILE);
        let deadline = slowest.min(Instant::now() + wait);
        loop {
            match tokio::time::timeout_at(deadline, self.notice()).await {
                Ok(notice) => match notice? {
                    Notice::Chunk(bytes) => {
                        self.received.0 += bytes.len() as u64;
                        return Ok(bytes);
                    }
                    other => self.attend(other).await?,
                },
                Err(_) => return Err(Ended::Gone),
            }
        }
    }

    /// The next request that is no payment, within `wait`; `None` when the requester has closed.
    pub async fn next_request(&mut self, wait: Duration) -> Result<Option<Request>, Ended> {
        let deadline = Instant::now() + wait;
        loop {
            let notice = match tokio::time::timeout_at(deadline, self.notice()).await {
                Ok(Err(Ended::Gone)) | Err(_) => return Ok(None),
                Ok(notice) => notice?,
            };
            match notice {
                Notice::Said(request @ Request::Get { .. }) => return Ok(Some(request)),
                other => self.attend(other).await?,
            }
        }
    }

    /// Waits for something to attend to. Safe to drop.
    async fn notice(&mut self) -> Result<Notice, Ended> {
        if let Some(request) = self.early.pop_front() {
            return Ok(Notice::Said(request));
        }
        tokio::select! {
            biased;
            () = self.place.stopped() => Err(Ended::Stopped),
            frame = self.inbound.next() => match frame? {
                Some(Frame::Message(request)) => Ok(Notice::Said(request)),
                Some(Frame::Chunk(bytes)) => Ok(Notice::Chunk(bytes)),
                None => Err(Ended::Gone),
            },
            changed = self.closings.changed() => match changed {
                Ok(()) => Ok(Notice::Closing),
                Err(_) => Err(Ended::Stopped),
            },
            _ = self.alive.tick(), if self.working => Ok(Notice::Alive),
        }
    }

    async fn attend(&mut self, notice: Notice) -> Result<(), Ended> {
        match notice {
            Notice::Said(request) => self.take(request).await,
            Notice::Chunk(_) => Err(unasked()),
            Notice::Alive => self.say(&Reply::Alive).await,
            Notice::Closing => match self.payee.closing(self.payer).await? {
                Some(line) => self.freeze(line).await,
                None => Ok(()),
            },
        }
    }

    /// Takes what the requester says in the middle of a session.
    async fn take(&mut self, request: Request) -> Result<(), Ended> {
        self.heard = Instant::now();
        match request {
            Request::Pay { units, voucher } => {
                let voucher = voucher.map(|voucher| *voucher);
                let paid = self.payee.pay(self.payer, self.session, units, voucher).await?;
                self.paid = paid.units;
                match paid.freeze {
                    Some(line) => self.freeze(line).await,
                    None => Ok(()),
                }
            }
            Request::Frozen { reserve, sequence, voucher } => {
                let line = LineId { counterparty: self.payer, reserve, sequence };
                let voucher = voucher.map(|voucher| *voucher);
                if let Err(error) = self.payee.frozen(self.payer, line, voucher).await {
                    debug!(%error, "a last voucher is not taken");
                }
                Ok(())
            }
            Request::Alive => Ok(()),
            Request::Cancel => Err(Ended::Cancelled),
            Request::Open(_) | Request::Get { .. } => {
                Err(Ended::Nonsense("a request that does not belong here".into()))
            }
        }
    }

    /// After the requester stopped the job: takes the payment for what was delivered, for a short while.
    pub async fn last_payment(&mut self, wait: Duration) {
        let deadline = Instant::now() + wait;
        while self.paid < self.delivered {
            let Ok(Ok(notice)) = tokio::time::timeout_at(deadline, self.notice()).await else { return };
            match notice {
                Notice::Said(request @ (Request::Pay { .. } | Request::Frozen { .. })) => {
                    if self.take(request).await.is_err() {
                        return;
                    }
                }
                Notice::Said(_) | Notice::Chunk(_) | Notice::Closing | Notice::Alive => {}
            }
        }
    }

    async fn freeze(&mut self, line: LineId) -> Result<(), Ended> {
        // Once a session: the answer may be on its way.
        if self.asked == Some(line) {
            return Ok(());
        }
        self.asked = Some(line);
        self.say(&Reply::Freeze { reserve: line.reserve, sequence: line.sequence }).await
    }
}

fn unasked() -> Ended {
    Ended::Nonsense("file bytes that nobody asked for".into())
}
