//! The bounded queue in front of the providers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many calls run and wait at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Calls that run at once.
    pub running: usize,
    /// Calls that wait for a place; one more is refused.
    pub waiting: usize,
    /// A call that has waited this long is refused.
    pub longest_wait: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { running: 8, waiting: 64, longest_wait: Duration::from_secs(60) }
    }
}

/// Lets calls in, first come, first served.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: QueueLimits,
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// Running mean of how long a place is held, in milliseconds.
    mean_ms: Arc<AtomicU64>,
}

/// The right to run one call; dropping it lets the next one in.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    entered: Instant,
    mean_ms: Arc<AtomicU64>,
}

/// The queue is full, or the wait was too long: come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls are running and waiting; try again in {retry_after_s} s")]
pub struct QueueFull {
    /// When a place is likely, in seconds.
    pub retry_after_s: u64,
}

/// What `Retry-After` says at most.
const LONGEST_RETRY_S: u64 = 60;
/// How long a call is thought to take before one was seen.
const FIRST_GUESS_MS: u64 = 1_000;

impl Admission {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.running.max(1))),
            waiting: Arc::default(),
            mean_ms: Arc::new(AtomicU64::new(FIRST_GUESS_MS)),
            limits,
        }
    }

    /// Waits for a place. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// The queue is full, or the longest wait is over.
    pub async fn enter(&self) -> Result<Place, QueueFull> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(self.place(permit));
        }
        let _waiting = Waiting::join(&self.waiting, self.limits.waiting).ok_or_else(|| self.full())?;
        match tokio::time::timeout(self.limits.longest_wait, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.place(permit)),
            _ => Err(self.full()),
        }
    }

    /// Calls that run now.
    pub fn running(&self) -> usize {
        self.limits.running.max(1).saturating_sub(self.places.available_permits())
    }

    /// Calls that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place { _permit: permit, entered: Instant::now(), mean_ms: self.mean_ms.clone() }
    }

    fn full(&self) -> QueueFull {
        let ahead = self.waiting() as u64 + 1;
        let milliseconds = self.mean_ms.load(Ordering::Relaxed).saturating_mul(ahead);
        let seconds = milliseconds.div_ceil(1_000 * self.limits.running.max(1) as u64);
        QueueFull { retry_after_s: seconds.clamp(1, LONGEST_RETRY_S) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = u64::try_from(self.entered.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mean = self.mean_ms.load(Ordering::Relaxed);
        self.mean_ms.store((mean / 8).saturating_mul(7).saturating_add(held / 8), Ordering::Relaxed);
    }
}

/// Counts a waiting call for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let one_more = |now: usize| (now < limit).then_some(now + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(running: usize, waiting: usize) -> QueueLimits {
        QueueLimits { running, waiting, longest_wait: Duration::from_millis(50) }
    }

    #[tokio::test]
    async fn one_more_than_fits_is_refused_with_a_time() {
        let admission = Admission::new(limits(1, 0));
        let place = admission.enter().await.unwrap();
        let refused = admission.enter().await.unwrap_err();
        assert!(refused.retry_after_s >= 1);
        drop(place);
        admission.enter().await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_place() {
        let admission = Admission::new(limits(1, 1));
        let place = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter().await.map(drop) }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(admission.enter().await.is_err(), "the queue holds one");
        drop(place);
        second.await.unwrap().unwrap();
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_wait_ends() {
        let admission = Admission::new(limits(1, 1));
        let _place = admission.enter().await.unwrap();
        admission.enter().await.unwrap_err();
        assert_eq!(admission.waiting(), 0);
    }
}
