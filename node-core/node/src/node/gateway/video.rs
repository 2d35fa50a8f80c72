//! Videos: made by a provider, checked here, signed, and spread.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edge_gateway::{
    BackendError, Bill, Cost, Playback, SourceFile, VideoBackend, VideoEvent, VideoId, VideoPhase,
    VideoRequest, VideoStream,
};
use edge_jobs::{ContentHash, Event, Ladder, MediaInfo, Order, Task, ThumbnailOrder, TranscodeOrder};
use edge_market::requester::{RequestError, TranscodeEvent, TranscodeJob, TranscodeResult};
use edge_streams::{Manifest, SegmentStore, SignedManifest};
use futures::{StreamExt, stream};
use theta_types::Wei;
use theta_wallet::Wallet;
use tokio::sync::mpsc;

use super::{BilledPurse, MarketAccess, backend_error, worker_error};
use crate::{
    clock::unix_seconds,
    data_folder::create_private_folder,
    node::{
        edge::{Edge, EdgeParts},
        work::{OwnDoor, own_door, work_folder},
    },
};

/// How long the media worker is waited for before a video is put off.
const WORKER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a provider for a video is waited for.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A transcode that fails begins anew elsewhere, so it may cost this many times its units.
const TRIES: u64 = 2;
/// Thumbnails of a video at most.
const THUMBNAILS: u64 = 60;
const THUMBNAIL_EVERY_MS: u64 = 2_000;
const THUMBNAIL_SHORT_SIDE: u32 = 180;
/// How much of the whole the transcode is, in thousandths; the rest is checking and publishing.
const TRANSCODE_SHARE: u32 = 900;
/// Events of a video that may wait for the gateway.
const EVENTS: usize = 64;

/// The market as the gateway's video API sees it.
pub(super) struct MarketVideo {
    access: MarketAccess,
    workers: Arc<OwnDoor>,
    segments: SegmentStore,
    wallet: Wallet,
    /// What is kept of unfinished videos, a folder each.
    folder: PathBuf,
    player: Option<String>,
}

impl MarketVideo {
    pub fn new(parts: &EdgeParts, access: MarketAccess, player: Option<String>) -> Self {
        Self {
            access,
            workers: own_door(&parts.crew),
            segments: parts.segments.clone(),
            wallet: parts.wallet.clone(),
            folder: work_folder(&parts.work, "videos"),
            player,
        }
    }

    /// An id is letters and digits alone, so the folder cannot be elsewhere.
    fn folder_of(&self, video: &VideoId) -> PathBuf {
        self.folder.join(video.as_str())
    }
}

#[async_trait]
impl VideoBackend for MarketVideo {
    async fn inspect(&self, source: &SourceFile) -> Result<MediaInfo, BackendError> {
        self.workers.media_ready(WORKER_PATIENCE).await.map_err(BackendError::Later)?;
        let task = Task::Inspect { file: source.path.clone() };
        match self.workers.run(task).await.map_err(worker_error)? {
            Event::Inspected { media, .. } if media.duration_ms > 0 => Ok(media),
            Event::Inspected { .. } => {
                Err(BackendError::BadOrder("the file holds no video that lasts".into()))
            }
            other => Err(BackendError::Failed(format!("the media worker answered {other:?}"))),
        }
    }

