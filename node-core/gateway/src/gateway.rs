//! The gateway as a whole: configuration in, a router out.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use theta_types::Wei;

use crate::{
    Admission, AiBackend, Clock, KeyStore, Keys, QueueLimits, Spending, SpendingStore, StoreError,
    VideoBackend, VideoStore, openai,
    video::{self, VideoShop},
};

/// How a gateway behaves.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Scheme, host and port that clients reach it at, without a slash at the end: upload addresses begin with it.
    pub public_base: String,
    /// The folder that uploads are written to.
    pub uploads: PathBuf,
    /// The largest file that is taken, in bytes.
    pub largest_upload: u64,
    /// The most that all uploads together may take on disk, in bytes.
    pub uploads_capacity: u64,
    /// How long an upload address is good for.
    pub upload_lifetime: Duration,
    /// An upload from which no bytes come for so long ends.
    pub upload_idle: Duration,
    /// Upload addresses of one key that may wait for their bytes; one more is refused.
    pub uploads_waiting: usize,
    /// How many AI calls run and wait at once.
    pub ai_queue: QueueLimits,
    /// Videos that are worked on at once.
    pub videos_at_once: usize,
    /// Videos that wait; one more is refused.
    pub videos_waiting: usize,
    /// When a video that could not be made for a reason that passes is taken up again.
    pub videos_again: Duration,
    /// The most that all keys together may spend in one UTC day, in TFuelWei; absent means no such limit.
    pub daily_limit: Option<Wei>,
}

impl GatewayConfig {
    /// The usual limits, for a gateway that is reached at `public_base` and writes uploads to `uploads`.
    pub fn new(public_base: impl Into<String>, uploads: impl Into<PathBuf>) -> Self {
        Self {
            public_base: public_base.into(),
            uploads: uploads.into(),
            largest_upload: 8 << 30,
            uploads_capacity: 32 << 30,
            upload_lifetime: Duration::from_secs(15 * 60),
            upload_idle: Duration::from_secs(60),
            uploads_waiting: 32,
            ai_queue: QueueLimits::default(),
            videos_at_once: 2,
            videos_waiting: 32,
            videos_again: Duration::from_secs(5),
            daily_limit: None,
        }
    }
}

/// What a gateway keeps, and where.
#[derive(Clone)]
pub struct GatewayStores {
    /// API keys.
    pub keys: Arc<dyn KeyStore>,
    /// Spending.
    pub spending: Arc<dyn SpendingStore>,
    /// Uploads and videos.
    pub videos: Arc<dyn VideoStore>,
}

impl std::fmt::Debug for GatewayStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GatewayStores")
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The folder of uploads cannot be used: choose another, or free the disk.
    #[error("the folder for uploads, {folder}, cannot be used: {cause}")]
    Uploads {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    parts: Arc<Parts>,
}

/// What the handlers share.
pub(crate) struct Parts {
    pub keys: Keys,
    pub spending: Arc<Spending>,
    pub admission: Admission,
    pub ai: Arc<dyn AiBackend>,
    pub shop: VideoShop,
    pub clock: Clock,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("admission", &self.admission).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts the tasks behind the APIs, and takes up the videos that were not finished last time.
    ///
    /// # Errors
    /// A store failed, or the folder of uploads cannot be used.
    pub async fn start(
        config: GatewayConfig,
        stores: GatewayStores,
        ai: Arc<dyn AiBackend>,
        video: Arc<dyn VideoBackend>,
        clock: Clock,
    ) -> Result<Self, GatewayError> {
        let keys = Keys::new(stores.keys, clock.clone());
        let spending =
            Arc::new(Spending::start(stores.spending, clock.clone(), config.daily_limit.clone()).await?);
        let admission = Admission::new(config.ai_queue);
        let shop =
            VideoShop::open(&config, stores.videos, video, keys.clone(), spending.clone(), clock.clone())
                .await?;
        Ok(Self { parts: Arc::new(Parts { keys, spending, admission, ai, shop, clock }) })
    }

    /// Both APIs. The caller binds it to a loopback address.
    pub fn router(&self) -> Router {
        openai::routes().merge(video::routes()).fallback(video::no_such_page).with_state(self.parts.clone())
    }

    /// Makes, lists and revokes API keys.
    pub fn keys(&self) -> &Keys {
        &self.parts.keys
    }

    /// What keys have spent.
    pub fn spending(&self) -> &Spending {
        &self.parts.spending
    }

    /// AI calls that run and wait now.
    pub fn admission(&self) -> &Admission {
        &self.parts.admission
    }

    /// Stops the work on videos; those that are not finished go on at the next start. Calls that still run end with
    /// the server that the router was given to.
    pub async fn close(&self) {
        self.parts.shop.close().await;
    }

    /// Waits until what every call and video did cost is booked; to be called when the server that the router was given to
    /// has ended. A call that hangs on is not waited for: what was reserved for it counts in full.
    pub async fn finish(self) {
        let spending = Arc::into_inner(self.parts).and_then(|parts| {
            let Parts { shop, spending, .. } = parts;
            drop(shop);
            Arc::into_inner(spending)
        });
        match spending {
            Some(spending) => spending.close().await,
            None => tracing::warn!("some calls did not end; what was reserved for them counts in full"),
        }
    }
}
