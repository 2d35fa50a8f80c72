//! A ladder as it comes from one provider: taken, looked at, paid unit by unit, and checked at its end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use edge_jobs::{
    ContentHash, Event, MediaInfo, Rendition, SegmentInfo, Thumbnail, TranscodeOrder, VideoEncoder,
    segment_file, thumbnail_file,
};
use theta_types::Address;
use tokio::fs::File;
use tracing::warn;

use super::{
    TranscodeEvent, TranscodeJob,
    attempts::Attempts,
    buyer::{BuyError, Buyer, unexpected},
    kept_ladder::{Delivered, KeptLadder},
    received_file::{local, receive_file},
    transcode::Events,
};
use crate::{
    check::{LadderCheck, Verdict},
    session::{Frame, LadderCount, Reply, transcode_units},
    standing::Fault,
};

/// Most renditions that a provider may announce.
const MAX_RENDITIONS: usize = 9;
/// Longest segment, in milliseconds.
const MAX_SEGMENT_MS: u64 = 30_000;
/// Most thumbnails that are taken beyond those ordered: counts round.
const SPARE_THUMBNAILS: u64 = 2;
/// How long a check may take, besides the length of the source.
const CHECK_WAIT: Duration = Duration::from_secs(600);

/// A ladder as it arrives from one provider, after what is kept of earlier ones.
pub(super) struct ArrivingLadder<'a> {
    job: &'a TranscodeJob,
    /// Milliseconds of source that this provider is to make.
    wanted_ms: u64,
    kept: &'a mut KeptLadder,
    folder: PathBuf,
    count: LadderCount,
    pub delivered: Delivered,
    /// What the ladder is encoded with, as far as that is known, and who makes it.
    maker: (Option<VideoEncoder>, Address),
    /// At so many paid units it is written down next what is there.
    next_save: u64,
    next_look: u64,
    /// Segments of each rendition that were looked at.
    looked_at: usize,
    /// What was told of the progress.
    pub permille: u16,
}

type Made = (MediaInfo, Vec<Rendition>, Vec<Thumbnail>);

impl<'a> ArrivingLadder<'a> {
    pub fn new(
        job: &'a TranscodeJob,
        order: &TranscodeOrder,
        kept: &'a mut KeptLadder,
        folder: PathBuf,
        maker: (Option<VideoEncoder>, Address),
        permille: u16,
    ) -> Self {
        Self {
            job,
            wanted_ms: order.wanted_ms(),
            folder,
            count: LadderCount::default(),
            delivered: Delivered::default(),
            maker,
            next_save: 1,
            next_look: 1,
            looked_at: kept.len(),
            // One that goes on finds its place first, and would say that nothing is there.
            permille: permille.max(kept.permille(&job.order, 0)),
            kept,
        }
    }

    /// Takes what comes, and pays, until the whole is there and found good.
    pub async fn receive(
        &mut self,
        buyer: &mut Buyer,
        attempts: &Attempts,
        events: &Events,
    ) -> Result<Made, BuyError> {
        self.kept.move_to(&self.folder).await.map_err(local)?;
        self.save(self.kept).await;
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
                    self.permille = self.permille.max(permille.min(self.most_permille()));
                    let _ = events.send(Ok(TranscodeEvent::Progress(self.permille))).await;
                }
                Frame::Message(Reply::Event {
                    event: Event::Transcoded { source, mut renditions, mut thumbnails, .. },
                }) => {
                    self.check_report(&renditions, &thumbnails)?;
                    self.count.finish();
                    self.kept.join(&mut renditions, &mut thumbnails);
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
                        self.save_now_and_then(units).await;
                        continue;
                    };
                    let _ = events.send(Ok(TranscodeEvent::Checking)).await;
                    let verdict = self.judge(buyer, attempts, &made).await?;
                    match &verdict {
                        Verdict::Bad(detail) => return Err(self.bad_whole(attempts, detail).await),
                        Verdict::Stuck(detail) => return Err(BuyError::Doubtful(detail.clone())),
                        Verdict::Good | Verdict::Unknown(_) => {}
                    }
                    buyer.pay(transcode_units(self.wanted_ms), false).await?;
                    // That this node cannot check is not the provider's fault; but nothing unchecked is signed.
                    if let Verdict::Unknown(reason) = verdict {
                        return Err(unchecked(&reason));
                    }
                    return Ok(made);
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// What is kept, and what this provider was paid for after it; `None` when that is nothing.
    pub fn so_far(&self, paid: u64) -> Option<KeptLadder> {
        let (encoder, maker) = self.maker;
        self.kept.with(&self.delivered, paid, &self.job.order, encoder, maker)
    }

