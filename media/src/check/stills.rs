//! What a ladder's maker claims about its still pictures, against the files it sent.

use std::path::Path;

use edge_jobs::{CheckTask, Thumbnail, thumbnail_file};

use super::claims::{Claim, DURATION_SLACK_MS, ReadStill, read_stated};
use crate::{MediaError, PictureSize, Source, thumbnails::ThumbnailPlan};

/// The name of the verdict on still pictures; no rendition is named so.
const NAME: &str = "thumbnails";
/// From this distance on, no frame rate of a ladder leaves a picture out.
const EVERY_PICTURE_MS: u64 = 200;

/// Reads every still picture; `None` where there are none and ought to be none, or not yet.
pub(super) fn check_stills(task: &CheckTask, source: &Source) -> Result<Option<Claim>, MediaError> {
    if task.unfinished {
        return Ok(None);
    }
    let Some(order) = &task.thumbnail_order else {
        let mut claim = Claim::new(NAME, PictureSize { width: 0, height: 0 });
        claim.add_problem("they were not ordered");
        return Ok((!task.thumbnails.is_empty()).then_some(claim));
    };
    let duration_ms = source.media.duration_ms;
    let plan = ThumbnailPlan::new(order, source.media.width, source.media.height, duration_ms, 0)?;
    let mut claim = Claim::new(NAME, plan.size());
    let (count, most) = (task.thumbnails.len() as u64, duration_ms / order.every_ms + 1);
    let least = duration_ms.saturating_sub(DURATION_SLACK_MS + EVERY_PICTURE_MS).div_ceil(order.every_ms);
    let all_there = count >= least || order.every_ms < EVERY_PICTURE_MS;
    claim.expect(all_there && count <= most, || format!("{count} are there instead of {least} to {most}"));
    if count > most {
        return Ok(Some(claim));
    }
    let mut next = 0;
    for still in &task.thumbnails {
        match read_still(&task.output, still, order.every_ms, next, claim.size) {
            Ok(read) => claim.stills.push(read),
            Err(problem) => claim.add_problem(format!("the picture at {} ms: {problem}", still.at_ms)),
        }
        next = (still.at_ms / order.every_ms).saturating_add(1);
    }
    Ok(Some(claim))
}

/// Reads a still picture that is the one with the number `least`, or a later one.
fn read_still(
    output: &Path,
    stated: &Thumbnail,
    every_ms: u64,
    least: u64,
    size: PictureSize,
) -> Result<ReadStill, String> {
    // The name is a stranger's text: it is compared, never followed.
    let (number, file) = (stated.at_ms / every_ms, thumbnail_file(stated.at_ms / every_ms));
    let in_order = if every_ms < EVERY_PICTURE_MS { number >= least } else { number == least };
    if !in_order || !stated.at_ms.is_multiple_of(every_ms) || stated.file != file {
        return Err("it is listed out of order or in another file".into());
    }
    let path = output.join(file);
    let bytes = read_stated(&path, stated.bytes, stated.hash)?;
    match jpeg_size(&bytes) {
        Some(found) if found == size => Ok(ReadStill { path, at_ms: stated.at_ms }),
        Some(PictureSize { width, height }) => Err(format!("it has {width}x{height} pixels")),
        None => Err("it is no JPEG picture".into()),
    }
}

/// The size that a JPEG file states (ITU-T T.81 annex B). It is read before a decoder believes it.
fn jpeg_size(bytes: &[u8]) -> Option<PictureSize> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        match marker {
            // Start of frame: precision, height, width. C4, C8 and CC are tables, not frames.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                let [_, h1, h2, w1, w2, ..] = *segment else { return None };
                let (width, height) = (u16::from_be_bytes([w1, w2]), u16::from_be_bytes([h1, h2]));
                return Some(PictureSize { width: width.into(), height: height.into() });
            }
            // Nothing but tables and notes comes before the frame.
            0xc4 | 0xcc | 0xdb | 0xdd | 0xe0..=0xef | 0xfe => {}
            _ => return None,
        }
        rest = &rest[2 + length..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_size_of_a_jpeg_is_read_from_its_frame() {
        let picture = [
            &[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc4, 0, 3, 9][..],
            &[0xff, 0xc0, 0, 11, 8, 0, 90, 0, 160, 1, 1, 0x11, 0],
        ]
        .concat();
        assert_eq!(jpeg_size(&picture), Some(PictureSize { width: 160, height: 90 }));
        for cut in 0..picture.len() {
            assert_eq!(jpeg_size(&picture[..cut]), None, "{cut}");
        }
        assert_eq!(jpeg_size(b"\x89PNG"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_size_or_none(
            bytes in proptest::collection::vec(prop_oneof![Just(0xffu8), Just(0), any::<u8>()], 0..200),
        ) {
            let _ = jpeg_size(&[&[0xff, 0xd8], bytes.as_slice()].concat());
        }
    }
}
