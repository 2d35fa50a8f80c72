//! Segments of streams, from the edge nodes that have them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use edge_jobs::ContentHash;
use edge_mesh::PeerId;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, pending},
    stream::FuturesUnordered,
};
use theta_types::{Address, Wei};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Requester,
    relay_session::{Begun, Get, Session},
    track::Tracks,
};
use crate::offer::{Candidate, Need};

/// Sessions that are kept open with one provider.
const SESSIONS_PER_PROVIDER: usize = 3;

/// A segment that is wanted.
#[derive(Clone, Debug)]
pub struct SegmentWish<'a> {
    /// Its hash.
    pub hash: ContentHash,
    /// Its size in bytes. No more is taken, and how long it may take follows from it.
    pub bytes: u64,
    /// Who may have it.
    pub peers: &'a [PeerId],
    /// The most TFuelWei for it, besides the requester's own limit.
    pub highest_price: Option<Wei>,
}

/// A segment, and who delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes, verified.
    pub bytes: Bytes,
    /// Who delivered it and is paid; `None` when it came from the last resort.
    pub provider: Option<Address>,
    /// TFuelWei that are paid for it.
    pub price: Wei,
}

/// Why a segment was not delivered by any of the peers. The source may have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// None of the peers offers segments, or all have been excluded.
    #[error("none of the {peers} peers delivers segments")]
    NoProvider {
        /// How many peers were named.
        peers: usize,
    },
    /// Those that were asked do not have it, or failed.
    #[error("{asked} providers were asked, the last one: {last}")]
    NotDelivered {
        /// How many.
        asked: usize,
        /// What the last one said.
        last: String,
    },
}

/// Fetches segments and pays for each. Keeps sessions open between them. Clones share them.
#[derive(Clone, Debug)]
pub struct SegmentClient {
    pub(super) requester: Requester,
    sessions: Arc<Mutex<HashMap<Address, Vec<Session>>>>,
    pub(super) tracks: Tracks,
    pub(super) cancel: CancellationToken,
}

/// What came of asking one provider, or the last resort.
struct Answer {
    provider: Option<Address>,
    price: Wei,
    outcome: Result<Bytes, String>,
}

impl SegmentClient {
    /// Fetches as `requester`. All sessions end with `cancel`.
    pub fn new(requester: Requester, cancel: CancellationToken) -> Self {
        Self { requester, sessions: Arc::default(), tracks: Tracks::default(), cancel }
    }

    /// A segment of at most `bytes` from one of `peers`, verified against its hash and paid.
    ///
    /// # Errors
    /// See [`SegmentError`].
    pub async fn fetch(
        &self,
        hash: ContentHash,
        bytes: u64,
        peers: &[PeerId],
    ) -> Result<Fetched, SegmentError> {
        let wish = SegmentWish { hash, bytes, peers, highest_price: None };
        self.fetch_or(&wish, std::future::ready(None)).await
    }

    /// A segment from one of the peers, or from `last_resort`, which costs nothing and has verified it.
    ///
    /// Those that failed lately are asked last, and among the others those first that delivered least. One that does not
    /// have the segment, fails or lies is followed by the next at once, and one that does not begin to deliver within the
    /// settings' `hedge_after` is joined by the next. Whoever is first wins. What was asked of the others and is not under
    /// way yet is withdrawn; what is under way is taken and paid like any other, so that nobody works for nothing.
    ///
    /// # Errors
    /// See [`SegmentError`].
    pub async fn fetch_or(
        &self,
        wish: &SegmentWish<'_>,
        last_resort: impl Future<Output = Option<Bytes>> + Send,
    ) -> Result<Fetched, SegmentError> {
        let hedge_after = self.requester.shared.settings.hedge_after;
        let candidates = self.candidates(wish);
        let providers = candidates.len();
        let mut to_ask = candidates.into_iter();
        let mut last_resort = Some(last_resort.boxed());
        let mut race: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        // Who was asked last, and when it is joined by the next.
        let mut newest: Option<(Address, Begun)> = None;
        let mut hedge_at = None;
        let mut last = None;
        let mut ask_next = true;
        loop {
            if ask_next {
                ask_next = false;
                newest = None;
                if let Some(candidate) = to_ask.next() {
                    let begun = Begun::default();
                    newest = Some((candidate.offer.provider, begun.clone()));
                    race.push(self.ask(candidate, wish, begun).boxed());
                } else if let Some(resort) = last_resort.take() {
                    race.push(resort.map(from_last_resort).boxed());
                }
                hedge_at = last_resort.is_some().then(|| Instant::now() + hedge_after);
            }
            let hedge = match hedge_at {
                Some(at) => Either::Left(tokio::time::sleep_until(at)),
                None => Either::Right(pending()),
            };
            tokio::select! {
                biased;
                answer = race.next() => match answer {
                    Some(Answer { provider, price, outcome: Ok(bytes) }) => {
                        return Ok(Fetched { bytes, provider, price });
                    }
                    Some(Answer { provider, outcome: Err(why), .. }) => {
                        debug!(?provider, hash = %wish.hash, %why, "a segment was not delivered");
                        if provider.is_some() {
                            last = Some(why);
                        }
                        ask_next = true;
                    }
                    None => {
                        return Err(match last {
                            Some(last) => SegmentError::NotDelivered { asked: providers, last },
                            None => SegmentError::NoProvider { peers: wish.peers.len() },
                        });
                    }
                },
                () = hedge => match &newest {
                    // It delivers: its deadline ends it when it is too slow.
                    Some((_, begun)) if begun.is_set() => hedge_at = Some(Instant::now() + hedge_after),
                    _ => {
                        if let Some((provider, _)) = &newest {
                            debug!(%provider, hash = %wish.hash, "a provider does not begin to deliver");
                            self.tracks.failed(*provider, Instant::now());
                        }
                        ask_next = true;
                    }
                },
            }
        }
    }

