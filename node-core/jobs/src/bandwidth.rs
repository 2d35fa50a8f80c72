//! What a run of segments needs of the network. Workers state it of what they make, and nodes of what they put together.

use crate::SegmentInfo;

/// The longest segment in whole seconds, as a playlist states it.
pub fn target_seconds(segments: &[SegmentInfo]) -> u64 {
    segments.iter().map(|segment| (segment.duration_ms + 500) / 1000).max().unwrap_or(0).max(1)
}

/// Peak and mean bits per second of a rendition.
///
/// The peak is over neighbouring segments that together last 0.5 to 1.5 target durations (RFC 8216 section 4.1), so
/// that a short last segment does not look like a flood.
pub fn bandwidth(segments: &[SegmentInfo]) -> (u64, u64) {
    let per_second = |bytes: u64, ms: u64| (bytes * 8 * 1000).div_ceil(ms.max(1));
    let average = per_second(
        segments.iter().map(|segment| segment.bytes).sum(),
        segments.iter().map(|segment| segment.duration_ms).sum(),
    );
    let target_ms = target_seconds(segments) * 1000;
    let mut peak = average;
    for start in 0..segments.len() {
        let (mut bytes, mut ms) = (0, 0);
        for segment in &segments[start..] {
            bytes += segment.bytes;
            ms += segment.duration_ms;
            if ms > target_ms * 3 / 2 {
                break;
            }
            if ms >= target_ms / 2 {
                peak = peak.max(per_second(bytes, ms));
            }
        }
    }
    (peak, average)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContentHash;

    fn segment(duration_ms: u64, bytes: u64) -> SegmentInfo {
        SegmentInfo { index: 0, file: String::new(), duration_ms, bytes, hash: ContentHash([0; 32]) }
    }

    #[test]
    fn the_peak_is_the_heaviest_stretch_of_about_one_target_duration() {
        let segments = [segment(2000, 100_000), segment(2000, 300_000), segment(2000, 200_000)];
        assert_eq!(bandwidth(&segments), (1_200_000, 800_000));
    }

    #[test]
    fn a_short_last_segment_counts_only_with_its_neighbour() {
        let segments = [segment(2000, 100_000), segment(40, 50_000)];
        let (peak, average) = bandwidth(&segments);
        assert_eq!(peak, (150_000u64 * 8000).div_ceil(2040));
        assert_eq!(average, peak);
    }

    #[test]
    fn no_segments_need_nothing() {
        assert_eq!(bandwidth(&[]), (0, 0));
    }
}
