//! What the control API does.

mod earnings;
mod status;

use std::{sync::Arc, time::Duration};

use edge_market::jobs::JobSide;
use theta_wallet::{Passphrase, SendError, TxRequest, WalletError};

use super::{
    ControlError, ErrorCode,
    types::{
        ChangeLimits, CreateKey, CreatedKey, Earnings, KeyRow, OfferRow, Pause, Play, Playing, SendCoins,
        SentTransaction, Settled, Status, StreamRow, Unlock,
    },
};
use crate::{
    clock, database,
    node::{
        Parts,
        edge::{Edge, EdgeState},
    },
};

/// How long settling on request may take: some blocks.
const SETTLE_WITHIN: Duration = Duration::from_secs(40);

/// The control API of a running node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    parts: Arc<Parts>,
}

type Answer<T> = Result<T, ControlError>;

impl Control {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// The node as it is now.
    pub async fn status(&self) -> Status {
        status::status(&self.parts).await
    }

    /// Jobs of a side with their payments, newest first, at most `limit` of them; the sums are over all.
    pub async fn earnings(&self, side: JobSide, limit: u32) -> Answer<Earnings> {
        earnings::earnings(&self.parts, side, limit).await.map_err(ControlError::internal)
    }

    /// Stops work for others, for a while or until resumed; workers are down within a second, and the node's own videos wait.
    /// A pause outlives a restart.
    pub async fn pause(&self, pause: Pause) -> Answer<()> {
        let until = pause.seconds.map(|seconds| clock::unix_seconds().saturating_add(seconds));
        // First: that it cannot be kept is no reason to go on working now.
        self.parts.governor.pause(until);
        let kept = self.parts.database.keep_pause(Some(database::Pause { until })).await;
        kept.map_err(ControlError::internal)
    }

    /// Ends a pause.
    pub async fn resume(&self) -> Answer<()> {
        self.parts.governor.resume();
        self.parts.database.keep_pause(None).await.map_err(ControlError::internal)
    }

    /// Changes limits until the next start.
    pub fn change_limits(&self, change: ChangeLimits) -> Answer<()> {
        if let Some(rate) = change.upload_bytes_per_second {
            if (1..1_024).contains(&rate) {
                return Err(ControlError::new(
                    ErrorCode::BadRequest,
                    "the least upload limit is 1024 bytes a second; 0 lifts it",
                ));
            }
            let edge = self.edge()?;
            edge.mesh.upload_limit().set((rate > 0).then_some(rate));
        }
        if let Some(bytes) = change.cache_bytes {
            self.parts.segments.set_cap(bytes).map_err(ControlError::internal)?;
        }
        Ok(())
    }

    /// Settles every line of vouchers that is worth more than a fee.
    pub async fn settle(&self) -> Answer<Settled> {
        let Some(payee) = &self.parts.money.payee else {
            return Ok(Settled { left: theta_types::Wei::zero() });
        };
        if self.parts.wallet.is_locked() {
            return Err(ControlError::locked());
        }
        let left = payee.settle_all(SETTLE_WITHIN).await.map_err(ControlError::internal)?;
        Ok(Settled { left })
    }

    /// Wipes the wallet's key from memory.
    pub fn lock(&self) {
        self.parts.wallet.lock();
    }

    /// Opens the wallet.
    pub async fn unlock(&self, request: Unlock) -> Answer<()> {
        let passphrase = Passphrase::new(request.passphrase);
        match self.parts.wallet.unlock(&self.parts.keys, &passphrase).await {
            Ok(()) => Ok(()),
            Err(error @ WalletError::KeyFolder(_)) => {
                Err(ControlError::new(ErrorCode::BadRequest, error.to_string()))
            }
            Err(error) => Err(ControlError::internal(error)),
        }
    }

    /// Sends coins. Returns when the chain's mempool has the transaction.
    pub async fn send(&self, request: SendCoins) -> Answer<SentTransaction> {
        let name = format!("send/{}", request.request);
        let sent = self.parts.transactions.send(&name, TxRequest::send(request.to, request.coins)).await;
        match sent {
            Ok(sent) => Ok(SentTransaction { transaction: sent.hash.to_string() }),
            Err(SendError::Locked) => Err(ControlError::locked()),
            Err(error @ (SendError::Request(_) | SendError::Refused(_))) => {
                Err(ControlError::new(ErrorCode::BadRequest, format!("nothing was sent: {error}")))
            }
            Err(error) => Err(ControlError::new(ErrorCode::Unavailable, error.to_string())),
        }
    }

