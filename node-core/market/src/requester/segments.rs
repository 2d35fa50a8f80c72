//! Segments of streams, from the edge nodes that have them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use edge_jobs::{ContentHash, JobKind};
use edge_mesh::{PeerId, Protocol};
use theta_types::Address;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    OpenPurse, Requester,
    buyer::{BuyError, Buyer, Errand, unexpected},
};
use crate::{
    offer::{Candidate, Need},
    session::{Frame, Reply, Request, Work},
    standing::Fault,
};

/// Sessions that are kept open with one provider.
const SESSIONS_PER_PROVIDER: usize = 3;
/// How long a session without requests is kept open.
const IDLE: Duration = Duration::from_secs(60);

/// A segment, and who delivered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes, verified.
    pub bytes: Bytes,
    /// Who delivered it and was paid.
    pub provider: Address,
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
    requester: Requester,
    sessions: Arc<Mutex<HashMap<Address, Vec<Session>>>>,
    /// Segments that each provider delivered, so that the work is spread.
    delivered: Arc<Mutex<HashMap<Address, u64>>>,
    cancel: CancellationToken,
}

#[derive(Debug, Clone)]
struct Session {
    gets: mpsc::Sender<Get>,
}

#[derive(Debug)]
struct Get {
    hash: ContentHash,
    max_bytes: u64,
    reply: oneshot::Sender<Result<Bytes, String>>,
}

impl SegmentClient {
    /// Fetches as `requester`. All sessions end with `cancel`.
    pub fn new(requester: Requester, cancel: CancellationToken) -> Self {
        Self { requester, sessions: Arc::default(), delivered: Arc::default(), cancel }
    }

    /// A segment of at most `max_bytes` from one of `peers`, verified against its hash and paid. Those that delivered
    /// least so far are asked first; one that does not have it, fails or lies is followed by the next.
    pub async fn fetch(
        &self,
        hash: ContentHash,
        max_bytes: u64,
        peers: &[PeerId],
    ) -> Result<Fetched, SegmentError> {
        let shared = &self.requester.shared;
        let need = shared.need_of(Need::relay(peers.iter().copied().collect::<HashSet<_>>()));
        let mut candidates = shared.offers.candidates(&need, &shared.standing);
        {
            let delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
            // The sort is stable: among equals the order by place, standing and price stays.
            candidates
                .sort_by_key(|candidate| delivered.get(&candidate.offer.provider).copied().unwrap_or(0));
        }
        if candidates.is_empty() {
            return Err(SegmentError::NoProvider { peers: peers.len() });
        }
        let mut last = String::new();
        let asked = candidates.len();
        for candidate in candidates {
            let provider = candidate.offer.provider;
            match self.fetch_from(&candidate, hash, max_bytes).await {
                Ok(bytes) => {
                    let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
                    *delivered.entry(provider).or_default() += 1;
                    return Ok(Fetched { bytes, provider });
                }
                Err(why) => {
                    debug!(%provider, %hash, %why, "a provider did not deliver a segment");
                    last = why;
                }
            }
        }
        Err(SegmentError::NotDelivered { asked, last })
    }

    /// Segments that each provider delivered to this client.
    pub fn delivered(&self) -> HashMap<Address, u64> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fetch_from(
        &self,
        candidate: &Candidate,
        hash: ContentHash,
        max_bytes: u64,
    ) -> Result<Bytes, String> {
        let provider = candidate.offer.provider;
        loop {
            let session = match self.open_session(provider) {
                Some(session) => session,
                None => self.start_session(candidate),
            };
            let (reply, answer) = oneshot::channel();
            let get = Get { hash, max_bytes, reply };
            if session.gets.send(get).await.is_err() {
                // It ended meanwhile.
                self.forget(provider, &session);
                continue;
            }
            return match answer.await {
                Ok(outcome) => outcome,
                Err(_) => Err("the session ended".into()),
            };
        }
    }

