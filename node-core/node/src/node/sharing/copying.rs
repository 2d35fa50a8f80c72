//! Takes announced streams into the segment store of a node that offers relay.
//!
//! The creator gives its segments for nothing, and is asked first. When it has left, those who relay its stream are asked, and
//! paid like by any viewer: so that a stream outlives its creator's node. What that may cost is bounded three times: a
//! segment costs no more than this node sells it for, a day no more than its setting, and nothing is bought that
//! enough others sell already.

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edge_jobs::{ContentHash, JobKind};
use edge_market::requester::{SegmentClient, SegmentWish};
use edge_mesh::{PeerId, Topic};
use edge_streams::{SignedManifest, StoreError, StreamId};
use futures::StreamExt;
use theta_types::{Address, Wei};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Sharing, announcement, announcement::Announcement, heard::Heard, wire};
use crate::{clock::unix_seconds, node::edge::EdgeParts};

/// Announcements that wait to be looked at; more are dropped, and come again.
const MOST_WAITING: usize = 64;
/// Segments that are fetched at a time for nothing. Those that are paid come one after the other: a stream is in no hurry,
/// and a new payer has little credit.
const AT_ONCE: usize = 4;
/// One peer, or one purchase, is given up after so many segments that did not come.
const MOST_FAILURES: usize = 3;
/// How long one peer, or one purchase, may take, besides the time for the bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes a second that a stream has to come with, at least.
const SLOWEST: u64 = 50_000;
/// When so many others sell a stream, one more is no help to viewers, and hardly earns what it paid.
const ENOUGH_SELLERS: usize = 3;
const DAY_SECONDS: u64 = 86_400;

/// Listens for announcements, and copies one stream at a time while the governor lets this node work. `evicted` are streams
/// that were here and made room for others.
pub(super) async fn start(
    sharing: &Sharing,
    parts: &EdgeParts,
    client: SegmentClient,
    evicted: Vec<StreamId>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut announcements = sharing.mesh.subscribe(Topic::STREAMS).await?;
    let (sender, mut waiting) = mpsc::channel(MOST_WAITING);
    tasks.spawn(async move {
        while let Some((peer, wallet, bytes)) = announcements.recv().await {
            if let Ok(Announcement { stream }) = serde_json::from_slice(&bytes)
                && let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send((peer, wallet, stream))
            {
                return;
            }
        }
    });
    let offer = &parts.settings.offer;
    let budget = Budget { most: offer.copy_budget.wei().clone(), day: 0, spent: Wei::zero() };
    let mut heard = Heard::default();
    for stream in evicted {
        heard.fetched(stream, Instant::now());
    }
    let highest_price = offer.highest_copy_price().wei().clone();
    let mut copier = Copier { sharing: sharing.clone(), client, heard, highest_price, budget };
    let (governor, stop) = (parts.governor.clone(), stop.clone());
    tasks.spawn(async move {
        while let Some(Some((peer, wallet, stream))) = stop.run_until_cancelled(waiting.recv()).await {
            if governor.halted().borrow().is_some() {
                continue;
            }
            let mut halted = governor.halted();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = halted.wait_for(Option::is_some) => {}
                () = copier.hear(peer, wallet, stream) => {}
            }
        }
    });
    Ok(())
}

struct Copier {
    sharing: Sharing,
    client: SegmentClient,
    heard: Heard,
    /// TFuelWei for a segment at most.
    highest_price: Wei,
    budget: Budget,
}

/// What may be spent in a day. A restart begins anew; the payer's own limit of a day is kept on disk.
struct Budget {
    most: Wei,
    day: u64,
    spent: Wei,
}

impl Budget {
    fn left(&mut self, now: u64) -> Wei {
        if now / DAY_SECONDS != self.day {
            (self.day, self.spent) = (now / DAY_SECONDS, Wei::zero());
        }
        self.most.saturating_sub(&self.spent)
    }
}

impl Copier {
    /// A peer says that it has a stream.
    async fn hear(&mut self, peer: PeerId, wallet: Option<Address>, id: StreamId) {
        let known = self.sharing.manifest_here(id).await;
        let by_creator =
            |stream: &SignedManifest| wallet.is_some_and(|wallet| wallet == stream.manifest().creator);
        self.heard.announced(id, known.as_deref().is_some_and(by_creator), Instant::now());
        let whole = known.as_deref().is_some_and(|stream| self.sharing.has_all_of(stream));
        if (whole && self.sharing.holds(id)) || !self.heard.may_try(id, Instant::now()) {
            return;
        }
        let stream = match known {
            Some(known) => known,
            None => {
                let Some(found) = wire::get_manifest(&self.sharing.mesh, peer, id).await else {
                    return self.heard.failed(id, Instant::now());
                };
                let found = Arc::new(found);
                self.heard.announced(id, by_creator(&found), Instant::now());
                self.sharing.remember(found.clone());
                found
            }
        };
        self.copy(peer, stream).await;
    }

