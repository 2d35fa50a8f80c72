//! When a picture is not the source's.
//!
//! The limits come from ladders of films, drawings, test patterns, heavy grain and cellular automata by both encoders, and
//! from forged ones. In the small size honest pictures had 28 dB or more (grain of a sixth of the range: 28, cellular
//! automata: 20), at most 0.13 of the variance missing (automata: 0.43), and were always nearer to their own moment than to
//! another. Pictures a second off had 21 to 25 dB where the other moment had 35 or more, and black ones or ones of another
//! video missed the whole variance. Only white noise fails honestly: nothing of it survives an encoder.
//!
//! (Both sides scaled with a sharper filter when these were measured. With the bilinear one every honest and forged ladder of
//! the tests is still on its side of the limits.)

/// Worst ratio that a picture may have at its own size, in dB; heavy grain has 19.
const LEAST_DB: f32 = 15.0;
/// Largest part of the source picture's variance that may be missing, in the small size.
const MOST_UNEXPLAINED: f64 = 0.5;
/// Another moment must be nearer by so many dB, in the small size, to be the one that is shown ...
const OTHER_MOMENT_DB: f32 = 3.0;
/// ... while the right one is below this many dB: above, the two look the same to anyone.
const SAME_DB: f32 = 38.0;

/// How a rendition's picture compares with the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// With the right moment, at the rendition's size and at the small one.
    pub(super) full_db: f32,
    pub(super) small_db: f32,
    /// With the nearest other moment around, at the small size.
    pub(super) other_db: f32,
    /// The part of the right picture's variance that is missing, at the small size.
    pub(super) unexplained: f64,
}

impl Measured {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { full_db, small_db, other_db, unexplained } = *self;
        if full_db < LEAST_DB {
            return Some(format!("differs from the source's ({full_db:.1} dB)"));
        }
        if small_db >= SAME_DB {
            return None;
        }
        if unexplained > MOST_UNEXPLAINED {
            return Some(format!("shows nothing of the source's ({full_db:.1} dB)"));
        }
        if other_db > small_db + OTHER_MOMENT_DB {
            return Some(format!(
                "shows another moment of the source ({other_db:.1} dB there, {small_db:.1} here)"
            ));
        }
        None
    }
}
