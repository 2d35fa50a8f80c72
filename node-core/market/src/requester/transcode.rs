//! Transcodes.
//!
//! A provider that dies is followed by another, which goes on where the paid segments end: what was delivered, looked at
//! and paid stays, and only the rest is ordered. The whole is checked at its end. If two providers' parts do not make one
//! ladder, it is not known whose fault that is; both lose a little standing, and a third one begins anew.

use std::{path::PathBuf, sync::Arc};

use edge_jobs::{JobKind, MediaInfo, Order, Rendition, Thumbnail, TranscodeOrder, VideoEncoder};
use edge_mesh::Protocol;
use theta_types::{Address, Wei};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Purse, RequestError, Requester,
    arriving_ladder::{ArrivingLadder, check_of, in_time, so_far},
    attempts::Attempts,
    buyer::{BuyError, Errand},
    kept_ladder::{Delivered, KeptLadder},
};
use crate::{check::Verdict, offer::Need, session::Work, standing::Fault};

/// Events that may wait for their reader.
const EVENTS_AHEAD: usize = 64;

/// A transcode to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscodeJob {
    /// The order. Its hash, size and duration are those of `source`, as this node measured them.
    pub order: TranscodeOrder,
    /// The source file.
    pub source: PathBuf,
    /// An existing folder of this job's own, which its owner removes. Each try gets a folder in it; what is kept of one that
    /// failed moves to the next one's. When the job does not come to its end, also because the program ends, the same job in
    /// the same folder goes on where the paid part ends.
    pub output: PathBuf,
}

/// A finished ladder, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TranscodeResult {
    /// The folder with its files.
    pub folder: PathBuf,
    /// What the source held, as the provider found it.
    pub source: MediaInfo,
    /// The renditions, smallest first.
    pub renditions: Vec<Rendition>,
    /// The thumbnails, in order.
    pub thumbnails: Vec<Thumbnail>,
    /// Who made it, or the end of it.
    pub provider: Address,
    /// TFuelWei that were paid, failed tries included.
    pub paid: Wei,
}

/// How a transcode goes.
#[derive(Clone, Debug, PartialEq)]
pub enum TranscodeEvent {
    /// A provider has taken the job.
    Provider {
        /// Its wallet.
        address: Address,
    },
    /// How far it is, from 0 to 1000.
    Progress(u16),
    /// The ladder is complete, and is compared with its source.
    Checking,
    /// It is done.
    Done(Box<TranscodeResult>),
}

/// A transcode that runs. Dropping it stops it.
#[derive(Debug)]
pub struct TranscodeRun {
    events: mpsc::Receiver<Result<TranscodeEvent, RequestError>>,
    _cancel: DropGuard,
}