    async fn cost(&self, media: &MediaInfo) -> Result<Cost, BackendError> {
        let order = Order::Transcode(order_of(ContentHash([0; 32]), 1, media, &[]));
        let deadline = tokio::time::Instant::now() + PROVIDER_PATIENCE;
        loop {
            let quote = self.access.edge_for_video().and_then(|edge| {
                edge.requester.quote(&order).map_err(|error| backend_error(error, &Wei::zero()))
            });
            match quote {
                Ok(quote) => {
                    let units = quote.units.unwrap_or(1);
                    let highest = quote.highest(units.saturating_mul(TRIES));
                    return Ok(Cost { least: quote.highest(units), highest });
                }
                // Providers may come while a video waits.
                Err(BackendError::NoProvider(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn publish(&self, request: VideoRequest, bill: Bill) -> Result<VideoStream, BackendError> {
        let making = Making {
            edge: self.access.edge_for_video()?,
            segments: self.segments.clone(),
            wallet: self.wallet.clone(),
            folder: self.folder_of(&request.id),
            request,
        };
        let (events, receiver) = mpsc::channel(EVENTS);
        // Dropping the stream aborts the task, which drops the transcode, which stops it at the provider.
        let task = AbortOnDrop(tokio::spawn(async move {
            let last = making.run(bill, &events).await;
            // The gateway may have gone away meanwhile.
            let _ = events
                .send(last.map(|stream| VideoEvent::Published { stream: stream.id().to_string() }))
                .await;
        }));
        let received = stream::unfold((receiver, task), |(mut receiver, task)| async move {
            receiver.recv().await.map(|event| (event, (receiver, task)))
        });
        Ok(received.boxed())
    }

    async fn discard(&self, video: &VideoId) {
        remove_folder(&self.folder_of(video)).await;
    }

    async fn keep_only(&self, unfinished: &[VideoId]) {
        let Ok(mut kept) = tokio::fs::read_dir(&self.folder).await else { return };
        while let Ok(Some(folder)) = kept.next_entry().await {
            if unfinished.iter().all(|video| folder.file_name() != *video.as_str()) {
                remove_folder(&folder.path()).await;
            }
        }
    }

    fn playback(&self, stream: &str) -> Option<Playback> {
        let player = self.player.as_ref()?;
        Some(Playback {
            playback_uri: format!("{player}/hls/{stream}/master.m3u8"),
            player_uri: format!("{player}/watch/{stream}"),
        })
    }
}

impl MarketAccess {
    /// The market for a video, which waits until the wallet is unlocked.
    fn edge_for_video(&self) -> Result<Edge, BackendError> {
        self.edge().map_err(|error| match error {
            BackendError::CannotPay(reason) => BackendError::Later(reason),
            other => other,
        })
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One video on its way to a stream.
struct Making {
    edge: Edge,
    segments: SegmentStore,
    wallet: Wallet,
    request: VideoRequest,
    /// Its files while it is made.
    folder: PathBuf,
}

type Events = mpsc::Sender<Result<VideoEvent, BackendError>>;

impl Making {
    async fn run(self, bill: Bill, events: &Events) -> Result<SignedManifest, BackendError> {
        say(events, VideoEvent::Phase(VideoPhase::Dispatching)).await;
        create_private_folder(&self.folder).map_err(disk_error)?;
        let ladder = self.transcode(bill, events).await?;
        say(events, VideoEvent::Phase(VideoPhase::Publishing)).await;
        let stream = self.sign(&ladder).await?;
        // Pinned first, so that the segments of a long video do not push each other out.
        self.segments.pin(&stream);
        let files =
            ladder.renditions.iter().flat_map(|rendition| &rendition.segments).map(|s| (s.hash, &s.file));
        let pictures = ladder.thumbnails.iter().map(|picture| (picture.hash, &picture.file));
        for (hash, file) in files.chain(pictures) {
            let kept = self.segments.adopt(hash, &ladder.folder.join(file)).await;
            if let Err(error) = kept {
                // What was kept counts as other people's again, and goes when there is need.
                let _ = self.segments.unpin(stream.id());
                return Err(BackendError::Failed(format!("the stream could not be stored: {error}")));
            }
        }
        let published = self.edge.sharing.publish(stream.clone()).await;
        published
            .map_err(|error| BackendError::Failed(format!("the stream could not be recorded: {error}")))?;
        Ok(stream)
    }

    async fn transcode(&self, bill: Bill, events: &Events) -> Result<TranscodeResult, BackendError> {
        let limit = bill.limit().clone();
        let source = &self.request.source;
        let job = TranscodeJob {
            order: order_of(source.hash, source.bytes, &self.request.media, &self.request.resolutions),
            source: source.path.clone(),
            output: self.folder.clone(),
        };
        let mut run = self.edge.requester.transcode(job, Arc::new(BilledPurse(bill)));
        while let Some(event) = run.next().await {
            match event.map_err(|error| self.video_error(error, &limit))? {
                TranscodeEvent::Provider { .. } => {
                    say(events, VideoEvent::Phase(VideoPhase::Transcoding)).await
                }
                TranscodeEvent::Progress(permille) => {
                    let share = u32::from(permille.min(1_000)) * TRANSCODE_SHARE / 1_000;
                    say(events, VideoEvent::Progress(u16::try_from(share).unwrap_or(u16::MAX))).await;
                }
                TranscodeEvent::Checking => say(events, VideoEvent::Phase(VideoPhase::Checking)).await,
                TranscodeEvent::Done(result) => return Ok(*result),
            }
        }
        Err(BackendError::Failed("the transcode broke off before its end".into()))
    }

    /// A failure of the market as it is for a video, which waits for what passes.
    fn video_error(&self, error: RequestError, limit: &Wei) -> BackendError {
        match backend_error(error.clone(), limit) {
            BackendError::CannotPay(reason) if self.wallet.is_locked() => BackendError::Later(reason),
            _ if error == RequestError::Busy => BackendError::Later(error.to_string()),
            other => other,
        }
    }

    /// Signs the manifest; the ladder is paid, so that a wallet which is locked now is waited for.
    async fn sign(&self, ladder: &TranscodeResult) -> Result<SignedManifest, BackendError> {
        let manifest = Manifest {
            creator: self.wallet.address(),
            nonce: rand::random(),
            revision: 0,
            created: unix_seconds(),
            title: self.request.title.clone().unwrap_or_default().chars().take(300).collect(),
            duration_ms: self.request.media.duration_ms,
            renditions: ladder.renditions.clone(),
            thumbnails: ladder.thumbnails.clone(),
        };
        let mut locked = self.wallet.lock_changes();
        loop {
            let signed = self.wallet.with_key(|key| manifest.clone().sign(key));
            if let Ok(signed) = signed {
                return signed.map_err(|error| BackendError::Failed(error.to_string()));
            }
            tracing::info!(video = %self.request.id, "a video waits for the wallet to sign it");
            if locked.wait_for(|locked| !locked).await.is_err() {
                return Err(BackendError::Later("this node is ending".into()));
            }
        }
    }
}

async fn remove_folder(folder: &Path) {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, folder = %folder.display(), "what was kept of a video could not be removed");
        }
        _ => {}
    }
}

async fn say(events: &Events, event: VideoEvent) {
    // When nobody listens this task is about to be aborted.
    let _ = events.send(Ok(event)).await;
}

fn disk_error(error: std::io::Error) -> BackendError {
    BackendError::Failed(format!("this gateway has no room to work: {error}"))
}

/// The order for a video. Heights above the source's are left out; when none is left, the source's own size is made.
fn order_of(source: ContentHash, bytes: u64, media: &MediaInfo, resolutions: &[u32]) -> TranscodeOrder {
    let short_side = media.width.min(media.height);
    let ladder = match resolutions {
        [] => Ladder::default(),
        wanted => {
            let short_sides: Vec<u32> =
                wanted.iter().copied().filter(|height| *height <= short_side).collect();
            Ladder { source_size: short_sides.is_empty(), short_sides }
        }
    };
    let every_ms = (media.duration_ms / THUMBNAILS).max(THUMBNAIL_EVERY_MS);
    TranscodeOrder {
        source,
        source_bytes: bytes,
        source_duration_ms: media.duration_ms,
        ladder,
        thumbnails: Some(ThumbnailOrder { every_ms, short_side: THUMBNAIL_SHORT_SIDE }),
        from: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(width: u32, height: u32) -> MediaInfo {
        let video_codec = "H.264".to_owned();
        MediaInfo { duration_ms: 5_300, width, height, frame_rate: (25, 1), audio: true, video_codec }
    }

    #[test]
    fn heights_above_the_source_are_left_out_and_never_all_of_them() {
        let ladder = |wanted: &[u32], width, height| {
            order_of(ContentHash([0; 32]), 1, &media(width, height), wanted).ladder
        };
        assert_eq!(ladder(&[], 1280, 720), Ladder::default());
        assert_eq!(ladder(&[360, 1080], 1280, 720), Ladder { short_sides: vec![360], source_size: false });
        assert_eq!(ladder(&[1080], 1280, 720), Ladder { short_sides: vec![], source_size: true });
        assert_eq!(
            ladder(&[720], 720, 1280),
            Ladder { short_sides: vec![720], source_size: false },
            "portrait"
        );
    }

    #[test]
    fn a_long_video_has_no_more_thumbnails_than_a_page_can_show() {
        let long = MediaInfo { duration_ms: 7_200_000, ..media(640, 360) };
        let order = order_of(ContentHash([0; 32]), 1, &long, &[]);
        assert_eq!(order.thumbnails.map(|wanted| long.duration_ms / wanted.every_ms), Some(THUMBNAILS));
    }
}
