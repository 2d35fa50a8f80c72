//! How fast the node may send, over all its streams.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// A limit on the bytes per second that all streams of a node send together; none means as fast as it goes.
///
/// Streams wait in one line: each takes a slot of about 20 ms of the allowed rate, sends it when its time has come,
/// and queues again, so none starves. Short messages (a voucher, a request) may go a little ahead of their slot; they are
/// charged all the same. Clones are the same limit. Without a limit a write costs one atomic load.
#[derive(Clone)]
pub struct UploadLimit {
    shared: Arc<Shared>,
}

struct Shared {
    rate: watch::Sender<Option<u64>>,
    /// The rate again, so that the unlimited case takes no lock; [`UNLIMITED`] for none.
    fast_rate: AtomicU64,
    line: Mutex<Line>,
}

const UNLIMITED: u64 = u64::MAX;
/// Writes up to this size may go ahead of their slot, by no more than [`AHEAD`].
const SHORT_MESSAGE: usize = 1024;
const AHEAD: Duration = Duration::from_millis(250);
/// Time without writes that may be made up for, so that late timers do not lower the rate.
const SLACK: Duration = Duration::from_millis(50);
const MIN_SLOT_BYTES: u64 = 1024;
const MAX_SLOT_BYTES: u64 = 64 * 1024;
const SLOTS_PER_SECOND: u64 = 50;

impl UploadLimit {
    /// A limit in bytes per second. `Some(0)` sends nothing until it is changed.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            shared: Arc::new(Shared {
                rate: watch::Sender::new(bytes_per_second),
                fast_rate: AtomicU64::new(bytes_per_second.unwrap_or(UNLIMITED)),
                line: Mutex::new(Line { free_at: Instant::now() }),
            }),
        }
    }

    /// Changes the limit for all streams at once, those that wait included.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.line().free_at = Instant::now();
        self.shared.fast_rate.store(bytes_per_second.unwrap_or(UNLIMITED), Ordering::Relaxed);
        self.shared.rate.send_replace(bytes_per_second);
    }

    /// The limit in bytes per second.
    pub fn get(&self) -> Option<u64> {
        match self.shared.fast_rate.load(Ordering::Relaxed) {
            UNLIMITED => None,
            rate => Some(rate),
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A line is two words that are always valid, whoever panicked while holding it.
        self.shared.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for UploadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UploadLimit").field(&self.get()).finish()
    }
}

/// The line of slots: when the next byte may go.
struct Line {
    free_at: Instant,
}

/// A place in the line: how many bytes, and when; `None` for at once.
struct Slot {
    bytes: usize,
    begins: Option<Instant>,
}

impl Line {
    /// Takes the next slot for a write of `wanted` bytes, at `rate` (not zero) bytes per second.
    fn take_slot(&mut self, wanted: usize, rate: u64, now: Instant) -> Slot {
        let most = (rate / SLOTS_PER_SECOND).clamp(MIN_SLOT_BYTES, MAX_SLOT_BYTES) as usize;
        let bytes = wanted.min(most);
        let begins = self.free_at.max(now.checked_sub(SLACK).unwrap_or(now));
        self.free_at = begins + Duration::from_secs_f64(bytes as f64 / rate as f64);
        let ahead = if wanted <= SHORT_MESSAGE { AHEAD } else { Duration::ZERO };
        Slot { bytes, begins: (begins > now + ahead).then_some(begins) }
    }
}

/// One stream's place in the line.
pub(crate) struct Allowance {
    limit: UploadLimit,
    granted: usize,
    waiting: Option<Pin<Box<dyn Future<Output = usize> + Send>>>,
}

impl Allowance {
    pub fn new(limit: UploadLimit) -> Self {
        Self { limit, granted: 0, waiting: None }
    }

    /// How many of `wanted` bytes may be written now; never zero when `wanted` is not.
    pub fn poll_allowed(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        loop {
            let Some(rate) = self.limit.get() else {
                self.granted = 0;
                self.waiting = None;
                return Poll::Ready(wanted);
            };
            if let Some(waiting) = &mut self.waiting {
                self.granted += ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                continue;
            }
            if self.granted > 0 || wanted == 0 {
                return Poll::Ready(wanted.min(self.granted));
            }
            self.queue(rate, wanted);
        }
    }

