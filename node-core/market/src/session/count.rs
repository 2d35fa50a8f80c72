//! How units are counted. Both sides count alike, each for itself.

use std::collections::BTreeMap;

use edge_jobs::{TOKENS_PER_UNIT, TRANSCODE_UNIT_MS};

/// Segments end on a frame, not on the millisecond: this much early still counts as the unit's end.
const TOLERANCE_MS: u64 = TRANSCODE_UNIT_MS / 8;

/// Units of a chat with so many completion tokens; a last, smaller group counts whole.
pub fn chat_units(tokens: u64) -> u64 {
    tokens.div_ceil(TOKENS_PER_UNIT)
}

/// Units of a whole transcode of so many milliseconds; a last, smaller piece counts whole.
pub fn transcode_units(source_ms: u64) -> u64 {
    source_ms.div_ceil(TRANSCODE_UNIT_MS)
}

/// How many segments, of these lengths in milliseconds, the first `units` units of a ladder need.
pub fn segments_of_units(lengths: impl IntoIterator<Item = u64>, units: u64) -> usize {
    let wanted_ms = units.saturating_mul(TRANSCODE_UNIT_MS).saturating_sub(TOLERANCE_MS);
    let mut done_ms = 0u64;
    lengths
        .into_iter()
        .take_while(|length| {
            let needed = done_ms < wanted_ms;
            done_ms = done_ms.saturating_add(*length);
            needed
        })
        .count()
}

/// Counts a ladder's units as its segments come: a unit is complete when every rendition has it. Of the tail of a ladder
/// that another provider began, the count is of the tail alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LadderCount {
    source_ms: u64,
    done_ms: BTreeMap<String, u64>,
    complete: bool,
}

impl LadderCount {
    /// A count for `source_ms` of source, of these renditions.
    pub fn new(source_ms: u64, renditions: impl IntoIterator<Item = String>) -> Self {
        let done_ms = renditions.into_iter().map(|name| (name, 0)).collect();
        Self { source_ms, done_ms, complete: false }
    }

    /// Where the next segment of a rendition begins, in milliseconds; `None` for an unknown rendition.
    pub fn start_of_next(&self, rendition: &str) -> Option<u64> {
        self.done_ms.get(rendition).copied()
    }

    /// Units that must be paid before a segment that begins at `start_ms` goes out.
    pub fn units_before(&self, start_ms: u64) -> u64 {
        self.whole_units(start_ms)
    }

    /// Counts the next segment of a rendition. False for an unknown rendition, which counts nothing.
    pub fn add(&mut self, rendition: &str, duration_ms: u64) -> bool {
        match self.done_ms.get_mut(rendition) {
            Some(done) => {
                *done = done.saturating_add(duration_ms);
                true
            }
            None => false,
        }
    }

    /// All segments have been counted.
    pub fn finish(&mut self) {
        self.complete = true;
    }

    /// Units that every rendition has. The last one is complete only when all segments have been counted, so that it can
    /// be held back until the whole ladder is checked.
    pub fn units(&self) -> u64 {
        if self.complete {
            return transcode_units(self.source_ms);
        }
        let slowest = self.done_ms.values().min().copied().unwrap_or(0);
        self.whole_units(slowest)
    }

    fn whole_units(&self, ms: u64) -> u64 {
        let before_the_last = transcode_units(self.source_ms).saturating_sub(1);
        (ms.saturating_add(TOLERANCE_MS) / TRANSCODE_UNIT_MS).min(before_the_last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_smaller_group_counts_whole() {
        assert_eq!([0, 1, 16, 17, 32].map(chat_units), [0, 1, 1, 2, 2]);
        assert_eq!([0, 1, 2_000, 5_300].map(transcode_units), [0, 1, 1, 3]);
    }

    #[test]
    fn a_unit_is_complete_when_the_slowest_rendition_has_it() {
        let mut count = LadderCount::new(5_300, ["360p".to_owned(), "720p".to_owned()]);
        assert!(count.add("360p", 2_000) && count.add("360p", 1_999));
        assert_eq!(count.units(), 0);
        assert!(count.add("720p", 2_002));
        assert_eq!(count.units(), 1);
        assert!(!count.add("1080p", 2_000));
        count.add("720p", 1_998);
        assert_eq!(count.units(), 2);
        count.add("720p", 1_300);
        assert_eq!(count.units(), 2);
        count.finish();
        assert_eq!(count.units(), 3);
    }

    #[test]
    fn a_unit_needs_the_segments_that_complete_it() {
        let broadcast = || std::iter::repeat_n(2_002, 2_000);
        assert_eq!([0, 1, 2, 500].map(|units| segments_of_units(broadcast(), units)), [0, 1, 2, 500]);
        // By then the units are two ahead.
        assert_eq!(segments_of_units(broadcast(), 2_002), 2_000);
        assert_eq!(segments_of_units([1_900, 1_900, 1_900], 2), 2);
        assert_eq!(segments_of_units([1_700, 1_700, 1_700], 2), 3);
        assert_eq!(segments_of_units([6_000], 2), 1);
    }

    proptest! {
        /// What is kept for the units that are paid is never less than what they were paid for.
        #[test]
        fn the_segments_of_paid_units_complete_them(
            lengths in proptest::collection::vec(1u64..7_000, 1..60),
        ) {
            let whole: u64 = lengths.iter().sum();
            let mut count = LadderCount::new(whole, ["a".to_owned()]);
            for length in &lengths {
                count.add("a", *length);
                let needed = segments_of_units(lengths.iter().copied(), count.units());
                let mut again = LadderCount::new(whole, ["a".to_owned()]);
                lengths[..needed].iter().for_each(|length| { again.add("a", *length); });
                prop_assert_eq!(again.units(), count.units());
            }
        }

        /// Whatever the lengths of the segments: the slowest rendition's next segment may always go out once what is due
        /// is paid, so the two sides never wait for each other; and no more is due than the source is long.
        #[test]
        fn what_is_due_lets_the_slowest_go_on(
            lengths in proptest::collection::vec((0usize..3, 1u64..7_000), 0..60),
            source_ms in 1u64..120_000,
        ) {
            let names = ["a", "b", "c"];
            let mut count = LadderCount::new(source_ms, names.map(str::to_owned));
            let mut last = 0;
            for (rendition, length) in lengths {
                count.add(names[rendition], length);
                let due = count.units();
                prop_assert!(due >= last && due < transcode_units(source_ms));
                last = due;
                let slowest = names.iter().filter_map(|name| count.start_of_next(name)).min().unwrap();
                prop_assert!(count.units_before(slowest) <= due);
            }
        }
    }
}
