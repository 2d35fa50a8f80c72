//! What limits leave: how much of a reservation is granted, and why none is.

use std::fmt;

use theta_types::{Wei, format_coins};

use crate::{KeyId, clock::iso_text};

const DAY_MS: i64 = 86_400_000;

/// What one job may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// Who spends.
    pub key: KeyId,
    /// The day that it counts for.
    pub day: Day,
    /// What is asked for, in TFuelWei: the most that the job can cost.
    pub amount: Wei,
    /// With less than this, in TFuelWei, the job is not begun.
    pub least: Wei,
}

/// A reservation's id: random text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReservationId(pub String);

/// A UTC day: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time in Unix milliseconds.
    pub fn of(unix_ms: i64) -> Self {
        Self(unix_ms.div_euclid(DAY_MS))
    }

    /// When it ends, in Unix milliseconds.
    pub fn end_ms(self) -> i64 {
        self.0.saturating_add(1).saturating_mul(DAY_MS)
    }
}

/// Limits that a reservation must fit, in TFuelWei; absent means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendingLimits {
    /// Of the key, for the day.
    pub key_day: Option<Wei>,
    /// Of the key, for its life.
    pub key_total: Option<Wei>,
    /// Of all keys together, for the day.
    pub all_day: Option<Wei>,
}

/// What a key has spent, in TFuelWei; open reservations count in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// On the day that was asked for.
    pub day: Wei,
    /// In the key's life.
    pub total: Wei,
}

/// What counts against each of the [`SpendingLimits`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Of the key, on the day.
    pub key_day: Sums,
    /// Of the key, in its life.
    pub key_total: Sums,
    /// Of all keys, on the day.
    pub all_day: Sums,
}

/// What counts against one limit, in TFuelWei.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// What jobs that ended did cost.
    pub booked: Wei,
    /// What jobs that run may cost.
    pub reserved: Wei,
}

impl SpendingLimits {
    /// How much of a reservation is granted: all that is asked for, or what the tightest limit leaves of it.
    ///
    /// # Errors
    /// A limit leaves less than the reservation's least.
    pub fn grant(&self, wanted: &Reservation, counted: &Counted) -> Result<Wei, SpendingRefused> {
        let mut granted = wanted.amount.clone();
        for (limit, which, sums) in [
            (&self.key_day, SpendingLimit::KeyDay, &counted.key_day),
            (&self.key_total, SpendingLimit::KeyTotal, &counted.key_total),
            (&self.all_day, SpendingLimit::AllDay, &counted.all_day),
        ] {
            let Some(limit) = limit else { continue };
            let unspent = limit.saturating_sub(&sums.booked);
            let left = unspent.saturating_sub(&sums.reserved);
            if left < wanted.least {
                let (least, day) = (wanted.least.clone(), wanted.day);
                return Err(SpendingRefused { limit: which, left, unspent, least, day });
            }
            granted = granted.min(left);
        }
        Ok(granted)
    }
}

/// Which limit is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendingLimit {
    /// The key's, for the day: wait for the next UTC day, or raise it.
    KeyDay,
    /// The key's, for its life: make another key.
    KeyTotal,
    /// The gateway's, for the day: wait for the next UTC day, or raise it.
    AllDay,
}

/// A limit leaves too little for the next job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendingRefused {
    /// The limit.
    pub limit: SpendingLimit,
    /// What it leaves, in TFuelWei.
    pub left: Wei,
    /// The same, if the jobs that run cost nothing.
    pub unspent: Wei,
    /// What the job costs at least, in TFuelWei.
    pub least: Wei,
    /// The day that it would have counted for.
    pub day: Day,
}

impl SpendingRefused {
    /// Whether there would be enough if the jobs that run now cost nothing: they may cost less than they hold.
    pub fn is_held_by_jobs(&self) -> bool {
        self.unspent > self.left && self.unspent >= self.least
    }
}

impl fmt::Display for SpendingRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, left) = match self.limit {
            SpendingLimit::KeyDay => ("this key's spending limit", "left for today"),
            SpendingLimit::KeyTotal => ("this key's spending limit", "left in all"),
            SpendingLimit::AllDay => ("this gateway's spending limit", "left for today"),
        };
        let (amount, least) = (format_coins(&self.left), format_coins(&self.least));
        write!(f, "{limit} has {amount} TFUEL {left}, and this costs at least {least} TFUEL")?;
        if self.unspent > self.left {
            let held = format_coins(&self.unspent.saturating_sub(&self.left));
            write!(
                f,
                "; {held} TFUEL are held for calls that still run, and what they do not use comes back"
            )?;
        }
        match self.limit {
            SpendingLimit::KeyDay | SpendingLimit::AllDay => {
                write!(f, "; it starts anew at midnight UTC, {}", iso_text(self.day.end_ms()))
            }
            SpendingLimit::KeyTotal => f.write_str("; ask the gateway's owner for another key"),
        }
    }
}

impl std::error::Error for SpendingRefused {}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(least: u64, amount: u64) -> Reservation {
        Reservation {
            id: ReservationId("r".into()),
            key: KeyId::random(),
            day: Day(19_675),
            amount: Wei::from(amount),
            least: Wei::from(least),
        }
    }

    fn sums(booked: u64, reserved: u64) -> Sums {
        Sums { booked: Wei::from(booked), reserved: Wei::from(reserved) }
    }

    fn limit(amount: u64) -> Option<Wei> {
        Some(Wei::from(amount))
    }

    #[test]
    fn what_is_left_under_the_tightest_limit_is_granted() {
        let counted = Counted { key_day: sums(2, 3), key_total: sums(20, 3), all_day: sums(50, 0) };
        let limits = SpendingLimits { key_day: limit(10), key_total: limit(27), all_day: limit(60) };
        for (asked, granted) in [(3, 3), (4, 4), (500, 4)] {
            assert_eq!(limits.grant(&wanted(1, asked), &counted), Ok(Wei::from(granted as u64)));
        }
        assert_eq!(SpendingLimits::default().grant(&wanted(1, 500), &counted), Ok(Wei::from(500u64)));
    }

    #[test]
    fn less_than_the_least_is_refused_with_what_is_left_and_when_it_starts_anew() {
        let tfuel = |milli: u64| Wei::from(1_000_000_000_000_000u64) * milli;
        let limits = SpendingLimits { key_day: Some(tfuel(5_000)), ..SpendingLimits::default() };
        let wanted = Reservation { least: tfuel(50), amount: tfuel(25_850), ..wanted(0, 0) };
        let booked = |booked, reserved| Counted {
            key_day: Sums { booked: tfuel(booked), reserved: tfuel(reserved) },
            ..Counted::default()
        };
        assert_eq!(limits.grant(&wanted, &booked(4_950, 0)), Ok(tfuel(50)));
        let refused = limits.grant(&wanted, &booked(4_975, 0)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this key's spending limit has 0.025 TFUEL left for today, and this costs at least 0.05 TFUEL; \
             it starts anew at midnight UTC, 2023-11-15T00:00:00.000Z"
        );
        assert!(!refused.is_held_by_jobs());
        let held = limits.grant(&wanted, &booked(1_000, 4_000)).unwrap_err();
        assert!(held.is_held_by_jobs());
        assert!(held.to_string().contains("4 TFUEL are held for calls that still run"), "{held}");
        // A limit that was lowered below what was spent leaves nothing, and is no error.
        assert_eq!(limits.grant(&wanted, &booked(9_000, 0)).unwrap_err().left, Wei::zero());
    }
}
