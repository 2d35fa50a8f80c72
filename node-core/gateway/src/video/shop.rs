//! Where videos are made: a bounded queue of them, worked on a few at a time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edge_jobs::ContentHash;
use futures::StreamExt;
use theta_types::Wei;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    record::{UploadRecord, UploadState, VideoRecord, VideoState, VideoStore},
    room::UploadRoom,
};
use crate::{
    BackendError, Bill, Clock, GatewayConfig, GatewayError, Keys, SourceFile, Spending, SpendingError,
    StoreError, UploadId, VideoBackend, VideoEvent, VideoId, VideoRequest,
};

/// How often uploads that nobody needs are looked for.
const CLEANING_EVERY: Duration = Duration::from_secs(600);
/// A complete upload that no unfinished video needs is kept this long after it came.
const KEPT_MS: i64 = 24 * 3600 * 1000;

/// Uploads and videos: their store, their folder, and the tasks that work on them.
#[derive(Clone)]
pub(crate) struct VideoShop {
    pub store: Arc<dyn VideoStore>,
    pub backend: Arc<dyn VideoBackend>,
    pub uploads: UploadRules,
    pub room: UploadRoom,
    /// Tasks that outlive their request.
    pub tasks: TaskTracker,
    queue: mpsc::Sender<VideoId>,
    stop: CancellationToken,
}

/// What uploads are held to.
#[derive(Clone, Debug)]
pub(crate) struct UploadRules {
    pub public_base: String,
    pub folder: PathBuf,
    pub largest: u64,
    pub lifetime: Duration,
    pub idle: Duration,
    pub most_waiting: usize,
}

impl UploadRules {
    /// The file of an upload. An id is letters and digits alone, so the file cannot be outside of the folder.
    pub fn file(&self, id: &UploadId) -> PathBuf {
        self.folder.join(id.as_str())
    }
}

impl VideoShop {
    /// Cleans up after the last run, and goes on with its unfinished videos.
    pub async fn open(
        config: &GatewayConfig,
        store: Arc<dyn VideoStore>,
        backend: Arc<dyn VideoBackend>,
        keys: Keys,
        spending: Arc<Spending>,
        clock: Clock,
    ) -> Result<Self, GatewayError> {
        let uploads = UploadRules {
            public_base: config.public_base.trim_end_matches('/').to_owned(),
            folder: config.uploads.clone(),
            largest: config.largest_upload,
            lifetime: config.upload_lifetime,
            idle: config.upload_idle,
            most_waiting: config.uploads_waiting,
        };
        tokio::fs::create_dir_all(&uploads.folder)
            .await
            .map_err(|cause| GatewayError::Uploads { folder: uploads.folder.clone(), cause })?;
        let mut taken = 0u64;
        for upload in store.uploads().await? {
            taken = taken.saturating_add(upload.bytes.unwrap_or(0));
            if upload.state == UploadState::Receiving {
                remove_file(&uploads.file(&upload.id)).await;
                let waiting = UploadRecord { state: UploadState::Waiting, ..upload };
                store.change_upload(UploadState::Receiving, waiting).await?;
            }
        }
        let unfinished: Vec<VideoId> =
            store.unfinished_videos().await?.into_iter().map(|video| video.id).collect();
        backend.keep_only(&unfinished).await;

        let (queue, orders) = mpsc::channel(config.videos_waiting.max(1));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let room = UploadRoom::new(config.uploads_capacity, taken);
        let shop = Self { store, backend, uploads, room, tasks, queue, stop };
        let bench = Bench { shop: shop.clone(), keys, spending, clock, again: config.videos_again };
        let at_once = config.videos_at_once.max(1);
        shop.tasks.spawn(bench.clone().work(orders, at_once));
        shop.tasks.spawn(bench.clean());
        let (queue, stop) = (shop.queue.clone(), shop.stop.clone());
        shop.tasks.spawn(async move {
            for video in unfinished {
                tokio::select! {
                    () = stop.cancelled() => return,
                    sent = queue.send(video) => if sent.is_err() { return },
                }
            }
        });
        Ok(shop)
    }

    /// A place in the queue for one more video; `None` when it is full.
    pub fn reserve_place(&self) -> Option<mpsc::OwnedPermit<VideoId>> {
        self.queue.clone().try_reserve_owned().ok()
    }

    /// Stops the work; unfinished videos stay as they are, for the next run.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What the tasks need.
#[derive(Clone)]
struct Bench {
    shop: VideoShop,
    keys: Keys,
    spending: Arc<Spending>,
    clock: Clock,
    /// How long a video waits for what passes.
    again: Duration,
}

/// Why a video was not made: the text that its record shows, something that passes, or a store that does not work.
enum Unmade {
    Because(String),
    Later(String),
    Store(StoreError),
}

impl From<StoreError> for Unmade {
    fn from(error: StoreError) -> Self {
        Unmade::Store(error)
    }
}

impl From<BackendError> for Unmade {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Later(reason) => Unmade::Later(reason),
            other => Unmade::Because(other.to_string()),
        }
    }
}

impl From<SpendingError> for Unmade {
    fn from(error: SpendingError) -> Self {
        match error {
            SpendingError::Refused(refused) => Unmade::Because(refused.to_string()),
            SpendingError::Store(error) => Unmade::Store(error),
        }
    }
}

