//! One session with a provider of segments: one segment after the other, each paid when it was found good.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use edge_jobs::{ContentHash, JobKind};
use edge_mesh::Protocol;
use theta_types::Wei;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    OpenPurse, SegmentClient,
    buyer::{BuyError, Buyer, Errand, unexpected},
};
use crate::{
    offer::Candidate,
    session::{Frame, Reply, Request, Work},
    standing::Fault,
};

/// Segments that may wait for one session.
const QUEUE: usize = 8;
/// How long a session without requests is kept open.
const IDLE: Duration = Duration::from_secs(60);

/// A session as those see it who want segments.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub gets: mpsc::Sender<Get>,
    /// TFuelWei for a segment.
    pub price: Wei,
    secured: Arc<AtomicBool>,
}

/// A segment that somebody waits for. When nobody does any more before it is asked for, it is not asked for.
#[derive(Debug)]
pub(super) struct Get {
    pub hash: ContentHash,
    pub bytes: u64,
    pub begun: Begun,
    pub reply: oneshot::Sender<Result<Bytes, String>>,
}

/// Whether a provider has begun to deliver.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Session {
    /// Opens a session in a task of its own: whoever waits for it may give up, and another finds it open.
    pub fn start(client: SegmentClient, candidate: Candidate) -> Self {
        let (gets, queue) = mpsc::channel(QUEUE);
        let (price, secured) =
            (candidate.price.clone(), Arc::new(AtomicBool::new(candidate.price.is_zero())));
        tokio::spawn(lead(client, candidate, queue, secured.clone()));
        Self { gets, price, secured }
    }

    /// Whether segments were paid on it from a reserve. Before that all sessions with the provider share its small credit,
    /// and a second one would only be refused.
    pub fn is_secured(&self) -> bool {
        self.secured.load(Ordering::Relaxed)
    }

    /// Whether nothing waits for it.
    pub fn is_free(&self) -> bool {
        self.gets.capacity() == self.gets.max_capacity()
    }
}

/// Leads one session from its opening to its end.
async fn lead(
    client: SegmentClient,
    candidate: Candidate,
    mut queue: mpsc::Receiver<Get>,
    secured: Arc<AtomicBool>,
) {
    let errand = || Errand {
        work: Work::Relay,
        kind: JobKind::Relay,
        model: None,
        first: None,
        protocol: Protocol::SEGMENTS,
    };
    let shared = client.requester.shared.clone();
    let cancel = client.cancel.child_token();
    let provider = candidate.offer.provider;
    let mut buyer = match Buyer::open(shared, &candidate, errand, Arc::new(OpenPurse), cancel).await {
        Ok(buyer) => buyer,
        Err(error) => {
            queue.close();
            client.tracks.failed(provider, Instant::now());
            blame(&client, &candidate, &error).await;
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
        if get.reply.is_closed() {
            continue;
        }
        match receive(&client, &mut buyer, &get).await {
            Ok(Some(bytes)) => {
                // The player has its bytes before the payment is on disk; the next segment waits for it. One that comes
                // when somebody else has been faster is paid, too.
                client.tracks.delivered_one(provider, !get.reply.is_closed());
                let _ = get.reply.send(Ok(bytes));
                let units = buyer.record.units;
                if let Err(error) = buyer.pay(units, true).await {
                    break Some(error);
                }
                if !secured.load(Ordering::Relaxed)
                    && client.requester.payer().has_open_reserve(provider).await.unwrap_or(false)
                {
                    secured.store(true, Ordering::Relaxed);
                }
            }
            Ok(None) => {
                client.tracks.missed(provider, Instant::now());
                let _ = get.reply.send(Err("it does not have the segment".into()));
            }
            Err(error) => {
                client.tracks.failed(provider, Instant::now());
                let _ = get.reply.send(Err(error.to_string()));
                break Some(error);
            }
        }
    };
    queue.close();
    if let Some(error) = &error {
        blame(&client, &candidate, error).await;
    }
    let _ = buyer.end(error.as_ref()).await;
    while let Some(get) = queue.recv().await {
        let _ = get.reply.send(Err("the session ended".into()));
    }
}

async fn blame(client: &SegmentClient, candidate: &Candidate, error: &BuyError) {
    if let Some((fault, detail)) = error.fault() {
        client.requester.shared.standing.fault(candidate.offer.provider, fault, detail).await;
    }
}

/// Asks for one segment and takes its bytes, in the time that a segment of its size gets; `None` when the provider does not
/// have it.
async fn receive(client: &SegmentClient, buyer: &mut Buyer, get: &Get) -> Result<Option<Bytes>, BuyError> {
    let deadline = Instant::now() + client.requester.shared.settings.time_for(get.bytes);
    buyer.say(&Request::Get { hash: get.hash, max_bytes: get.bytes }).await?;
    let length = match buyer.next_by(deadline).await? {
        Frame::Message(Reply::NotHere { hash }) if hash == get.hash => return Ok(None),
        Frame::Message(Reply::Segment { hash, bytes }) if hash == get.hash => bytes,
        other => return Err(unexpected(&other)),
    };
    if length > get.bytes {
        return Err(BuyError::Nonsense(format!("a segment of {length} bytes")));
    }
    let mut segment = BytesMut::with_capacity(length as usize);
    while (segment.len() as u64) < length {
        let Frame::Chunk(chunk) = buyer.next_by(deadline).await? else {
            return Err(BuyError::Nonsense("a message in the middle of a segment".into()));
        };
        if chunk.is_empty() || segment.len() as u64 + chunk.len() as u64 > length {
            return Err(BuyError::Nonsense("a segment that is longer than announced".into()));
        }
        get.begun.set();
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
