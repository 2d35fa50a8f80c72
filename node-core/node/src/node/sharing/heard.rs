//! What is remembered of streams that were announced, so that none is fetched again and again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use edge_streams::StreamId;

/// Streams that are remembered; those that were announced longest ago go first.
const MOST: usize = 4_096;
/// The pause after a failure; so long again for each one in a row.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// A stream that made room for others is not fetched again for this long: when more is published than a cache holds, streams
/// would push each other out for ever.
const AFTER_EVICTION: Duration = Duration::from_secs(6 * 3_600);
/// A creator that was not heard for this long has left: it announces its streams every 15 s.
const CREATOR_SILENT: Duration = Duration::from_secs(60);
/// A creator gets this long to be heard of before others are paid for its stream.
const CREATOR_EXPECTED: Duration = Duration::from_secs(20);

/// The streams that were announced.
#[derive(Debug, Default)]
pub(super) struct Heard {
    streams: HashMap<StreamId, Entry>,
}

#[derive(Debug)]
struct Entry {
    first: Instant,
    last: Instant,
    creator: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Heard {
    /// It was announced; `by_creator` by a node of its creator's.
    pub fn announced(&mut self, id: StreamId, by_creator: bool, now: Instant) {
        let entry = self.entry(id, now);
        entry.last = now;
        if by_creator {
            entry.creator = Some(now);
        }
    }

    /// Whether it may be tried now.
    pub fn may_try(&self, id: StreamId, now: Instant) -> bool {
        let not_before = self.streams.get(&id).and_then(|entry| entry.not_before);
        not_before.is_none_or(|not_before| now >= not_before)
    }

    /// Whether the creator had its time and is silent.
    pub fn creator_has_left(&self, id: StreamId, now: Instant) -> bool {
        self.streams.get(&id).is_some_and(|entry| {
            now.saturating_duration_since(entry.first) >= CREATOR_EXPECTED
                && entry.creator.is_none_or(|heard| now.saturating_duration_since(heard) >= CREATOR_SILENT)
        })
    }

    /// It could not be fetched whole.
    pub fn failed(&mut self, id: StreamId, now: Instant) {
        let entry = self.entry(id, now);
        entry.failures = entry.failures.saturating_add(1);
        entry.not_before = Some(now + (PAUSE * entry.failures.min(1_000)).min(LONGEST_PAUSE));
    }

    /// It is here, or it was: when it is found missing, it made room for others.
    pub fn fetched(&mut self, id: StreamId, now: Instant) {
        let entry = self.entry(id, now);
        (entry.failures, entry.not_before) = (0, Some(now + AFTER_EVICTION));
    }

    fn entry(&mut self, id: StreamId, now: Instant) -> &mut Entry {
        if self.streams.len() >= MOST && !self.streams.contains_key(&id) {
            let oldest = self.streams.iter().min_by_key(|(_, entry)| entry.last).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.streams.remove(&oldest);
            }
        }
        let new = Entry { first: now, last: now, creator: None, failures: 0, not_before: None };
        self.streams.entry(id).or_insert(new)
    }
}

#[cfg(test)]
mod tests {
    use theta_types::Address;

    use super::*;

    fn id(number: u32) -> StreamId {
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        StreamId::derive(&Address::repeat_byte(1), &nonce)
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_evicted_streams_hours_later() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        heard.announced(id(1), true, now);
        assert!(heard.may_try(id(1), now));
        heard.failed(id(1), now);
        assert!(!heard.may_try(id(1), now + Duration::from_secs(29)));
        heard.failed(id(1), now + PAUSE);
        assert!(!heard.may_try(id(1), now + PAUSE * 2) && heard.may_try(id(1), now + PAUSE * 3));
        heard.fetched(id(1), now);
        assert!(
            !heard.may_try(id(1), now + AFTER_EVICTION / 2) && heard.may_try(id(1), now + AFTER_EVICTION)
        );
        for _ in 0..10_000 {
            heard.failed(id(2), now);
        }
        assert!(heard.may_try(id(2), now + LONGEST_PAUSE));
    }

    #[test]
    fn nobody_else_is_paid_while_the_creator_is_expected_or_was_just_heard() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        heard.announced(id(1), false, now);
        assert!(!heard.creator_has_left(id(1), now + CREATOR_EXPECTED / 2));
        assert!(heard.creator_has_left(id(1), now + CREATOR_EXPECTED));
        heard.announced(id(1), true, now + CREATOR_EXPECTED);
        assert!(!heard.creator_has_left(id(1), now + CREATOR_EXPECTED * 2));
        assert!(heard.creator_has_left(id(1), now + CREATOR_EXPECTED + CREATOR_SILENT));
    }

    #[test]
    fn a_flood_of_announcements_is_bounded() {
        let (mut heard, now) = (Heard::default(), Instant::now());
        for number in 0..MOST as u32 + 10 {
            heard.announced(id(number), false, now + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(heard.streams.len(), MOST);
        assert!(!heard.streams.contains_key(&id(0)) && heard.streams.contains_key(&id(10)));
    }
}
