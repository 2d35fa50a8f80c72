//! A transcode: two seconds at a time, over all renditions.

use std::collections::{BTreeMap, VecDeque};

use edge_jobs::{
    ContentHash, Event, JobError, JobErrorCode, JobId, Ladder, MediaInfo, SegmentInfo, TRANSCODE_UNIT_MS,
    Task, TranscodeOrder, TranscodeTask,
};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
};

use super::{
    Ended, Provider,
    collect::Collector,
    read_ahead::read_ahead,
    serve::Tally,
    work_folder::{JobFolder, path_below},
};
use crate::session::{LadderCount, Reply};

/// How far the source may be longer than ordered, in milliseconds: containers round.
const DURATION_TOLERANCE_MS: u64 = 1_000;
/// How long the next bytes of a source may take.
const SOURCE_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) async fn serve_transcode<S>(
    provider: &Provider,
    collector: &mut Collector<S>,
    job: JobId,
    order: TranscodeOrder,
    folder: &JobFolder,
    tally: &mut Tally,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let settings = &provider.shared.settings;
    if let Some(from) = order.from.as_ref().filter(|from| from.encoder != settings.encoder) {
        let message = format!("this provider cannot go on with a ladder that {:?} began", from.encoder);
        return Err(JobError::new(JobErrorCode::Unsupported, message).into());
    }
    collector.say(&Reply::NeedSource).await?;
    receive_source(collector, &order, folder).await?;
    let media = inspect(provider, collector, job, folder).await?;
    if media.duration_ms > order.source_duration_ms + DURATION_TOLERANCE_MS {
        let message = format!(
            "the source lasts {} ms, and {} were ordered",
            media.duration_ms, order.source_duration_ms
        );
        return Err(JobError::new(JobErrorCode::BadInput, message).into());
    }

    let task = Task::Transcode(TranscodeTask {
        source: folder.source(),
        output: folder.output(),
        ladder: order.ladder.clone(),
        thumbnails: order.thumbnails.clone(),
        encoder: settings.encoder,
        threads: settings.encoder_threads,
        from_segment: order.from.as_ref().map_or(0, |from| from.segment),
        from_thumbnail: order.from.as_ref().map_or(0, |from| from.thumbnail),
    });
    let mut task = read_ahead(provider.shared.worker.start(job, task).await?);
    let renditions = expected_renditions(&order.ladder, &media);
    let mut sender = LadderSender::new(&order, folder, renditions);
    sender.announce(collector).await?;
    while let Some(event) = collector.next_event(&mut task).await? {
        match event {
            Event::Segment { rendition, segment, .. } => {
                sender.queue(rendition, segment);
                sender.send_ready(collector, job, tally).await?;
                tally.keep(collector.delivered).await;
            }
            Event::Thumbnail { ref thumbnail, .. } => {
                let (name, bytes) = (thumbnail.file.clone(), thumbnail.bytes);
                tally.bytes += bytes;
                send_file(collector, folder, &Reply::Event { event }, &name, bytes).await?;
            }
            Event::Progress { .. } => {
                collector.say(&Reply::Event { event }).await?;
                // A payment may have come since the last segment.
                sender.send_ready(collector, job, tally).await?;
            }
            Event::Transcoded { ref renditions, .. } => {
                let names: Vec<String> = renditions.iter().map(|rendition| rendition.name.clone()).collect();
                sender.all_made(collector, names).await?;
                while !sender.is_empty() {
                    collector.wait_paid(collector.delivered).await?;
                    sender.send_ready(collector, job, tally).await?;
                }
                sender.count.finish();
                let rest = sender.count.units().saturating_sub(collector.delivered);
                if rest > 0 {
                    collector.wait_paid(collector.delivered).await?;
                    collector.deliver(rest).await?;
                }
                collector.say(&Reply::Event { event }).await?;
                collector.ask().await?;
                return collector.wait_paid(collector.delivered).await;
            }
            Event::Failed { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    Err(JobError::new(JobErrorCode::Internal, "the worker died").into())
}

/// Takes the source's bytes, no more than ordered, and checks them against their hash.
async fn receive_source<S>(
    collector: &mut Collector<S>,
    order: &TranscodeOrder,
    folder: &JobFolder,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut file = File::create(folder.source()).await.map_err(disk)?;
    let mut hasher = blake3::Hasher::new();
    let mut left = order.source_bytes;
    while left > 0 {
        let chunk = collector.next_chunk(SOURCE_WAIT).await?;
        let Some(rest) = left.checked_sub(chunk.len() as u64).filter(|_| !chunk.is_empty()) else {
            return Err(Ended::Nonsense("a source that is longer than ordered".into()));
        };
        left = rest;
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)?;
    if ContentHash(*hasher.finalize().as_bytes()) != order.source {
        return Err(Ended::Nonsense("a source whose bytes are not those of its hash".into()));
    }
    Ok(())
}

async fn inspect<S>(
    provider: &Provider,
    collector: &mut Collector<S>,
    job: JobId,
    folder: &JobFolder,
) -> Result<MediaInfo, Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut task = provider.shared.worker.start(job, Task::Inspect { file: folder.source() }).await?;
    while let Some(event) = collector.next_event(&mut task).await? {
        match event {
            Event::Inspected { media, .. } => return Ok(media),
            Event::Failed { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    Err(JobError::new(JobErrorCode::Internal, "the worker died").into())
}

/// The names of the renditions that a ladder has for a source: one for each short side that is not above the source's,
/// and for the source's own size; sides are even.
fn expected_renditions(ladder: &Ladder, media: &MediaInfo) -> Vec<String> {
    let short = media.width.min(media.height);
    let mut sides: Vec<u32> = ladder.short_sides.iter().copied().filter(|side| *side <= short).collect();
    if ladder.source_size {
        sides.push(short);
    }
    for side in &mut sides {
        *side &= !1;
    }
    sides.sort_unstable();
    sides.dedup();
    sides.into_iter().map(|side| format!("{side}p")).collect()
}

/// Sends segments in the order in which they may go: none of a unit before the unit below it is paid.
struct LadderSender<'a> {
    folder: &'a JobFolder,
    /// Milliseconds of source that were ordered.
    wanted_ms: u64,
    count: LadderCount,
    waiting: BTreeMap<String, VecDeque<SegmentInfo>>,
    renditions: Vec<String>,
    asked: u64,
}

impl<'a> LadderSender<'a> {
    fn new(order: &TranscodeOrder, folder: &'a JobFolder, renditions: Vec<String>) -> Self {
        let wanted_ms = order.wanted_ms();
        let count = LadderCount::new(wanted_ms, renditions.iter().cloned());
        Self { folder, wanted_ms, count, waiting: BTreeMap::new(), renditions, asked: 0 }
    }

    async fn announce<S>(&self, collector: &mut Collector<S>) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        collector.say(&Reply::Ladder { renditions: self.renditions.clone() }).await
    }

    fn queue(&mut self, rendition: String, segment: SegmentInfo) {
        self.waiting.entry(rendition).or_default().push_back(segment);
    }

    fn is_empty(&self) -> bool {
        self.waiting.values().all(VecDeque::is_empty)
    }

    /// The worker has made everything, so that its renditions are known for certain. They are as expected, unless it
    /// lays ladders out in another way; as long as nothing is counted, that can be put right.
    async fn all_made<S>(&mut self, collector: &mut Collector<S>, names: Vec<String>) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let same =
            names.len() == self.renditions.len() && names.iter().all(|name| self.renditions.contains(name));
        if same {
            return Ok(());
        }
        if self.count.units() > 0 {
            let error = JobError::new(JobErrorCode::Internal, "the worker made another ladder than it began");
            return Err(error.into());
        }
        let mut count = LadderCount::new(self.wanted_ms, names.iter().cloned());
        for name in &names {
            count.add(name, self.count.start_of_next(name).unwrap_or(0));
        }
        (self.count, self.renditions) = (count, names);
        self.announce(collector).await
    }

    /// Sends what may go now, and asks for payment when a unit is complete.
    async fn send_ready<S>(
        &mut self,
        collector: &mut Collector<S>,
        job: JobId,
        tally: &mut Tally,
    ) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        while let Some((rendition, segment)) = self.next_ready(collector.paid) {
            self.refuse_more_than_ordered(&rendition)?;
            self.count.add(&rendition, segment.duration_ms);
            // What completes a unit goes out when the unit is in the books, and never while one before it is unpaid: then
            // it is the slowest rendition's segment, which had to wait for that payment.
            let units = self.count.units();
            collector.deliver(units.saturating_sub(collector.delivered)).await?;
            let (name, bytes) = (segment.file.clone(), segment.bytes);
            tally.bytes += bytes;
            let reply = Reply::Event { event: Event::Segment { job, rendition, segment } };
            send_file(collector, self.folder, &reply, &name, bytes).await?;
            if units > self.asked {
                self.asked = units;
                collector.ask().await?;
            }
        }
        Ok(())
    }

    /// The tail of a ladder might be longer than the requester says, and so be paid too little.
    fn refuse_more_than_ordered(&self, rendition: &str) -> Result<(), Ended> {
        let start_ms = self.count.start_of_next(rendition).unwrap_or(0);
        if start_ms > self.wanted_ms + DURATION_TOLERANCE_MS + TRANSCODE_UNIT_MS {
            let detail = format!("an order of {} ms of a source that has more left", self.wanted_ms);
            return Err(Ended::Nonsense(detail));
        }
        Ok(())
    }

    fn next_ready(&mut self, paid: u64) -> Option<(String, SegmentInfo)> {
        let count = &self.count;
        let (rendition, queue) = self
            .waiting
            .iter_mut()
            .filter(|(rendition, queue)| {
                let start = count.start_of_next(rendition);
                !queue.is_empty() && start.is_some_and(|start| count.units_before(start) <= paid)
            })
            .min_by_key(|(rendition, _)| count.start_of_next(rendition))?;
        let segment = queue.pop_front()?;
        Some((rendition.clone(), segment))
    }
}

async fn send_file<S>(
    collector: &mut Collector<S>,
    folder: &JobFolder,
    reply: &Reply,
    name: &str,
    bytes: u64,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let path = path_below(&folder.output(), name)
        .ok_or_else(|| JobError::new(JobErrorCode::Internal, format!("the worker named a file {name:?}")))?;
    let file = File::open(&path).await.map_err(disk)?;
    collector.send_file(reply, file, bytes).await
}

fn disk(error: std::io::Error) -> Ended {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => JobErrorCode::DiskFull,
        _ => JobErrorCode::Internal,
    };
    JobError::new(code, format!("the provider's disk: {error}")).into()
}