    /// Segments that each provider delivered to this client.
    pub fn delivered(&self) -> HashMap<Address, u64> {
        self.tracks.delivered()
    }

    /// The offers that are known.
    pub fn offers(&self) -> &crate::offer::Offers {
        self.requester.offers()
    }

    fn candidates(&self, wish: &SegmentWish<'_>) -> Vec<Candidate> {
        let shared = &self.requester.shared;
        let mut need = shared.need_of(Need::relay(wish.peers.iter().copied().collect::<HashSet<_>>()));
        if let Some(most) = &wish.highest_price {
            need.highest_price = Some(need.highest_price.map_or(most.clone(), |own| own.min(most.clone())));
        }
        let mut candidates = shared.offers.candidates(&need, &shared.standing);
        // The sort is stable: among equals the order by place, standing and price stays.
        self.tracks.sort(&mut candidates, Instant::now(), |candidate| candidate.offer.provider);
        candidates
    }

    async fn ask(&self, candidate: Candidate, wish: &SegmentWish<'_>, begun: Begun) -> Answer {
        let provider = candidate.offer.provider;
        let (mut price, outcome) = loop {
            let session = match self.open_session(&candidate) {
                Some(session) => session,
                None => self.start_session(&candidate),
            };
            let (reply, answer) = oneshot::channel();
            let get = Get { hash: wish.hash, bytes: wish.bytes, begun: begun.clone(), reply };
            if session.gets.send(get).await.is_err() {
                // It ended meanwhile.
                self.forget(provider, &session);
                continue;
            }
            let outcome = answer.await.unwrap_or_else(|_| Err("the session ended".into()));
            break (session.price.clone(), outcome);
        };
        if outcome.is_err() {
            price = Wei::zero();
        }
        Answer { provider: Some(provider), price, outcome }
    }

    /// A session with nothing to do, or, when no more may be opened, the one that waits least. None that was opened when
    /// the provider was dearer.
    fn open_session(&self, candidate: &Candidate) -> Option<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sessions.entry(candidate.offer.provider).or_default();
        open.retain(|session| !session.gets.is_closed());
        let usable = || open.iter().filter(|session| session.price <= candidate.price);
        if let Some(session) = usable().find(|session| session.is_free()) {
            return Some(session.clone());
        }
        if usable().count() < SESSIONS_PER_PROVIDER && usable().all(Session::is_secured) {
            return None;
        }
        usable().max_by_key(|session| session.gets.capacity()).cloned()
    }

    fn start_session(&self, candidate: &Candidate) -> Session {
        let session = Session::start(self.clone(), candidate.clone());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(candidate.offer.provider).or_default().push(session.clone());
        session
    }

    fn forget(&self, provider: Address, gone: &Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sessions.get_mut(&provider) {
            open.retain(|session| !session.gets.same_channel(&gone.gets));
        }
    }
}

fn from_last_resort(found: Option<Bytes>) -> Answer {
    let outcome = found.ok_or_else(|| "the last resort does not have it".to_owned());
    Answer { provider: None, price: Wei::zero(), outcome }
}