    /// A session with nothing to do, or, when no more may be opened, the one that waits least.
    fn open_session(&self, provider: Address) -> Option<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sessions.entry(provider).or_default();
        open.retain(|session| !session.gets.is_closed());
        let free = |session: &&Session| session.gets.capacity() == session.gets.max_capacity();
        if let Some(session) = open.iter().find(free) {
            return Some(session.clone());
        }
        if open.len() < SESSIONS_PER_PROVIDER {
            return None;
        }
        open.iter().max_by_key(|session| session.gets.capacity()).cloned()
    }

    fn start_session(&self, candidate: &Candidate) -> Session {
        let (gets, queue) = mpsc::channel(8);
        let session = Session { gets };
        let provider = candidate.offer.provider;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(provider).or_default().push(session.clone());
        drop(sessions);
        let (client, candidate) = (self.clone(), candidate.clone());
        tokio::spawn(async move { client.lead(candidate, queue).await });
        session
    }

    fn forget(&self, provider: Address, gone: &Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sessions.get_mut(&provider) {
            open.retain(|session| !session.gets.same_channel(&gone.gets));
        }
    }

    /// Leads one session from its opening to its end.
    async fn lead(self, candidate: Candidate, mut queue: mpsc::Receiver<Get>) {
        let errand = Errand {
            work: Work::Relay,
            kind: JobKind::Relay,
            model: None,
            first: None,
            protocol: Protocol::SEGMENTS,
        };
        let shared = self.requester.shared.clone();
        let cancel = self.cancel.child_token();
        let mut buyer = match Buyer::open(shared, &candidate, errand, Arc::new(OpenPurse), cancel).await {
            Ok(buyer) => buyer,
            Err(error) => {
                queue.close();
                self.blame(&candidate, &error).await;
                while let Some(get) = queue.recv().await {
                    let _ = get.reply.send(Err(error.to_string()));
                }
                return;
            }
        };
        let error = loop {
            let get = tokio::select! {
                get = tokio::time::timeout(IDLE, queue.recv()) => match get {
                    Ok(Some(get)) => get,
                    Ok(None) | Err(_) => break None,
                },
                frame = buyer.notice() => {
                    let attended = match frame {
                        Ok(frame) => buyer.attend(frame).await,
                        Err(error) => Err(error),
                    };
                    match attended {
                        Ok(None) => continue,
                        Ok(Some(other)) => break Some(unexpected(&other)),
                        // The provider closed a session that had nothing to do.
                        Err(BuyError::BrokeOff(_)) => break None,
                        Err(error) => break Some(error),
                    }
                }
            };
            match receive(&mut buyer, &get).await {
                Ok(Some(bytes)) => {
                    // The player has its bytes before the payment is on disk; the next segment waits for it.
                    let _ = get.reply.send(Ok(bytes));
                    let units = buyer.record.units;
                    if let Err(error) = buyer.pay(units, true).await {
                        break Some(error);
                    }
                }
                Ok(None) => drop(get.reply.send(Err("it does not have the segment".into()))),
                Err(error) => {
                    let _ = get.reply.send(Err(error.to_string()));
                    break Some(error);
                }
            }
        };
        queue.close();
        if let Some(error) = &error {
            self.blame(&candidate, error).await;
        }
        let _ = buyer.end(error.as_ref()).await;
        while let Some(get) = queue.recv().await {
            let _ = get.reply.send(Err("the session ended".into()));
        }
    }

    async fn blame(&self, candidate: &Candidate, error: &BuyError) {
        if let Some((fault, detail)) = error.fault() {
            self.requester.shared.standing.fault(candidate.offer.provider, fault, detail).await;
        }
    }
}

/// Asks for one segment and takes its bytes; `None` when the provider does not have it.
async fn receive(buyer: &mut Buyer, get: &Get) -> Result<Option<Bytes>, BuyError> {
    buyer.say(&Request::Get { hash: get.hash, max_bytes: get.max_bytes }).await?;
    let length = match buyer.next().await? {
        Frame::Message(Reply::NotHere { hash }) if hash == get.hash => return Ok(None),
        Frame::Message(Reply::Segment { hash, bytes }) if hash == get.hash => bytes,
        other => return Err(unexpected(&other)),
    };
    if length > get.max_bytes {
        return Err(BuyError::Nonsense(format!("a segment of {length} bytes")));
    }
    let mut segment = BytesMut::with_capacity(length as usize);
    while (segment.len() as u64) < length {
        let chunk = buyer.next_chunk().await?;
        if chunk.is_empty() || segment.len() as u64 + chunk.len() as u64 > length {
            return Err(BuyError::Nonsense("a segment that is longer than announced".into()));
        }
        segment.extend_from_slice(&chunk);
    }
    let segment = segment.freeze();
    buyer.record.bytes += length;
    if ContentHash::of(&segment) != get.hash {
        let detail = format!("the bytes of segment {} are not those of its hash", get.hash);
        return Err(BuyError::Lie { fault: Fault::CorruptSegment, detail });
    }
    buyer.record.units += 1;
    Ok(Some(segment))
}