    /// Says how many of the allowed bytes were written.
    pub fn spend(&mut self, written: usize) {
        self.granted = self.granted.saturating_sub(written);
    }

    fn queue(&mut self, rate: u64, wanted: usize) {
        let mut changed = self.limit.shared.rate.subscribe();
        if rate == 0 {
            self.waiting = Some(Box::pin(async move {
                // The limit outlives its streams, so the error (it is gone) cannot happen; it would end the wait.
                let _ = changed.wait_for(|rate| *rate != Some(0)).await;
                0
            }));
            return;
        }
        let Slot { bytes, begins } = self.limit.line().take_slot(wanted, rate, Instant::now());
        let Some(begins) = begins else {
            self.granted = bytes;
            return;
        };
        self.waiting = Some(Box::pin(async move {
            tokio::select! {
                () = sleep_until(begins) => bytes,
                // The line starts anew with another rate: queue again.
                _ = changed.changed() => 0,
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// How many bytes each of `streams` streams that always have `chunk` bytes to write sends in ten seconds. A stream sends its
    /// slot when it begins and queues again a millisecond late, as timers are.
    fn sent(rate: u64, streams: usize, chunk: usize) -> Vec<u64> {
        let start = Instant::now();
        let end = start + Duration::from_secs(10);
        let mut line = Line { free_at: start };
        let mut totals = vec![0; streams];
        let mut turns: Vec<Instant> = vec![start; streams];
        loop {
            let Some((stream, now)) = turns.iter().copied().enumerate().min_by_key(|(_, turn)| *turn) else {
                return totals;
            };
            if now >= end {
                return totals;
            }
            let slot = line.take_slot(chunk, rate, now);
            turns[stream] = slot
                .begins
                .map_or(now + Duration::from_micros(1), |begins| begins + Duration::from_millis(1));
            if turns[stream] < end {
                totals[stream] += slot.bytes as u64;
            }
        }
    }

    #[test]
    fn streams_share_the_limit_evenly_and_within_three_percent() {
        for rate in [100_000, 2_000_000, 100_000_000] {
            let totals = sent(rate, 8, 256 * 1024);
            let ratio = totals.iter().sum::<u64>() as f64 / (rate * 10) as f64;
            assert!((0.97..1.03).contains(&ratio), "{rate}: {ratio}");
            let (least, most) = (totals.iter().min().unwrap(), totals.iter().max().unwrap());
            assert!(*most as f64 / (*least as f64) < 1.2, "{rate}: {totals:?}");
        }
    }

    #[test]
    fn many_short_messages_do_not_get_round_the_limit() {
        let total: u64 = sent(100_000, 20, 200).iter().sum();
        assert!((950_000..1_050_000).contains(&total), "{total}");
    }

    #[test]
    fn a_short_message_passes_a_full_line_and_a_long_one_waits() {
        let (rate, now) = (1_000_000, Instant::now());
        let mut line = Line { free_at: now + Duration::from_millis(160) };
        assert_eq!(line.take_slot(100, rate, now).begins, None);
        assert!(line.take_slot(5000, rate, now).begins.is_some());
    }

    #[tokio::test]
    async fn a_change_wakes_those_who_wait() {
        let limit = UploadLimit::new(Some(0));
        let mut allowance = Allowance::new(limit.clone());
        let waiting = tokio::spawn(async move { poll_fn(|cx| allowance.poll_allowed(cx, 5000)).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        limit.set(None);
        assert_eq!(waiting.await.unwrap(), 5000);
    }

    #[tokio::test]
    async fn what_is_allowed_and_not_written_stays_allowed() {
        let limit = UploadLimit::new(Some(1_000_000));
        let mut allowance = Allowance::new(limit);
        let allowed = poll_fn(|cx| allowance.poll_allowed(cx, 5000)).await;
        allowance.spend(allowed - 10);
        assert_eq!(poll_fn(|cx| allowance.poll_allowed(cx, 5000)).await, 10);
    }
}
