//! The size of the pictures, from an H.264 sequence parameter set (ITU-T H.264 section 7.3.2.1.1).
//!
//! It is read before a stranger's bytes reach a decoder, which sets aside memory for whatever size they state.

/// The largest coded picture, in macroblocks of 16x16 pixels, and its longest side: those of level 6.2, the highest (Table
/// A-1 and section A.3.1: the root of eight times the first). 8K fits.
const MAX_MACROBLOCKS: u64 = 139_264;
const MAX_SIDE_MACROBLOCKS: u64 = 1_055;

/// The size of the pictures that a parameter set is for, after cropping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureSize {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Why a parameter set gives no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterError {
    /// It ends early or contradicts itself.
    Unreadable,
    /// The pictures would be larger than any level allows.
    TooLarge,
}

/// Reads the size from a set's NAL unit, its header byte included.
pub(crate) fn picture_size(unit: &[u8]) -> Result<PictureSize, ParameterError> {
    let mut bits = Bits::of(unit.get(1..).unwrap_or_default());
    let profile = bits.fixed(8)?;
    // Constraints and level.
    bits.fixed(16)?;
    bits.number()?;
    let mut colour = Colour::Halved;
    // Profiles that may have other colour formats than 4:2:0.
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        colour = Colour::read(&mut bits)?;
        // Depths of brightness and colour, and whether they can pass untransformed.
        bits.number()?;
        bits.number()?;
        bits.fixed(1)?;
        if bits.fixed(1)? == 1 {
            for list in 0..if colour == Colour::Full { 12 } else { 8 } {
                if bits.fixed(1)? == 1 {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.number()?;
    match bits.number()? {
        0 => {
            bits.number()?;
        }
        1 => {
            bits.fixed(1)?;
            bits.number()?;
            bits.number()?;
            let cycle = bits.number()?;
            // Section 7.4.2.1.1.
            if cycle > 255 {
                return Err(ParameterError::Unreadable);
            }
            for _ in 0..cycle {
                bits.number()?;
            }
        }
        2 => {}
        _ => return Err(ParameterError::Unreadable),
    }
    // References, and whether gaps between frame numbers are allowed.
    bits.number()?;
    bits.fixed(1)?;
    let across = u64::from(bits.number()?) + 1;
    let down = u64::from(bits.number()?) + 1;
    let whole_frames = bits.fixed(1)? == 1;
    if !whole_frames {
        bits.fixed(1)?;
    }
    bits.fixed(1)?;
    let down = if whole_frames { down } else { 2 * down };
    if across.max(down) > MAX_SIDE_MACROBLOCKS || across * down > MAX_MACROBLOCKS {
        return Err(ParameterError::TooLarge);
    }
    let mut cropped = [0; 4];
    if bits.fixed(1)? == 1 {
        for side in &mut cropped {
            *side = u64::from(bits.number()?);
        }
    }
    let (unit_across, unit_down) = colour.crop_unit();
    let unit_down = if whole_frames { unit_down } else { 2 * unit_down };
    let left = |macroblocks: u64, from: u64, to: u64, unit: u64| {
        let rest = (macroblocks * 16).checked_sub((from + to) * unit).filter(|rest| *rest > 0);
        rest.and_then(|rest| u32::try_from(rest).ok()).ok_or(ParameterError::Unreadable)
    };
    Ok(PictureSize {
        width: left(across, cropped[0], cropped[1], unit_across)?,
        height: left(down, cropped[2], cropped[3], unit_down)?,
    })
}

/// How colour is stored beside brightness.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    /// None, or as planes of their own.
    Apart,
    /// 4:2:0.
    Halved,
    /// 4:2:2.
    HalvedAcross,
    /// 4:4:4.
    Full,
}

impl Colour {
    fn read(bits: &mut Bits) -> Result<Self, ParameterError> {
        match bits.number()? {
            0 => Ok(Colour::Apart),
            1 => Ok(Colour::Halved),
            2 => Ok(Colour::HalvedAcross),
            3 if bits.fixed(1)? == 0 => Ok(Colour::Full),
            // Planes of their own are cropped as if there were no colour; players take neither.
            _ => Err(ParameterError::Unreadable),
        }
    }

    /// Pixels that one step of cropping takes away, across and down (Table 6-1).
    fn crop_unit(self) -> (u64, u64) {
        match self {
            Colour::Apart | Colour::Full => (1, 1),
            Colour::Halved => (2, 2),
            Colour::HalvedAcross => (2, 1),
        }
    }
}

/// Section 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits, length: usize) -> Result<(), ParameterError> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..length {
        if next != 0 {
            next = (last + bits.signed()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

/// The bits of a unit, without the bytes that keep start codes out of it.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn of(unit: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(unit.len());
        let mut zeros = 0;
        for &byte in unit {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes.push(byte);
        }
        Self { bytes, at: 0 }
    }

    /// `count` bits, at most 32.
    fn fixed(&mut self, count: u32) -> Result<u32, ParameterError> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(ParameterError::Unreadable)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    /// An Exp-Golomb number (section 9.1).
    fn number(&mut self) -> Result<u32, ParameterError> {
        let mut zeros = 0;
        while self.fixed(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err(ParameterError::Unreadable);
            }
        }
        // At most 2^32 - 2.
        Ok(((1u64 << zeros) - 1 + u64::from(self.fixed(zeros)?)) as u32)
    }

    /// An Exp-Golomb number with a sign (section 9.1.1).
    fn signed(&mut self) -> Result<i64, ParameterError> {
        let number = i64::from(self.number()?);
        Ok(if number % 2 == 0 { -number / 2 } else { (number + 1) / 2 })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn golomb(number: u32) -> String {
        let digits = format!("{:b}", u64::from(number) + 1);
        "0".repeat(digits.len() - 1) + &digits
    }

    /// A baseline parameter set for pictures of so many macroblocks, cropped by so many pairs of pixels right and below.
    pub(crate) fn parameter_set(across: u32, down: u32, crop: (u32, u32)) -> Vec<u8> {
        // Id, frame numbers, order, references; no gaps.
        let mut bits: String = [0, 0, 2, 1].map(golomb).concat() + "0";
        bits += &[golomb(across - 1), golomb(down - 1)].concat();
        // Whole frames, direct prediction, cropping; nothing about the display; the end.
        bits += &("111".to_owned() + &[0, crop.0, 0, crop.1].map(golomb).concat() + "01");
        bits += &"0".repeat(bits.len().next_multiple_of(8) - bits.len());
        let mut unit = vec![0x67, 66, 0, 31];
        for byte in bits.as_bytes().chunks(8) {
            let byte = u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap();
            if byte <= 3 && unit.ends_with(&[0, 0]) {
                unit.push(3);
            }
            unit.push(byte);
        }
        unit
    }

    #[test]
    fn the_sets_of_a_real_encoder_are_read() {
        let unit = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        for (text, width, height) in [
            // x264: high; high 4:4:4; high 4:2:2, interlaced, with scaling lists.
            ("6764001eacd940d83de6f011000003000100000300320f162d96", 854, 480),
            ("67f40015919b28363fcfe022000003000200000300641e2c5b2c", 426, 240),
            ("677a001ebcd940b424d8088000000300800000190f8a14cb", 720, 576),
        ] {
            assert_eq!(picture_size(&unit(text)), Ok(PictureSize { width, height }));
        }
    }

    #[test]
    fn a_picture_larger_than_any_level_has_is_refused() {
        assert_eq!(
            picture_size(&parameter_set(480, 270, (0, 0))),
            Ok(PictureSize { width: 7680, height: 4320 })
        );
        for (across, down) in [(1_056, 1), (1, 1_056), (480, 291), (u32::MAX - 1, 1), (65_536, 65_536)] {
            let set = parameter_set(across, down, (0, 0));
            assert_eq!(picture_size(&set), Err(ParameterError::TooLarge), "{across}x{down}");
        }
    }

    proptest! {
        #[test]
        fn sizes_are_read_as_they_are_written(
            across in 1u32..400, down in 1u32..300, right in 0u32..8, below in 0u32..8,
        ) {
            let size = PictureSize { width: across * 16 - 2 * right, height: down * 16 - 2 * below };
            prop_assert_eq!(picture_size(&parameter_set(across, down, (right, below))), Ok(size));
        }

        #[test]
        fn any_bytes_are_a_size_or_an_error(
            profile in prop_oneof![Just(66u8), Just(100u8), any::<u8>()],
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = picture_size(&[&[0x67, profile][..], &bytes].concat());
        }
    }
}
