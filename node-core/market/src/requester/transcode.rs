//! Transcodes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use edge_jobs::{
    ContentHash, Event, JobKind, MediaInfo, Order, Rendition, SegmentInfo, Thumbnail, TranscodeOrder,
};
use edge_mesh::Protocol;
use theta_types::{Address, Wei};
use tokio::{fs::File, sync::mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Purse, RequestError, Requester,
    attempts::Attempts,
    buyer::{BuyError, Buyer, Errand, unexpected},
    received_file::{local, receive_file},
};
use crate::{
    check::{LadderCheck, Verdict},
    offer::Need,
    session::{Frame, LadderCount, Reply, Work, transcode_units},
    standing::Fault,
};

/// Events that may wait for their reader.
const EVENTS_AHEAD: usize = 64;
/// Most renditions that a provider may announce.
const MAX_RENDITIONS: usize = 9;
/// Longest segment, in milliseconds.
const MAX_SEGMENT_MS: u64 = 30_000;
/// Most thumbnails that are taken beyond those ordered: counts round.
const SPARE_THUMBNAILS: u64 = 2;

/// A transcode to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranscodeJob {
    /// The order. Its hash, size and duration are those of `source`, as this node measured them.
    pub order: TranscodeOrder,
    /// The source file.
    pub source: PathBuf,
    /// An existing folder. Each try gets a folder in it, and one that failed is deleted.
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
    /// Who made it.
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
    /// Starts a transcode. A provider that fails is followed by another, which begins anew.
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

type Events = mpsc::Sender<Result<TranscodeEvent, RequestError>>;

async fn run(
    mut attempts: Attempts,
    job: TranscodeJob,
    events: &Events,
) -> Result<TranscodeResult, RequestError> {
    let _turn = attempts.shared.turn().await?;
    let mut paid = Wei::zero();
    loop {
        let errand = || Errand {
            work: Work::Order { order: Order::Transcode(job.order.clone()) },
            kind: JobKind::Transcode,
            model: None,
            first: None,
            protocol: Protocol::JOBS,
        };
        let (mut buyer, candidate) = attempts.next(errand).await?;
        let provider = candidate.offer.provider;
        let _ = events.send(Ok(TranscodeEvent::Provider { address: provider })).await;
        let folder = job.output.join(buyer.record.id.to_string());
        let mut ladder = Ladder::new(&job, folder.clone());
        let outcome = ladder.receive(&mut buyer, &attempts, events).await;
        paid += &candidate.price * buyer.paid;
        match outcome {
            Ok((source, renditions, thumbnails)) => {
                let _ = buyer.end(None).await;
                return Ok(TranscodeResult { folder, source, renditions, thumbnails, provider, paid });
            }
            Err(error) => {
                let _ = tokio::fs::remove_dir_all(&folder).await;
                attempts.fail(buyer, &candidate, error).await?;
            }
        }
    }
}

/// A ladder as it arrives from one provider.
struct Ladder<'a> {
    job: &'a TranscodeJob,
    folder: PathBuf,
    count: LadderCount,
    segments: BTreeMap<String, Vec<SegmentInfo>>,
    thumbnails: Vec<Thumbnail>,
    next_look: u64,
}

type Made = (MediaInfo, Vec<Rendition>, Vec<Thumbnail>);

impl<'a> Ladder<'a> {
    fn new(job: &'a TranscodeJob, folder: PathBuf) -> Self {
        Self {
            job,
            folder,
            count: LadderCount::default(),
            segments: BTreeMap::new(),
            thumbnails: Vec::new(),
            next_look: 1,
        }
    }

