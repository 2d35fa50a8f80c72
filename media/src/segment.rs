//! A segment that is complete on disk.

use std::{fs, path::Path};

use edge_jobs::{ContentHash, SegmentInfo, segment_file};

use crate::{FrameRate, MediaError, TransportSegment, transport_stream::TICKS_PER_SECOND};

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
