//! Frame rates: what a file's time stamps say, and what the ladder makes of it.

use std::time::Duration;

/// Seconds of video in a segment, and between two key frames, rounded to whole frames.
pub const SEGMENT_SECONDS: u64 = 2;

/// The ladder's slowest and fastest frame rates. Slower sources repeat frames, so that a segment has some; faster
/// ones lose every second frame, as no screen of a viewer shows more.
const SLOWEST: f64 = 5.0;
const FASTEST: f64 = 60.5;

/// Rates that cameras, films and screens have.
const USUAL: [FrameRate; 11] = [
    FrameRate { frames: 12, per_seconds: 1 },
    FrameRate { frames: 15, per_seconds: 1 },
    FrameRate { frames: 20, per_seconds: 1 },
    FrameRate { frames: 24_000, per_seconds: 1_001 },
    FrameRate { frames: 24, per_seconds: 1 },
    FrameRate { frames: 25, per_seconds: 1 },
    FrameRate { frames: 30_000, per_seconds: 1_001 },
    FrameRate { frames: 30, per_seconds: 1 },
    FrameRate { frames: 50, per_seconds: 1 },
    FrameRate { frames: 60_000, per_seconds: 1_001 },
    FrameRate { frames: 60, per_seconds: 1 },
];

/// Frames per second as an exact fraction, e.g. 30000/1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// So many frames ...
    pub frames: u32,
    /// ... in so many seconds; not 0.
    pub per_seconds: u32,
}

impl FrameRate {
    /// A rate in lowest terms; `None` if either part is 0.
    pub fn new(frames: u32, per_seconds: u32) -> Option<Self> {
        let divisor = greatest_common_divisor(frames, per_seconds);
        (frames > 0 && per_seconds > 0)
            .then(|| Self { frames: frames / divisor, per_seconds: per_seconds / divisor })
    }

    /// Frames per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.per_seconds)
    }

    /// How long a frame is shown, in seconds.
    pub fn frame_seconds(self) -> f64 {
        self.per_second().recip()
    }

    /// Frames of a whole segment: the whole number nearest to [`SEGMENT_SECONDS`], e.g. 60 at 29.97.
    pub fn frames_per_segment(self) -> u32 {
        (self.per_second() * SEGMENT_SECONDS as f64).round().max(1.0) as u32
    }

    /// How long a whole segment lasts.
    pub fn segment_duration(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.frames_per_segment()) * self.frame_seconds())
    }

    /// When the segment `index` starts, in nanoseconds from the first frame.
    pub fn segment_start_ns(self, index: u32) -> u64 {
        let frames = u128::from(index) * u128::from(self.frames_per_segment());
        let ns = frames * 1_000_000_000 * u128::from(self.per_seconds) / u128::from(self.frames.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// The rate that the ladder is made at: this one, doubled or halved into what segments and screens can use.
    pub fn for_ladder(self) -> Self {
        // A stranger's fraction may be too fine to be doubled; thousandths do for those.
        let rough =
            Self { frames: (self.per_second() * 1000.0).clamp(1.0, 1e8).round() as u32, per_seconds: 1000 };
        let mut rate = if self.frames.max(self.per_seconds) > 1_000_000 { rough } else { self };
        while rate.per_second() < SLOWEST {
            rate.frames *= 2;
        }
        while rate.per_second() > FASTEST {
            rate.per_seconds *= 2;
        }
        Self::new(rate.frames, rate.per_seconds).unwrap_or(rate)
    }

    fn nearest_usual(per_second: f64) -> Self {
        let distance = |rate: &FrameRate| (rate.per_second() / per_second).ln().abs();
        USUAL.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(USUAL[5])
    }
}

/// How a file's frames follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Evenly, at this rate.
    Constant(FrameRate),
    /// Unevenly; made even at this rate, the usual one nearest to the most common distance.
    Variable(FrameRate),
}

