//! The gateway's backends on this node's requester.

mod ai;
mod video;

use std::{path::Path, sync::Arc};

use anyhow::Context;
use edge_gateway::{
    Admission, BackendError, Bill, Clock, Gateway, GatewayConfig, GatewayStores, KeyId, Keys, OverLimit,
    QueueLimits, SpendingStore, Spent, StoreError,
};
use edge_jobs::{JobError, JobErrorCode};
use edge_market::requester::{Purse, PurseEmpty, RequestError};
use theta_types::Wei;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::edge::{Edge, EdgeParts, EdgeState};
use crate::database::Database;

/// Videos that are made at one time.
pub(super) const VIDEOS_AT_ONCE: usize = 2;

/// The gateway as the rest of the node sees it.
#[derive(Clone)]
pub(crate) struct GatewayDoor {
    /// Where it is, e.g. `http://127.0.0.1:8088`.
    pub url: String,
    pub keys: Keys,
    pub admission: Admission,
    database: Database,
}

impl GatewayDoor {
    /// What a key spent.
    pub async fn spent(&self, key: &KeyId) -> Result<Spent, StoreError> {
        let today = edge_gateway::Day::of(Clock::system().now_ms());
        SpendingStore::spent(&self.database, key, today).await
    }
}

/// Starts the gateway and serves it.
pub(super) async fn start(
    parts: &EdgeParts,
    edge: watch::Receiver<EdgeState>,
    player: Option<String>,
    uploads: &Path,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<(Gateway, GatewayDoor)> {
    let settings = &parts.settings.gateway;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!(
            "the gateway cannot listen on {}: another program does, or choose another gateway.listen",
            settings.listen
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    let config = GatewayConfig {
        largest_upload: settings.upload_bytes,
        uploads_capacity: settings.upload_bytes.saturating_mul(4),
        ai_queue: QueueLimits {
            running: settings.running,
            waiting: settings.waiting,
            ..QueueLimits::default()
        },
        videos_at_once: VIDEOS_AT_ONCE,
        daily_limit: Some(parts.settings.payments.daily_limit.wei().clone()),
        ..GatewayConfig::new(&url, uploads)
    };
    let store = Arc::new(parts.database.clone());
    let stores = GatewayStores { keys: store.clone(), spending: store.clone(), videos: store };
    let access = MarketAccess { wallet: parts.wallet.clone(), edge };
    let ai = Arc::new(ai::MarketAi { access: access.clone() });
    let video = Arc::new(video::MarketVideo::new(parts, access, player));
    let gateway = Gateway::start(config, stores, ai, video, Clock::system()).await?;
    let door = GatewayDoor {
        url,
        keys: gateway.keys().clone(),
        admission: gateway.admission().clone(),
        database: parts.database.clone(),
    };
    let (router, stop) = (gateway.router(), stop.clone());
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
        {
            tracing::error!(%error, "the gateway ended");
        }
    });
    Ok((gateway, door))
}

/// The market, when this node is on it.
#[derive(Clone)]
struct MarketAccess {
    wallet: theta_wallet::Wallet,
    edge: watch::Receiver<EdgeState>,
}

impl MarketAccess {
    fn edge(&self) -> Result<Edge, BackendError> {
        if self.wallet.is_locked() {
            return Err(BackendError::CannotPay(
                "the gateway's wallet is locked, so it can pay nobody; its owner unlocks it with `thetis wallet unlock`".into(),
            ));
        }
        match &*self.edge.borrow() {
            EdgeState::Running(edge) => Ok(edge.clone()),
            EdgeState::Off => {
                Err(BackendError::NoProvider("this gateway has not joined the overlay of providers".into()))
            }
            EdgeState::Failed(why) => Err(BackendError::NoProvider(format!(
                "this gateway could not join the overlay of providers: {why}"
            ))),
        }
    }
}

/// A bill as the market charges it.
struct BilledPurse(Bill);

impl Purse for BilledPurse {
    fn charge(&self, amount: &Wei) -> Result<(), PurseEmpty> {
        self.0.charge(amount).map_err(|over| PurseEmpty(over.to_string()))
    }
}

/// A failure of the market as the gateway's caller is told it. `limit` is what was reserved.
fn backend_error(error: RequestError, limit: &Wei) -> BackendError {
    match error {
        RequestError::NoProvider { .. } => BackendError::NoProvider(error.to_string()),
        RequestError::BadOrder(error) => BackendError::BadOrder(error.message),
        RequestError::CannotPay(why) => BackendError::CannotPay(why),
        RequestError::OverBudget(_) => BackendError::OverLimit(OverLimit { limit: limit.clone() }),
        RequestError::Failed { .. }
        | RequestError::NoPlace { .. }
        | RequestError::Busy
        | RequestError::Local(_)
        | RequestError::Cancelled => BackendError::Failed(error.to_string()),
    }
}

/// A failure of this node's own worker.
fn worker_error(error: JobError) -> BackendError {
    match error.code {
        JobErrorCode::BadInput => BackendError::BadOrder(error.message),
        JobErrorCode::Busy | JobErrorCode::Cancelled => BackendError::Later(error.message),
        _ => BackendError::Failed(error.message),
    }
}
