//! Hours of the week in which work is taken.

use serde::{Deserialize, Serialize};

/// Spans of the week; work is taken inside any of them, and always when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedule(pub Vec<Hours>);

/// A span of hours on some days. It may pass midnight; it then belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The days on which it begins.
    pub days: Vec<Weekday>,
    /// Its first minute, `"HH:MM"`.
    #[serde(with = "clock_text")]
    pub from: u16,
    /// The minute after its last, `"HH:MM"`; equal to `from` means the whole day.
    #[serde(with = "clock_text")]
    pub to: u16,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    /// The day before.
    pub fn yesterday(self) -> Self {
        match self {
            Weekday::Mon => Weekday::Sun,
            Weekday::Tue => Weekday::Mon,
            Weekday::Wed => Weekday::Tue,
            Weekday::Thu => Weekday::Wed,
            Weekday::Fri => Weekday::Thu,
            Weekday::Sat => Weekday::Fri,
            Weekday::Sun => Weekday::Sat,
        }
    }
}

/// A moment of the week on this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The day.
    pub weekday: Weekday,
    /// Minutes since midnight, 0 to 1439.
    pub minute_of_day: u16,
}

impl Schedule {
    /// Whether work is taken at this moment.
    pub fn allows(&self, now: LocalTime) -> bool {
        self.0.is_empty() || self.0.iter().any(|hours| hours.contains(now))
    }
}

impl Hours {
    fn contains(&self, now: LocalTime) -> bool {
        let today = self.days.contains(&now.weekday);
        let minute = now.minute_of_day;
        if self.from < self.to {
            today && (self.from..self.to).contains(&minute)
        } else if self.from == self.to {
            today
        } else {
            (today && minute >= self.from)
                || (self.days.contains(&now.weekday.yesterday()) && minute < self.to)
        }
    }
}

mod clock_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(minute: &u16, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", minute / 60, minute % 60))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text)
            .ok_or_else(|| D::Error::custom(format!("a time is \"HH:MM\" from 00:00 to 23:59, not {text:?}")))
    }

    fn parse(text: &str) -> Option<u16> {
        let (hour, minute) = text.split_once(':')?;
        let two = |part: &str| {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())?
        };
        let (hour, minute) = (two(hour)?, two(minute)?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(weekday: Weekday, hour: u16, minute: u16) -> LocalTime {
        LocalTime { weekday, minute_of_day: hour * 60 + minute }
    }

    #[derive(Deserialize, Serialize)]
    struct File {
        schedule: Schedule,
    }

    fn schedule(text: &str) -> Schedule {
        toml::from_str::<File>(&format!("schedule = [{text}]")).unwrap().schedule
    }

    #[test]
    fn no_hours_means_always() {
        assert!(Schedule::default().allows(at(Weekday::Wed, 3, 0)));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let nights = schedule(r#"{ days = ["fri"], from = "22:00", to = "06:00" }"#);
        assert!(!nights.allows(at(Weekday::Fri, 21, 59)));
        assert!(nights.allows(at(Weekday::Fri, 22, 0)));
        assert!(nights.allows(at(Weekday::Sat, 5, 59)));
        assert!(!nights.allows(at(Weekday::Sat, 6, 0)));
        assert!(!nights.allows(at(Weekday::Fri, 5, 0)));
    }

    #[test]
    fn equal_ends_mean_the_whole_day() {
        let sundays = schedule(r#"{ days = ["sun"], from = "00:00", to = "00:00" }"#);
        assert!(sundays.allows(at(Weekday::Sun, 23, 59)));
        assert!(!sundays.allows(at(Weekday::Mon, 0, 0)));
    }

    #[test]
    fn times_that_are_no_times_are_refused() {
        for time in ["24:00", "12:60", "1:00", "12", "", "ab:cd"] {
            let text = format!(r#"schedule = [{{ days = [], from = "{time}", to = "00:00" }}]"#);
            assert!(toml::from_str::<File>(&text).is_err(), "{time}");
        }
    }
}