    /// Fetches what is missing, and says then that the stream is here.
    async fn copy(&mut self, announcer: PeerId, stream: Arc<SignedManifest>) {
        let (id, size) = (stream.id(), stream.contents().map(|(_, bytes)| bytes).sum::<u64>());
        let cap = self.sharing.segments.usage().cap;
        if size > cap {
            tracing::debug!(%id, size, cap, "a stream is larger than the whole cache");
            return self.heard.failed(id, Instant::now());
        }
        self.take_from_creator(&stream).await;
        if !self.sharing.has_all_of(&stream) {
            if self.sharing.sees_creator_of(&stream) {
                tracing::debug!(%id, "a stream could not be copied whole from its creator; it is tried again");
                return self.heard.failed(id, Instant::now());
            }
            if !self.heard.creator_has_left(id, Instant::now()) {
                // Its next announcement says whether the creator is there.
                return;
            }
            self.buy(announcer, &stream).await;
        }
        if !self.sharing.has_all_of(&stream) {
            tracing::debug!(%id, "a stream could not be copied whole; it is tried again");
            return self.heard.failed(id, Instant::now());
        }
        self.heard.fetched(id, Instant::now());
        if let Err(error) = self.sharing.database.relay_stream(&stream).await {
            tracing::warn!(%error, "a relayed stream could not be recorded");
        }
        tracing::info!(%id, size, "a stream is here to be relayed");
        self.sharing.hold(stream, false).await;
        announcement::announce(&self.sharing, id).await;
    }

    /// Free of charge, from one node after the other that may be the creator's.
    async fn take_from_creator(&self, stream: &SignedManifest) {
        for source in self.sharing.sources_of(stream).await {
            let from_source = |hash, bytes| {
                let segment = wire::get_segment(&self.sharing.mesh, source, stream.id(), hash, bytes);
                async move { segment.await.map(|content| (content, Wei::zero())) }
            };
            self.fill(stream, AT_ONCE, from_source).await;
            if self.sharing.has_all_of(stream) {
                return;
            }
        }
    }

    /// From those who relay the stream, at their price.
    async fn buy(&mut self, announcer: PeerId, stream: &SignedManifest) {
        let id = stream.id();
        let mut holders = self.sharing.holders_of(id).await;
        if !holders.contains(&announcer) {
            holders.push(announcer);
        }
        let offers = self.client.offers();
        let price_of = |peer| Some(offers.of_peer(peer)?.service(JobKind::Relay, None)?.price.clone());
        let prices: Vec<Wei> = holders.iter().filter_map(price_of).collect();
        if prices.len() >= ENOUGH_SELLERS {
            return tracing::debug!(%id, sellers = prices.len(), "enough nodes sell a stream without its creator");
        }
        let dearest = prices.into_iter().filter(|price| *price <= self.highest_price).max();
        let Some(dearest) = dearest else {
            return tracing::debug!(%id, most = %self.highest_price, "nobody sells a stream at a price that can be earned back");
        };
        let cost = dearest * self.missing(stream).len() as u64;
        let left = self.budget.left(unix_seconds());
        if cost > left {
            return tracing::debug!(%id, %cost, %left, "a stream costs more than may be spent on copies today");
        }
        tracing::info!(%id, %cost, "buying a stream whose creator has left");
        let (client, holders, highest_price) = (&self.client, &holders, &self.highest_price);
        let bought = self.fill(stream, 1, |hash, bytes| async move {
            let wish =
                SegmentWish { hash, bytes, peers: holders, highest_price: Some(highest_price.clone()) };
            let fetched = client.fetch_or(&wish, std::future::ready(None)).await.ok()?;
            Some((fetched.bytes, fetched.price))
        });
        let spent = bought.await;
        self.budget.spent += spent;
    }

    /// Fetches what is missing by `one`, until nothing is, too many did not come, or the time is over. What it cost.
    async fn fill<F>(
        &self,
        stream: &SignedManifest,
        at_once: usize,
        one: impl Fn(ContentHash, u64) -> F,
    ) -> Wei
    where
        F: Future<Output = Option<(Bytes, Wei)>>,
    {
        let missing = self.missing(stream);
        let bytes: u64 = missing.iter().map(|(_, bytes)| bytes).sum();
        let deadline = tokio::time::Instant::now()
            + PATIENCE
            + Duration::from_millis(bytes.saturating_mul(1_000) / SLOWEST);
        let one = &one;
        let fetched = futures::stream::iter(missing)
            .map(|(hash, bytes)| async move { (hash, one(hash, bytes).await) })
            .buffer_unordered(at_once);
        let (mut fetched, mut cost, mut failures) = (pin!(fetched), Wei::zero(), 0);
        while let Ok(Some((hash, content))) = tokio::time::timeout_at(deadline, fetched.next()).await {
            let Some((content, price)) = content else {
                failures += 1;
                if failures >= MOST_FAILURES {
                    break;
                }
                continue;
            };
            cost += price;
            match self.sharing.segments.put(hash, content).await {
                Ok(()) => {}
                Err(error @ (StoreError::DiskFull | StoreError::AboveCap { .. } | StoreError::Io(_))) => {
                    tracing::warn!(%error, id = %stream.id(), "a segment is not kept");
                    break;
                }
                Err(error) => tracing::warn!(%error, id = %stream.id(), "a segment could not be kept"),
            }
        }
        cost
    }

    /// What is not here, each content once.
    fn missing(&self, stream: &SignedManifest) -> Vec<(ContentHash, u64)> {
        let mut seen = HashSet::new();
        let missing = stream.contents().filter(|(hash, _)| !self.sharing.segments.contains(hash));
        missing.filter(|(hash, _)| seen.insert(*hash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_for_one_day() {
        let mut budget = Budget { most: Wei::from(10u64), day: 0, spent: Wei::zero() };
        assert_eq!(budget.left(100), Wei::from(10u64));
        budget.spent += Wei::from(7u64);
        assert_eq!(budget.left(DAY_SECONDS - 1), Wei::from(3u64));
        assert_eq!(budget.left(DAY_SECONDS), Wei::from(10u64));
    }
}