impl Bench {
    async fn work(self, mut orders: mpsc::Receiver<VideoId>, at_once: usize) {
        let places = Arc::new(Semaphore::new(at_once));
        let stop = self.shop.stop.clone();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await.ok()?;
                Some((place, orders.recv().await?))
            };
            let Some(Some((place, id))) = stop.run_until_cancelled(next).await else { return };
            let bench = self.clone();
            self.shop.tasks.spawn(async move {
                let stop = bench.shop.stop.clone();
                if let Some(Err(error)) = stop.run_until_cancelled(bench.make(&id)).await {
                    tracing::error!(%error, video = %id, "a video is left for the next start");
                }
                drop(place);
            });
        }
    }

    /// Makes one video, and writes down how it ended.
    async fn make(&self, id: &VideoId) -> Result<(), StoreError> {
        let Some(mut video) = self.shop.store.video(id).await?.filter(|video| !video.state.is_final()) else {
            return Ok(());
        };
        let mut waits_for = None;
        let state = loop {
            match self.make_stream(&mut video).await {
                Ok(()) => break VideoState::Success,
                Err(Unmade::Store(error)) => return Err(error),
                Err(Unmade::Because(text)) => {
                    tracing::info!(video = %id, reason = text, "a video failed");
                    video.error = Some(text);
                    break VideoState::Error;
                }
                // It keeps its place: what it waits for, others would wait for too.
                Err(Unmade::Later(reason)) => {
                    if waits_for.as_ref() != Some(&reason) {
                        tracing::info!(video = %id, reason, "a video waits");
                        waits_for = Some(reason);
                    }
                    tokio::time::sleep(self.again).await;
                }
            }
        };
        self.change(&mut video, state).await?;
        self.shop.backend.discard(id).await;
        Ok(())
    }

    async fn make_stream(&self, video: &mut VideoRecord) -> Result<(), Unmade> {
        let source = self.source(&video.upload).await?;
        self.change(video, VideoState::Processing(None)).await?;
        let media = self.shop.backend.inspect(&source).await?;
        video.duration_ms = Some(media.duration_ms);
        video.short_side = Some(media.width.min(media.height));

        let key = self.keys.list().await?.into_iter().find(|key| key.id == video.key);
        let key = key.filter(|key| key.revoked_ms.is_none());
        let key = key.ok_or_else(|| Unmade::Because("the API key of this video was revoked".into()))?;
        let bill = self.spending.open(&key, &self.shop.backend.cost(&media).await?).await?;
        let request = VideoRequest {
            id: video.id.clone(),
            title: video.file_name.clone(),
            source,
            media,
            resolutions: video.resolutions.clone(),
        };
        let before = video.cost.clone();
        let made = self.follow(video, request, &bill, &before).await;
        video.cost = before + &bill.charged();
        made
    }

    /// Follows the backend's events until the stream is published.
    async fn follow(
        &self,
        video: &mut VideoRecord,
        request: VideoRequest,
        bill: &Bill,
        before: &Wei,
    ) -> Result<(), Unmade> {
        let mut events = self.shop.backend.publish(request, bill.clone()).await?;
        while let Some(event) = events.next().await {
            match event? {
                VideoEvent::Phase(phase) => {
                    video.cost = before + &bill.charged();
                    self.change(video, VideoState::Processing(Some(phase))).await?;
                }
                VideoEvent::Progress(permille) => {
                    let percent = u8::try_from(permille / 10).unwrap_or(100).min(100);
                    if percent > video.progress {
                        video.progress = percent;
                        video.cost = before + &bill.charged();
                        let state = video.state;
                        self.change(video, state).await?;
                    }
                }
                VideoEvent::Published { stream } => {
                    video.stream = Some(stream);
                    video.progress = 100;
                    return Ok(());
                }
            }
        }
        Err(Unmade::Because("the work broke off before its end; order the video again".into()))
    }

    async fn source(&self, id: &UploadId) -> Result<SourceFile, Unmade> {
        let gone = || Unmade::Because("the uploaded file is gone; upload it again".into());
        let upload = self.shop.store.upload(id).await?.ok_or_else(gone)?;
        let (Some(bytes), Some(hash)) = (upload.bytes, upload.hash) else { return Err(gone()) };
        let path = self.shop.uploads.file(id);
        match tokio::fs::metadata(&path).await {
            Ok(found) if found.len() == bytes => Ok(SourceFile { path, hash: ContentHash(hash.0), bytes }),
            _ => Err(gone()),
        }
    }

    async fn change(&self, video: &mut VideoRecord, state: VideoState) -> Result<(), StoreError> {
        video.state = state;
        video.updated_ms = self.clock.now_ms();
        self.shop.store.change_video(video.clone()).await
    }

    /// Removes uploads that were never used, or are not needed any more.
    async fn clean(self) {
        let mut every = tokio::time::interval(CLEANING_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.shop.stop.run_until_cancelled(every.tick()).await.is_some() {
            if let Err(error) = self.clean_once().await {
                tracing::warn!(%error, "old uploads could not be removed");
            }
        }
    }

    async fn clean_once(&self) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let needed = self.shop.store.unfinished_videos().await?;
        for upload in self.shop.store.uploads().await? {
            let over = match upload.state {
                UploadState::Waiting => now_ms >= upload.expires_ms,
                UploadState::Receiving => false,
                UploadState::Received => now_ms >= upload.updated_ms.saturating_add(KEPT_MS),
            };
            if !over || needed.iter().any(|video| video.upload == upload.id) {
                continue;
            }
            if remove_file(&self.shop.uploads.file(&upload.id)).await {
                self.shop.store.remove_upload(&upload.id).await?;
                self.shop.room.give_back(upload.bytes.unwrap_or(0));
            }
        }
        Ok(())
    }
}

/// Removes an upload's file; whether it is gone.
async fn remove_file(path: &Path) -> bool {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %path.display(), "an upload could not be removed");
            false
        }
        _ => true,
    }
}
