//! The time of day, as the node needs it.

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::settings::{LocalTime, Weekday};

/// Seconds since 1970, UTC.
pub fn unix_seconds() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// A Unix time in seconds as this machine's clock shows it, e.g. `2026-03-01 14:05`.
pub fn local_text(unix_seconds: u64) -> String {
    let moment = i64::try_from(unix_seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    match moment {
        Some(moment) => TimeZone::system().to_datetime(moment).strftime("%Y-%m-%d %H:%M").to_string(),
        None => "the end of time".into(),
    }
}

/// The moment of the week on this machine's clock.
pub fn local_time() -> LocalTime {
    let now = TimeZone::system().to_datetime(Timestamp::now());
    let weekday = match now.weekday() {
        civil::Weekday::Monday => Weekday::Mon,
        civil::Weekday::Tuesday => Weekday::Tue,
        civil::Weekday::Wednesday => Weekday::Wed,
        civil::Weekday::Thursday => Weekday::Thu,
        civil::Weekday::Friday => Weekday::Fri,
        civil::Weekday::Saturday => Weekday::Sat,
        civil::Weekday::Sunday => Weekday::Sun,
    };
    // Neither is ever negative.
    let minute_of_day = now.hour().unsigned_abs() as u16 * 60 + now.minute().unsigned_abs() as u16;
    LocalTime { weekday, minute_of_day }
}