impl TranscodeRun {
    /// The next event; `None` after the last, which is [`TranscodeEvent::Done`] or an error.
    pub async fn next(&mut self) -> Option<Result<TranscodeEvent, RequestError>> {
        self.events.recv().await
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn finish(mut self) -> Result<TranscodeResult, RequestError> {
        while let Some(event) = self.next().await {
            if let TranscodeEvent::Done(result) = event? {
                return Ok(*result);
            }
        }
        Err(RequestError::Cancelled)
    }
}

impl Requester {
    /// Starts a transcode. A provider that fails is followed by another, which goes on where the paid part ends.
    pub fn transcode(&self, job: TranscodeJob, purse: Arc<dyn Purse>) -> TranscodeRun {
        let cancel = CancellationToken::new();
        let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
        let need = Need::of(&Order::Transcode(job.order.clone()));
        let attempts = Attempts::new(self.shared.clone(), need, purse, cancel.clone());
        tokio::spawn(async move {
            let done = run(attempts, job, &events).await;
            let _ = events.send(done.map(|result| TranscodeEvent::Done(Box::new(result)))).await;
        });
        TranscodeRun { events: receiver, _cancel: cancel.drop_guard() }
    }
}

pub(super) type Events = mpsc::Sender<Result<TranscodeEvent, RequestError>>;

async fn run(
    mut attempts: Attempts,
    job: TranscodeJob,
    events: &Events,
) -> Result<TranscodeResult, RequestError> {
    let _turn = attempts.shared.turn().await?;
    let mut kept = kept_before(&attempts, &job).await?;
    make(&mut attempts, &job, &mut kept, events).await
}

async fn make(
    attempts: &mut Attempts,
    job: &TranscodeJob,
    kept: &mut KeptLadder,
    events: &Events,
) -> Result<TranscodeResult, RequestError> {
    let mut paid = Wei::zero();
    let mut nobody_goes_on = None;
    let mut permille = 0;
    loop {
        let order = TranscodeOrder { from: kept.start(&job.order), ..job.order.clone() };
        attempts.set_encoder(order.from.as_ref().map(|from| from.encoder));
        let errand = || Errand {
            work: Work::Order { order: Order::Transcode(order.clone()) },
            kind: JobKind::Transcode,
            model: None,
            first: None,
            protocol: Protocol::JOBS,
        };
        let (mut buyer, candidate) = match attempts.next(errand).await {
            Ok(opened) => opened,
            // Somebody may be left who has another encoder, and makes all of it.
            Err(error @ (RequestError::NoProvider { .. } | RequestError::Failed { .. }))
                if !kept.is_empty() =>
            {
                nobody_goes_on = Some(error);
                kept.forget();
                continue;
            }
            Err(error @ RequestError::NoProvider { .. }) => return Err(nobody_goes_on.unwrap_or(error)),
            Err(error) => return Err(error),
        };
        let provider = candidate.offer.provider;
        let _ = events.send(Ok(TranscodeEvent::Provider { address: provider })).await;
        let folder = job.output.join(buyer.record.id.to_string());
        let encoder = order.from.as_ref().map(|from| from.encoder).or(encoder_of(&candidate.offer.encoders));
        let maker = (encoder, provider);
        let mut ladder = ArrivingLadder::new(job, &order, kept, folder.clone(), maker, permille);
        let outcome = ladder.receive(&mut buyer, attempts, events).await;
        let units = buyer.paid;
        let (more, told) = (ladder.so_far(units), ladder.permille);
        paid += &candidate.price * units;
        match outcome {
            Ok((source, renditions, thumbnails)) => {
                let _ = buyer.end(None).await;
                return Ok(TranscodeResult { folder, source, renditions, thumbnails, provider, paid });
            }
            Err(error) => {
                let trusted = !matches!(error, BuyError::Lie { .. } | BuyError::Doubtful(_));
                attempts.fail(buyer, &candidate, error).await?;
                if trusted && let Some(more) = more {
                    keep(attempts, job, kept, more, provider).await?;
                }
                permille = if kept.is_empty() { 0 } else { told };
            }
        }
    }
}

/// The encoder of a provider's ladders, if its offer leaves no doubt.
fn encoder_of(offered: &[VideoEncoder]) -> Option<VideoEncoder> {
    match offered {
        [encoder] => Some(*encoder),
        _ => None,
    }
}

/// What an earlier run of the program kept, once it has been looked at. Of who made it only the last one could not be
/// looked at in time, and which that was is not known for certain.
async fn kept_before(attempts: &Attempts, job: &TranscodeJob) -> Result<KeptLadder, RequestError> {
    let kept = KeptLadder::load(&job.output, &job.order).await;
    if kept.is_empty() {
        return Ok(kept);
    }
    match look_at(attempts, job, &kept, 0).await? {
        Verdict::Good | Verdict::Unknown(_) => Ok(kept),
        Verdict::Bad(detail) | Verdict::Stuck(detail) => {
            for maker in kept.makers() {
                attempts.shared.standing.fault(*maker, Fault::Doubtful, detail.clone()).await;
            }
            Ok(KeptLadder::default())
        }
    }
}

/// Keeps what a provider that is gone was paid for, once it has been looked at: not all of it was before its payment.
async fn keep(
    attempts: &Attempts,
    job: &TranscodeJob,
    kept: &mut KeptLadder,
    more: KeptLadder,
    maker: Address,
) -> Result<(), RequestError> {
    match look_at(attempts, job, &more, kept.len()).await? {
        Verdict::Good | Verdict::Unknown(_) => *kept = more,
        Verdict::Bad(detail) => attempts.shared.standing.fault(maker, Fault::WrongFrames, detail).await,
        Verdict::Stuck(detail) => attempts.shared.standing.fault(maker, Fault::Doubtful, detail).await,
    }
    Ok(())
}

/// Compares what is kept with the source, from a segment on.
async fn look_at(
    attempts: &Attempts,
    job: &TranscodeJob,
    kept: &KeptLadder,
    from_segment: usize,
) -> Result<Verdict, RequestError> {
    let Some(folder) = kept.folder() else { return Ok(Verdict::Unknown("nothing is there".into())) };
    let renditions = kept.segments_with(&Delivered::default());
    let renditions = renditions.iter().map(|(name, segments)| so_far(name, segments)).collect();
    let check = check_of(job, folder, renditions, from_segment, Vec::new());
    let look = in_time(job, attempts.shared.judge.ladder_so_far(check));
    attempts.cancel.run_until_cancelled(look).await.ok_or(RequestError::Cancelled)
}