    async fn receive(
        &mut self,
        buyer: &mut Buyer,
        attempts: &Attempts,
        events: &Events,
    ) -> Result<Made, BuyError> {
        tokio::fs::create_dir(&self.folder).await.map_err(local)?;
        let mut made: Option<Made> = None;
        loop {
            match buyer.next().await? {
                Frame::Message(Reply::NeedSource) => {
                    let file = File::open(&self.job.source).await.map_err(local)?;
                    buyer.send_file(file, self.job.order.source_bytes).await?;
                }
                Frame::Message(Reply::Ladder { renditions }) => self.begin(renditions)?,
                Frame::Message(Reply::Event { event: Event::Segment { rendition, segment, .. } }) => {
                    self.take_segment(buyer, attempts, rendition, segment).await?;
                }
                Frame::Message(Reply::Event { event: Event::Thumbnail { thumbnail, .. } }) => {
                    self.take_thumbnail(buyer, thumbnail, attempts).await?;
                }
                Frame::Message(Reply::Event { event: Event::Progress { permille, .. } }) => {
                    let _ = events.send(Ok(TranscodeEvent::Progress(permille.min(1_000)))).await;
                }
                Frame::Message(Reply::Event {
                    event: Event::Transcoded { source, renditions, thumbnails, .. },
                }) => {
                    self.check_report(&renditions, &thumbnails)?;
                    self.count.finish();
                    made = Some((source, renditions, thumbnails));
                }
                Frame::Message(Reply::Due { units }) => {
                    let counted = self.count.units();
                    if units > counted {
                        let detail = format!("{units} units claimed, {counted} delivered");
                        return Err(BuyError::Lie { fault: Fault::Inflated, detail });
                    }
                    let Some(made) = made.take() else {
                        self.look(buyer, attempts, units).await?;
                        buyer.pay(units, true).await?;
                        continue;
                    };
                    let _ = events.send(Ok(TranscodeEvent::Checking)).await;
                    let verdict = self.judge(buyer, attempts, &made.1).await?;
                    if let Verdict::Bad(detail) = verdict {
                        return Err(BuyError::Lie { fault: Fault::WrongFrames, detail });
                    }
                    buyer.pay(transcode_units(self.job.order.source_duration_ms), false).await?;
                    // That this node cannot check is not the provider's fault; but nothing unchecked is signed.
                    if let Verdict::Unknown(reason) = verdict {
                        return Err(BuyError::Local(format!("the ladder could not be checked: {reason}")));
                    }
                    return Ok(made);
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn begin(&mut self, renditions: Vec<String>) -> Result<(), BuyError> {
        if renditions.is_empty() || renditions.len() > MAX_RENDITIONS || self.count.units() > 0 {
            return Err(BuyError::Nonsense("a ladder that cannot be".into()));
        }
        let mut count = LadderCount::new(self.job.order.source_duration_ms, renditions);
        for (rendition, segments) in &self.segments {
            for segment in segments {
                count.add(rendition, segment.duration_ms);
            }
        }
        self.count = count;
        Ok(())
    }

    async fn take_segment(
        &mut self,
        buyer: &mut Buyer,
        attempts: &Attempts,
        rendition: String,
        segment: SegmentInfo,
    ) -> Result<(), BuyError> {
        if segment.duration_ms == 0 || segment.duration_ms > MAX_SEGMENT_MS {
            return Err(BuyError::Nonsense(format!("a segment of {} ms", segment.duration_ms)));
        }
        if self.count.start_of_next(&rendition).is_none() {
            return Err(BuyError::Nonsense("a segment of a rendition that was not announced".into()));
        }
        let most = attempts.shared.settings.max_segment_bytes;
        receive_file(buyer, &self.folder, &segment.file, segment.bytes, segment.hash, most).await?;
        self.count.add(&rendition, segment.duration_ms);
        buyer.record.units = self.count.units();
        self.segments.entry(rendition).or_default().push(segment);
        Ok(())
    }

    async fn take_thumbnail(
        &mut self,
        buyer: &mut Buyer,
        thumbnail: Thumbnail,
        attempts: &Attempts,
    ) -> Result<(), BuyError> {
        let order = &self.job.order;
        let most = order
            .thumbnails
            .as_ref()
            .map_or(0, |wanted| order.source_duration_ms / wanted.every_ms.max(1) + SPARE_THUMBNAILS);
        if self.thumbnails.len() as u64 >= most {
            return Err(BuyError::Nonsense("more thumbnails than were ordered".into()));
        }
        let (name, most) = (thumbnail.file.clone(), attempts.shared.settings.max_segment_bytes);
        receive_file(buyer, &self.folder, &name, thumbnail.bytes, thumbnail.hash, most).await?;
        self.thumbnails.push(thumbnail);
        Ok(())
    }

    /// The report at the end must be about the files that came.
    fn check_report(&self, renditions: &[Rendition], thumbnails: &[Thumbnail]) -> Result<(), BuyError> {
        let reported: BTreeMap<String, Vec<SegmentInfo>> =
            renditions.iter().map(|rendition| (rendition.name.clone(), rendition.segments.clone())).collect();
        if reported != self.segments || renditions.len() != reported.len() {
            let detail = "the report at the end is not about the segments that came".to_owned();
            return Err(BuyError::Lie { fault: Fault::WrongFrames, detail });
        }
        let named = |list: &[Thumbnail]| -> BTreeMap<String, ContentHash> {
            list.iter().map(|thumbnail| (thumbnail.file.clone(), thumbnail.hash)).collect()
        };
        if named(thumbnails) != named(&self.thumbnails) {
            let detail = "the report at the end is not about the thumbnails that came".to_owned();
            return Err(BuyError::Lie { fault: Fault::WrongFrames, detail });
        }
        Ok(())
    }

    /// Looks at pictures before 1, 2, 4, 8, … units are paid, so that a ladder of other pictures is found before it has
    /// cost much.
    async fn look(&mut self, buyer: &mut Buyer, attempts: &Attempts, units: u64) -> Result<(), BuyError> {
        if units < self.next_look {
            return Ok(());
        }
        self.next_look = units.saturating_mul(2);
        let renditions = self.segments.iter().map(|(name, segments)| so_far(name, segments)).collect();
        let check = self.check_of(renditions);
        let judge = attempts.shared.judge.clone();
        match buyer.busy(judge.ladder_so_far(check)).await? {
            Verdict::Bad(detail) => Err(BuyError::Lie { fault: Fault::WrongFrames, detail }),
            Verdict::Good | Verdict::Unknown(_) => Ok(()),
        }
    }

    async fn judge(
        &self,
        buyer: &mut Buyer,
        attempts: &Attempts,
        renditions: &[Rendition],
    ) -> Result<Verdict, BuyError> {
        let check = self.check_of(renditions.to_vec());
        let judge = attempts.shared.judge.clone();
        buyer.busy(judge.ladder(check)).await
    }

    fn check_of(&self, renditions: Vec<Rendition>) -> LadderCheck {
        LadderCheck {
            source: self.job.source.clone(),
            output: Path::new(&self.folder).to_owned(),
            renditions,
            ladder: self.job.order.ladder.clone(),
        }
    }
}

/// What is there of a rendition whose properties are not reported yet.
fn so_far(name: &str, segments: &[SegmentInfo]) -> Rendition {
    Rendition {
        name: name.to_owned(),
        width: 0,
        height: 0,
        bandwidth: 0,
        average_bandwidth: 0,
        codecs: String::new(),
        frame_rate: (0, 1),
        segments: segments.to_vec(),
    }
}