impl Pace {
    /// Measures the pace of frames shown at `times` (nanoseconds, ascending). `stated` is the container's word; it
    /// is taken where the time stamps agree with it, as they are often rounded to milliseconds.
    pub fn of(times: &[u64], stated: Option<FrameRate>) -> Self {
        let mut distances: Vec<u64> = times
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]))
            .filter(|distance| *distance > 0)
            .collect();
        distances.sort_unstable();
        let Some(&middle) = distances.get(distances.len() / 2) else {
            return Self::Constant(stated.unwrap_or(FrameRate { frames: 25, per_seconds: 1 }));
        };
        // Containers round to milliseconds, so a step of one is no sign of unevenness.
        let slack = (middle / 33).max(1_100_000);
        let steady: Vec<u64> =
            distances.iter().copied().filter(|distance| distance.abs_diff(middle) <= slack).collect();
        if steady.len() * 20 < distances.len() * 19 {
            let usual = FrameRate::nearest_usual(1e9 / middle as f64);
            let rate = stated.filter(|stated| close(stated.per_second(), usual.per_second(), 0.002));
            return Self::Variable(rate.unwrap_or(usual));
        }
        let measured = 1e9 * steady.len() as f64 / steady.iter().sum::<u64>() as f64;
        if let Some(stated) = stated.filter(|stated| close(stated.per_second(), measured, 0.01)) {
            return Self::Constant(stated);
        }
        let usual = FrameRate::nearest_usual(measured);
        let exact = FrameRate::new((measured * 1000.0).round() as u32, 1000);
        match exact {
            Some(exact) if !close(usual.per_second(), measured, 0.005) => Self::Constant(exact),
            _ => Self::Constant(usual),
        }
    }

    /// The rate, even or made even.
    pub fn rate(self) -> FrameRate {
        match self {
            Self::Constant(rate) | Self::Variable(rate) => rate,
        }
    }
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a / b - 1.0).abs() < tolerance
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(frames: u32, per_seconds: u32) -> FrameRate {
        FrameRate::new(frames, per_seconds).unwrap()
    }

    fn even_times(rate: FrameRate, count: u64) -> Vec<u64> {
        (0..count).map(|i| i * 1_000_000_000 * u64::from(rate.per_seconds) / u64::from(rate.frames)).collect()
    }

    #[test]
    fn a_segment_has_the_whole_number_of_frames_nearest_to_two_seconds() {
        for (rate, frames) in [
            (rate(24, 1), 48),
            (rate(25, 1), 50),
            (rate(30_000, 1_001), 60),
            (rate(24_000, 1_001), 48),
            (rate(60, 1), 120),
            (rate(15, 2), 15),
        ] {
            assert_eq!(rate.frames_per_segment(), frames, "{rate:?}");
        }
        assert_eq!(rate(30_000, 1_001).segment_duration(), Duration::from_micros(2_002_000));
    }

    #[test]
    fn segments_start_where_whole_frames_do_however_late() {
        assert_eq!(rate(25, 1).segment_start_ns(3), 6_000_000_000);
        assert_eq!(rate(30_000, 1_001).segment_start_ns(0), 0);
        assert_eq!(rate(30_000, 1_001).segment_start_ns(20_000), 40_040_000_000_000);
    }

    #[test]
    fn film_and_broadcast_rates_are_told_apart_without_the_containers_word() {
        for usual in USUAL {
            assert_eq!(Pace::of(&even_times(usual, 300), None), Pace::Constant(usual));
        }
    }

    #[test]
    fn times_rounded_to_milliseconds_are_still_even() {
        for usual in USUAL {
            let rounded: Vec<u64> =
                even_times(usual, 300).iter().map(|t| t / 1_000_000 * 1_000_000).collect();
            assert_eq!(Pace::of(&rounded, Some(usual)), Pace::Constant(usual));
        }
    }

    #[test]
    fn dropped_frames_make_a_variable_rate_and_its_nominal_one_is_kept() {
        let times: Vec<u64> = even_times(rate(30, 1), 300)
            .into_iter()
            .enumerate()
            .filter(|(index, _)| index % 30 < 20 || index % 7 == 0)
            .map(|(_, time)| time)
            .collect();
        assert_eq!(Pace::of(&times, Some(rate(43, 2))), Pace::Variable(rate(30, 1)));
    }

    #[test]
    fn odd_rates_are_kept_and_extreme_ones_brought_into_range() {
        assert_eq!(Pace::of(&even_times(rate(18, 1), 100), None), Pace::Constant(rate(18, 1)));
        assert_eq!(rate(120_000, 1_001).for_ladder(), rate(60_000, 1_001));
        assert_eq!(rate(240, 1).for_ladder(), rate(60, 1));
        assert_eq!(rate(1, 1).for_ladder(), rate(8, 1));
        assert_eq!(rate(25, 1).for_ladder(), rate(25, 1));
        assert_eq!(rate(u32::MAX, u32::MAX - 1).for_ladder(), rate(8, 1));
        assert_eq!(rate(1, u32::MAX).for_ladder(), rate(1024, 1000).for_ladder());
    }

    #[test]
    fn one_frame_takes_the_containers_word() {
        assert_eq!(Pace::of(&[0], Some(rate(50, 1))), Pace::Constant(rate(50, 1)));
        assert_eq!(Pace::of(&[], None), Pace::Constant(rate(25, 1)));
    }

    proptest! {
        #[test]
        fn any_times_give_a_usable_rate(mut times in proptest::collection::vec(any::<u64>(), 0..50), n: u32, d: u32) {
            times.sort_unstable();
            let found = Pace::of(&times, FrameRate::new(n, d)).rate().for_ladder();
            prop_assert!((SLOWEST..=FASTEST).contains(&found.per_second()), "{:?}", found);
            prop_assert!((10..=121).contains(&found.frames_per_segment()));
        }
    }
}
