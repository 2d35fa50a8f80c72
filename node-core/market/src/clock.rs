//! Time, passed in.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the market takes the time of day from. Tests give their own.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Seconds since 1970 in UTC.
    fn unix_seconds(&self) -> u64;
}

/// The machine's clock. A clock before 1970 reads as 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    }
}

/// Seconds of a day; limits and summaries count days in UTC.
pub(crate) const DAY_SECONDS: u64 = 86_400;
