//! How providers of segments have served this node lately, so that those who serve well are asked first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use theta_types::Address;
use tokio::time::Instant;

/// How long a failure puts a provider behind the others; so long again for each one in a row.
const SET_BACK: Duration = Duration::from_secs(60);
/// Failures in a row that count.
const MOST_FAILURES: u32 = 10;
/// Providers that are remembered. When there are more, all are forgotten: it is only an order.
const MOST_KNOWN: usize = 4_096;

/// The providers of one client. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracks {
    known: Arc<Mutex<HashMap<Address, Track>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// Segments that it delivered, so that the work is spread.
    delivered: u64,
    /// Failures since it last was the first to deliver.
    failures: u32,
    failed_at: Option<Instant>,
}

impl Track {
    fn setback(&self, now: Instant) -> u32 {
        let over = self.failed_at.is_none_or(|at| now >= at + SET_BACK * self.failures);
        if over { 0 } else { self.failures }
    }
}

impl Tracks {
    /// It delivered; `in_time` when nobody else had been faster.
    pub fn delivered_one(&self, provider: Address, in_time: bool) {
        let mut known = self.lock();
        let track = known.entry(provider).or_default();
        track.delivered += 1;
        if in_time {
            track.failures = 0;
        }
    }

    /// It broke off, or did not begin to deliver.
    pub fn failed(&self, provider: Address, now: Instant) {
        let mut known = self.lock();
        let track = known.entry(provider).or_default();
        track.failures = (track.failures + 1).min(MOST_FAILURES);
        track.failed_at = Some(now);
    }

    /// It does not have what it was asked for. That is no failure, but asking it costs a moment.
    pub fn missed(&self, provider: Address, now: Instant) {
        let mut known = self.lock();
        let track = known.entry(provider).or_default();
        if track.failures <= 1 {
            (track.failures, track.failed_at) = (1, Some(now));
        }
    }

    /// Sorts: those without a setback first, and among equals those that delivered least.
    pub fn sort<T>(&self, candidates: &mut [T], now: Instant, provider: impl Fn(&T) -> Address) {
        let known = self.lock();
        candidates.sort_by_key(|candidate| {
            let track = known.get(&provider(candidate)).copied().unwrap_or_default();
            (track.setback(now), track.delivered)
        });
    }

    /// Segments that each provider delivered.
    pub fn delivered(&self) -> HashMap<Address, u64> {
        let known = self.lock();
        let delivered = known.iter().filter(|(_, track)| track.delivered > 0);
        delivered.map(|(provider, track)| (*provider, track.delivered)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Track>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST_KNOWN {
            known.clear();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(tracks: &Tracks, now: Instant) -> [u8; 3] {
        let mut all = [1, 2, 3];
        tracks.sort(&mut all, now, |number| Address::repeat_byte(*number));
        all
    }

    #[test]
    fn who_never_delivers_is_not_asked_first_each_time_and_is_forgiven() {
        let (tracks, start) = (Tracks::default(), Instant::now());
        let provider = Address::repeat_byte;
        tracks.delivered_one(provider(2), true);
        assert_eq!(sorted(&tracks, start), [1, 3, 2]);
        tracks.failed(provider(1), start);
        tracks.failed(provider(1), start);
        tracks.missed(provider(3), start);
        assert_eq!(sorted(&tracks, start), [2, 3, 1]);
        // Too late is no proof that it is fast.
        tracks.delivered_one(provider(1), false);
        assert_eq!(sorted(&tracks, start), [2, 3, 1]);
        assert_eq!(sorted(&tracks, start + SET_BACK), [3, 2, 1]);
        assert_eq!(sorted(&tracks, start + SET_BACK * 2), [3, 1, 2]);
        tracks.failed(provider(3), start);
        tracks.delivered_one(provider(3), true);
        assert_eq!(tracks.delivered()[&provider(3)], 1);
        assert_eq!(sorted(&tracks, start), [2, 3, 1]);
    }
}
