//! A stream between two nodes.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use libp2p::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::{
    compat::{Compat, FuturesAsyncReadCompatExt},
    sync::{CancellationToken, WaitForCancellationFutureOwned},
};

use crate::upload_limit::{Allowance, UploadLimit};

/// A reliable, ordered stream of bytes to a peer, encrypted, whose writes keep to the node's [`UploadLimit`].
///
/// When the peer dies, reads and writes fail, or reads end as if the peer had closed its side (TCP tells no difference):
/// a protocol says with its own last message that it is complete. Dropping the stream closes it.
pub struct MeshStream {
    stream: Compat<Stream>,
    allowance: Allowance,
    traffic: Arc<Traffic>,
    pulse: Pulse,
    /// One for each direction, since a reader and a writer may be different tasks.
    dead_to_reader: Death,
    dead_to_writer: Death,
    /// Held by streams that the peer opened, so that their number is bounded.
    _place: Option<Place>,
}

impl MeshStream {
    pub(crate) fn new(
        stream: Stream,
        limit: UploadLimit,
        traffic: Arc<Traffic>,
        pulse: Pulse,
        place: Option<Place>,
    ) -> Self {
        let death = || Box::pin(pulse.dead.clone().cancelled_owned());
        Self {
            stream: stream.compat(),
            allowance: Allowance::new(limit),
            traffic,
            dead_to_reader: death(),
            dead_to_writer: death(),
            pulse,
            _place: place,
        }
    }
}

type Death = Pin<Box<WaitForCancellationFutureOwned>>;

/// What a stream does instead of waiting without end: it fails when its connection is dead.
fn wait<T>(death: &mut Death, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    ready!(death.as_mut().poll(cx));
    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer gives no sign of life")))
}

impl AsyncRead for MeshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => outcome?,
            Poll::Pending => return wait(&mut self.dead_to_reader, cx),
        }
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.traffic.received.fetch_add(count as u64, Ordering::Relaxed);
            self.pulse.beat();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(allowed) = self.allowance.poll_allowed(cx, bytes.len()) else {
            return wait(&mut self.dead_to_writer, cx);
        };
        let count = match Pin::new(&mut self.stream).poll_write(cx, &bytes[..allowed]) {
            Poll::Ready(outcome) => outcome?,
            Poll::Pending => return wait(&mut self.dead_to_writer, cx),
        };
        self.allowance.spend(count);
        self.traffic.sent.fetch_add(count as u64, Ordering::Relaxed);
        self.pulse.beat();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => wait(&mut self.dead_to_writer, cx),
            outcome => outcome,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => wait(&mut self.dead_to_writer, cx),
            outcome => outcome,
        }
    }
}

impl fmt::Debug for MeshStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshStream").finish_non_exhaustive()
    }
}

/// Bytes over all streams since the start.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    pub fn totals(&self) -> TrafficTotals {
        TrafficTotals {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

/// Bytes that a node's streams carried since it started, headers and encryption aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficTotals {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// The signs of life of one connection: bytes on its streams, and pings that came back. Clones are the same connection's.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    since: Instant,
    last_ms: Arc<AtomicU64>,
    dead: CancellationToken,
}

impl Pulse {
    pub fn new() -> Self {
        Self { since: Instant::now(), last_ms: Arc::default(), dead: CancellationToken::new() }
    }

    /// Notes a sign of life.
    pub fn beat(&self) {
        self.last_ms.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the last sign was (or the connection began).
    pub fn quiet_for(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last)
    }

    /// Fails all streams of the connection. A TCP connection to a frozen machine with a full send buffer cannot even be
    /// closed, so its streams do not wait for that.
    pub fn stop(&self) {
        self.dead.cancel();
    }
}

/// Places for streams that a peer opens on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// One taken place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place, if fewer than `limit` are taken.
    pub fn take(&self, limit: usize) -> Option<Place> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= limit {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(self.0.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