    /// The gateway's API keys, oldest first, with what they spent.
    pub async fn keys(&self) -> Answer<Vec<KeyRow>> {
        let door = self.gateway()?;
        let mut rows = Vec::new();
        for key in door.keys.list().await.map_err(ControlError::internal)? {
            let spent = door.spent(&key.id).await.map_err(ControlError::internal)?;
            let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or(0);
            rows.push(KeyRow {
                id: key.id.to_string(),
                name: key.name,
                created: seconds(key.created_ms),
                revoked: key.revoked_ms.map(seconds),
                daily_limit: key.daily_limit,
                total_limit: key.total_limit,
                spent_today: spent.day,
                spent: spent.total,
            });
        }
        Ok(rows)
    }

    /// Makes an API key.
    pub async fn create_key(&self, request: CreateKey) -> Answer<CreatedKey> {
        let keys = &self.gateway()?.keys;
        let made = keys.create(&request.name, request.daily_limit, request.total_limit).await;
        let made = made.map_err(ControlError::internal)?;
        Ok(CreatedKey { id: made.record.id.to_string(), secret: made.secret, key: made.bearer })
    }

    /// Makes an API key useless.
    pub async fn revoke_key(&self, id: &str) -> Answer<()> {
        let unknown = || {
            ControlError::new(
                ErrorCode::NotFound,
                "there is no such key; `thetis gateway key list` shows them",
            )
        };
        let id = id.parse().map_err(|_| unknown())?;
        let known = self.gateway()?.keys.revoke(&id).await.map_err(ControlError::internal)?;
        if known { Ok(()) } else { Err(unknown()) }
    }

    /// Streams that this node published, newest first.
    pub async fn streams(&self) -> Answer<Vec<StreamRow>> {
        let streams = self.parts.database.published_streams().await.map_err(ControlError::internal)?;
        Ok(streams
            .iter()
            .map(|stream| StreamRow {
                id: stream.id().to_string(),
                title: stream.manifest().title.clone(),
                created: stream.manifest().created,
                duration_ms: stream.manifest().duration_ms,
                renditions: stream.manifest().renditions.iter().map(|r| r.name.clone()).collect(),
            })
            .collect())
    }

    /// What providers of the network offer now, by kind and price.
    pub fn offers(&self) -> Answer<Vec<OfferRow>> {
        let edge = self.edge()?;
        let own = self.parts.wallet.address();
        let mut rows: Vec<OfferRow> = Vec::new();
        for offer in edge.offers.all() {
            let why_not = match offer.provider {
                provider if provider == own => Some("it is this node".to_owned()),
                provider if edge.standing.is_excluded(&provider) => {
                    Some("it has cheated or failed too often".to_owned())
                }
                _ => None,
            };
            rows.extend(offer.services.iter().map(|service| OfferRow {
                provider: offer.provider,
                kind: service.kind,
                model: service.model.clone(),
                price: service.price.clone(),
                free: service.free,
                places: service.places,
                device: offer.device.clone().filter(|_| service.model.is_some()),
                why_not: why_not.clone(),
            }));
        }
        rows.sort_by_cached_key(|row| (row.kind.name(), row.model.clone(), row.price.clone(), row.provider));
        Ok(rows)
    }

    /// Finds a stream on the network, and says where it is played here.
    pub async fn play(&self, request: Play) -> Answer<Playing> {
        let stream = request
            .stream
            .parse()
            .map_err(|_| ControlError::new(ErrorCode::BadRequest, "a share id is 32 hexadecimal digits"))?;
        let player = self.parts.player.as_ref().ok_or_else(|| {
            ControlError::new(
                ErrorCode::Unavailable,
                "this node plays no streams: set player.enabled in its settings",
            )
        })?;
        let edge = self.edge()?;
        let found = edge.manifest(stream).await;
        let found = found.map_err(|error| ControlError::new(ErrorCode::NotFound, error.to_string()))?;
        Ok(Playing {
            page: format!("{player}/watch/{stream}"),
            playlist: format!("{player}/hls/{stream}/master.m3u8"),
            title: found.manifest().title.clone(),
        })
    }

    /// Ends the node in good order.
    pub fn stop(&self) {
        self.parts.stop_wanted.cancel();
    }

    fn edge(&self) -> Answer<Edge> {
        match &*self.parts.edge.borrow() {
            EdgeState::Running(edge) => Ok(edge.clone()),
            EdgeState::Off if self.parts.wallet.is_locked() => Err(ControlError::locked()),
            EdgeState::Off => Err(ControlError::new(
                ErrorCode::Unavailable,
                "this node has not joined the overlay: set mesh.enabled in its settings",
            )),
            EdgeState::Failed(why) => Err(ControlError::new(
                ErrorCode::Unavailable,
                format!("this node could not join the overlay: {why}"),
            )),
        }
    }

    fn gateway(&self) -> Answer<&crate::node::GatewayDoor> {
        self.parts.gateway.as_ref().ok_or_else(|| {
            let message = "this node has no gateway: set gateway.enabled = true in its settings";
            ControlError::new(ErrorCode::Unavailable, message)
        })
    }
}
