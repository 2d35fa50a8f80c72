//! Which renditions a ladder has for a source of a given size.

use edge_jobs::Ladder;

use crate::MediaError;

/// The most renditions of one ladder.
pub const MAX_RUNGS: usize = 8;

/// Encoders want at least one whole macroblock each way.
const SMALLEST_SIDE: u32 = 16;

/// The size of one rendition, in even numbers of square pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Name and folder of the rendition: the short side and `p`, e.g. `360p`.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Rung {
    /// Pixels of a frame.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// The renditions of `ladder` that a source of `width` by `height` displayed pixels gets, smallest first.
///
/// A rung is a length of the short side. None is larger than the source; the source's own size loses at most one row
/// and one column, as both sides must be even.
pub fn fitting_rungs(ladder: &Ladder, width: u32, height: u32) -> Result<Vec<Rung>, MediaError> {
    let short = width.min(height);
    let mut sides: Vec<u32> = ladder.short_sides.iter().copied().filter(|side| *side <= short).collect();
    if ladder.source_size {
        sides.push(short);
    }
    for side in &mut sides {
        *side &= !1;
    }
    sides.retain(|side| *side >= SMALLEST_SIDE);
    sides.sort_unstable();
    sides.dedup();
    if sides.len() > MAX_RUNGS {
        let count = sides.len();
        return Err(MediaError::TooMuch(format!(
            "{count} renditions were ordered; at most {MAX_RUNGS} are made."
        )));
    }
    if sides.is_empty() {
        return Err(MediaError::TooMuch(format!(
            "No ordered rendition fits a video of {width}x{height} pixels. Order its own size, or smaller ones."
        )));
    }
    Ok(sides.into_iter().map(|side| rung(side, width, height)).collect())
}

fn rung(side: u32, width: u32, height: u32) -> Rung {
    let (short, long) = (u64::from(width.min(height)), u64::from(width.max(height)));
    // The long side keeps the shape, rounded to the nearest even number, and never past the source.
    let scaled = (long * u64::from(side) + short) / (2 * short) * 2;
    let long_side = scaled.clamp(u64::from(SMALLEST_SIDE), long & !1) as u32;
    let (width, height) = if width < height { (side, long_side) } else { (long_side, side) };
    Rung { name: format!("{side}p"), width, height }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(ladder: &Ladder, width: u32, height: u32) -> Vec<(String, u32, u32)> {
        fitting_rungs(ladder, width, height)
            .unwrap()
            .into_iter()
            .map(|r| (r.name, r.width, r.height))
            .collect()
    }

    #[test]
    fn the_usual_ladder_of_usual_sources() {
        let ladder = Ladder::default();
        assert_eq!(
            sizes(&ladder, 1920, 1080),
            [("360p".into(), 640, 360), ("720p".into(), 1280, 720), ("1080p".into(), 1920, 1080)]
        );
        assert_eq!(sizes(&ladder, 1280, 720), [("360p".into(), 640, 360), ("720p".into(), 1280, 720)]);
        assert_eq!(sizes(&ladder, 320, 240), [("240p".into(), 320, 240)]);
    }

    #[test]
    fn a_portrait_source_goes_by_its_short_side() {
        assert_eq!(
            sizes(&Ladder::default(), 1080, 1920),
            [("360p".into(), 360, 640), ("720p".into(), 720, 1280), ("1080p".into(), 1080, 1920)]
        );
    }

    #[test]
    fn odd_sizes_lose_a_row_or_a_column() {
        assert_eq!(
            sizes(&Ladder::default(), 853, 481),
            [("360p".into(), 638, 360), ("480p".into(), 852, 480)]
        );
    }

    #[test]
    fn nothing_that_fits_is_an_error_and_so_are_too_many() {
        let none = Ladder { short_sides: vec![360], source_size: false };
        assert!(matches!(fitting_rungs(&none, 320, 240), Err(MediaError::TooMuch(_))));
        let many = Ladder { short_sides: (100..120).collect(), source_size: true };
        assert!(matches!(fitting_rungs(&many, 320, 240), Err(MediaError::TooMuch(_))));
        assert!(matches!(fitting_rungs(&Ladder::default(), 8, 8), Err(MediaError::TooMuch(_))));
    }

    proptest! {
        #[test]
        fn rungs_are_even_ascending_in_shape_and_never_upscaled(
            width in 16u32..8000, height in 16u32..8000, sides in proptest::collection::vec(0u32..9000, 0..6),
        ) {
            let ladder = Ladder { short_sides: sides, source_size: true };
            let rungs = fitting_rungs(&ladder, width, height).unwrap();
            for rung in &rungs {
                prop_assert!(rung.width % 2 == 0 && rung.height % 2 == 0);
                prop_assert!(rung.width <= width && rung.height <= height);
                let (long, short) = (rung.width.max(rung.height), rung.width.min(rung.height));
                let wanted = f64::from(width.max(height)) * f64::from(short) / f64::from(width.min(height));
                prop_assert!((f64::from(long) - wanted).abs() <= 2.0 * f64::from(width.max(height)) / f64::from(width.min(height)));
            }
            prop_assert!(rungs.windows(2).all(|pair| pair[0].width.min(pair[0].height) < pair[1].width.min(pair[1].height)));
            prop_assert_eq!(rungs.last().unwrap().width.min(rungs.last().unwrap().height), width.min(height) & !1);
        }
    }
}
