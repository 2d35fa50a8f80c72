//! A segment that is complete on disk, and what a run of them needs of the network.

use std::{fs, path::Path};

use edge_jobs::{ContentHash, SegmentInfo};

use crate::{FrameRate, MediaError, TransportSegment, transport_stream::TICKS_PER_SECOND};

/// A segment's file name in its rendition's folder.
pub(crate) fn segment_file(rendition: &str, index: u32) -> String {
    format!("{rendition}/{index:05}.ts")
}

/// Reads the segment `index` of `rendition` below `output`: its size, its hash and what it holds.
pub(crate) fn read_segment(
    output: &Path,
    rendition: &str,
    index: u32,
    rate: FrameRate,
) -> Result<(SegmentInfo, TransportSegment), MediaError> {
    let file = segment_file(rendition, index);
    let path = output.join(&file);
    let bytes = fs::read(&path).map_err(|error| MediaError::file(&path, error))?;
    let contents = TransportSegment::parse(&bytes)
        .map_err(|error| MediaError::Pipeline(format!("segment {file} came out wrong: {error}")))?;
    let info = SegmentInfo {
        index,
        file,
        duration_ms: shown_ms(&contents, rate),
        bytes: bytes.len() as u64,
        hash: ContentHash::of(&bytes),
    };
    Ok((info, contents))
}

/// How long a segment's pictures are shown, in milliseconds; the last one for the length of a frame.
pub(crate) fn shown_ms(segment: &TransportSegment, rate: FrameRate) -> u64 {
    let ticks = (segment.last() - segment.start()) as f64 + rate.frame_seconds() * TICKS_PER_SECOND as f64;
    (ticks * 1000.0 / TICKS_PER_SECOND as f64).round() as u64
}

/// The longest segment in whole seconds, as a playlist states it.
pub(crate) fn target_seconds(segments: &[SegmentInfo]) -> u64 {
    segments.iter().map(|segment| (segment.duration_ms + 500) / 1000).max().unwrap_or(0).max(1)
}

/// Peak and mean bits per second of a rendition.
///
/// The peak is over neighbouring segments that together last 0.5 to 1.5 target durations (RFC 8216 section 4.1), so
/// that a short last segment does not look like a flood.
pub(crate) fn bandwidth(segments: &[SegmentInfo]) -> (u64, u64) {
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
