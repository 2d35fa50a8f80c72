//! How long to wait before a worker that died is started again.

use std::time::Duration;

/// Pauses that double from one second to one minute, and start over after a worker lived well.
#[derive(Clone, Debug, Default)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The longest pause.
    pub const LONGEST: Duration = Duration::from_secs(60);
    /// A worker that lived this long starts over.
    pub const HEALTHY: Duration = Duration::from_secs(60);

    /// The pause after a worker died that had lived for `lived`.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= Self::HEALTHY {
            self.failures = 0;
        }
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_start_over_after_a_healthy_life() {
        let mut back_off = BackOff::default();
        let seconds: Vec<u64> = (0..8).map(|_| back_off.after(Duration::ZERO).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off.after(BackOff::HEALTHY).as_secs(), 1);
    }
}