    /// Writes down what is paid, after each unit at first. All of it is written each time, so of a long ladder it is done after
    /// each twentieth part more: so much of it may have to be made again.
    async fn save_now_and_then(&mut self, units: u64) {
        if units < self.next_save {
            return;
        }
        self.next_save = units + (units / 20).max(1);
        if let Some(so_far) = self.so_far(units) {
            self.save(&so_far).await;
        }
    }

    /// For the next run of the program. Without it, that one begins anew.
    async fn save(&self, kept: &KeptLadder) {
        if let Err(error) = kept.save(&self.job.output, &self.job.order).await {
            warn!(%error, "it is not written down what is kept of a ladder");
        }
    }

    /// How far it can be: a provider's worker may be far ahead of what has come, which is lost when the provider dies.
    fn most_permille(&self) -> u16 {
        let units = self.count.units() + 1;
        self.kept.permille(&self.job.order, units)
    }

    fn begin(&mut self, renditions: Vec<String>) -> Result<(), BuyError> {
        if renditions.is_empty() || renditions.len() > MAX_RENDITIONS || self.count.units() > 0 {
            return Err(BuyError::Nonsense("a ladder that cannot be".into()));
        }
        if !self.kept.fits(&renditions) {
            let detail =
                format!("it goes on with other renditions than those that are there: {renditions:?}");
            return Err(BuyError::Lie { fault: Fault::WrongFrames, detail });
        }
        let mut count = LadderCount::new(self.wanted_ms, renditions);
        for (rendition, segments) in &self.delivered.segments {
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
        let next = self.kept.len() + self.delivered.segments.get(&rendition).map_or(0, Vec::len);
        if segment.index as usize != next || segment.file != segment_file(&rendition, segment.index) {
            let what = format!("the segment {} as {:?} in place of {next}", segment.index, segment.file);
            return Err(BuyError::Nonsense(what));
        }
        let most = attempts.shared.settings.max_segment_bytes;
        receive_file(buyer, &self.folder, &segment.file, segment.bytes, segment.hash, most).await?;
        self.count.add(&rendition, segment.duration_ms);
        buyer.record.units = self.count.units();
        self.delivered.segments.entry(rendition).or_default().push(segment);
        Ok(())
    }

    async fn take_thumbnail(
        &mut self,
        buyer: &mut Buyer,
        thumbnail: Thumbnail,
        attempts: &Attempts,
    ) -> Result<(), BuyError> {
        let order = &self.job.order;
        let every_ms = order.thumbnails.as_ref().map_or(u64::MAX, |wanted| wanted.every_ms.max(1));
        let most = order.source_duration_ms / every_ms + SPARE_THUMBNAILS;
        if order.thumbnails.is_none() || self.delivered.thumbnails.len() as u64 >= most {
            return Err(BuyError::Nonsense("more thumbnails than were ordered".into()));
        }
        let number = thumbnail.at_ms / every_ms;
        if thumbnail.at_ms != number * every_ms || thumbnail.file != thumbnail_file(number) {
            let what = format!("a thumbnail of {} ms as {:?}", thumbnail.at_ms, thumbnail.file);
            return Err(BuyError::Nonsense(what));
        }
        let (name, most) = (thumbnail.file.clone(), attempts.shared.settings.max_segment_bytes);
        receive_file(buyer, &self.folder, &name, thumbnail.bytes, thumbnail.hash, most).await?;
        self.delivered.thumbnails.push(thumbnail);
        Ok(())
    }

    /// The report at the end must be about the files that came.
    fn check_report(&self, renditions: &[Rendition], thumbnails: &[Thumbnail]) -> Result<(), BuyError> {
        let reported: BTreeMap<String, Vec<SegmentInfo>> =
            renditions.iter().map(|rendition| (rendition.name.clone(), rendition.segments.clone())).collect();
        if reported != self.delivered.segments || renditions.len() != reported.len() {
            let detail = "the report at the end is not about the segments that came".to_owned();
            return Err(BuyError::Lie { fault: Fault::WrongFrames, detail });
        }
        let named = |list: &[Thumbnail]| -> BTreeMap<String, ContentHash> {
            list.iter().map(|thumbnail| (thumbnail.file.clone(), thumbnail.hash)).collect()
        };
        if named(thumbnails) != named(&self.delivered.thumbnails) {
            let detail = "the report at the end is not about the thumbnails that came".to_owned();
            return Err(BuyError::Lie { fault: Fault::WrongFrames, detail });
        }
        Ok(())
    }

    /// Looks at what came since the last time before 1, 2, 4, 8, … units are paid, so that a ladder that is not the
    /// source's is found before it has cost much.
    async fn look(&mut self, buyer: &mut Buyer, attempts: &Attempts, units: u64) -> Result<(), BuyError> {
        if units < self.next_look {
            return Ok(());
        }
        self.next_look = units.saturating_mul(2);
        let renditions = self.kept.segments_with(&self.delivered);
        let looked_at = renditions.values().map(Vec::len).min().unwrap_or(0);
        let renditions = renditions.iter().map(|(name, segments)| so_far(name, segments)).collect();
        let check = self.check_of(renditions, self.looked_at, Vec::new());
        self.looked_at = looked_at;
        let judge = attempts.shared.judge.clone();
        match buyer.busy(in_time(self.job, judge.ladder_so_far(check))).await? {
            // What is there was good by itself. That the two parts do not join may be the fault of either: encoders of
            // different versions do not.
            Verdict::Bad(detail) if !self.kept.is_empty() && buyer.paid == 0 => {
                Err(BuyError::Doubtful(detail))
            }
            Verdict::Bad(detail) => Err(BuyError::Lie { fault: Fault::WrongFrames, detail }),
            Verdict::Stuck(detail) => Err(BuyError::Doubtful(detail)),
            // The whole could not be signed: it is of no use to pay for more of it.
            Verdict::Unknown(reason) => Err(unchecked(&reason)),
            Verdict::Good => Ok(()),
        }
    }

    async fn judge(&self, buyer: &mut Buyer, attempts: &Attempts, made: &Made) -> Result<Verdict, BuyError> {
        let check = self.check_of(made.1.clone(), 0, made.2.clone());
        let judge = attempts.shared.judge.clone();
        buyer.busy(in_time(self.job, judge.ladder(check))).await
    }

    /// The whole ladder is not what was ordered. If more than one made it, nobody knows who did it, and nothing is kept.
    async fn bad_whole(&mut self, attempts: &Attempts, detail: &str) -> BuyError {
        if self.kept.is_empty() {
            return BuyError::Lie { fault: Fault::WrongFrames, detail: detail.to_owned() };
        }
        for maker in self.kept.makers() {
            attempts.shared.standing.fault(*maker, Fault::Doubtful, detail).await;
        }
        self.kept.forget();
        BuyError::Doubtful(detail.to_owned())
    }

    fn check_of(
        &self,
        renditions: Vec<Rendition>,
        from_segment: usize,
        thumbnails: Vec<Thumbnail>,
    ) -> LadderCheck {
        check_of(self.job, &self.folder, renditions, from_segment, thumbnails)
    }
}

fn unchecked(reason: &str) -> BuyError {
    BuyError::Local(format!("the ladder could not be checked: {reason}"))
}

/// The files in `folder`, to be compared with the source of a job; pictures from a segment on.
pub(super) fn check_of(
    job: &TranscodeJob,
    folder: &Path,
    renditions: Vec<Rendition>,
    from_segment: usize,
    thumbnails: Vec<Thumbnail>,
) -> LadderCheck {
    LadderCheck {
        source: job.source.clone(),
        output: folder.to_owned(),
        renditions,
        ladder: job.order.ladder.clone(),
        from_segment: u32::try_from(from_segment).unwrap_or(u32::MAX),
        thumbnails,
        thumbnail_order: job.order.thumbnails.clone(),
    }
}

/// What is there of a rendition whose properties are not reported yet.
pub(super) fn so_far(name: &str, segments: &[SegmentInfo]) -> Rendition {
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

/// The verdict, unless it takes longer than any honest ladder needs.
pub(super) async fn in_time(job: &TranscodeJob, verdict: impl Future<Output = Verdict>) -> Verdict {
    let wait = CHECK_WAIT + Duration::from_millis(job.order.source_duration_ms);
    let stuck = |_| Verdict::Stuck(format!("the check was not done after {} s", wait.as_secs()));
    tokio::time::timeout(wait, verdict).await.unwrap_or_else(stuck)
}
