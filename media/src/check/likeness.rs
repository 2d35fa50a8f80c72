//! How alike two pictures are.

use gstreamer as gst;
use gstreamer_video::{self as video, prelude::*};

use crate::MediaError;

/// Equal pictures have an infinite ratio, which no message can carry; this stands for it.
const EQUAL_DB: f32 = 100.0;

/// The brightness of a picture, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Luma {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) samples: Vec<u8>,
}

impl Luma {
    /// Mean of the squared differences; both pictures have the same size.
    pub(super) fn difference(&self, other: &Luma) -> f64 {
        let sum: u64 = self
            .samples
            .iter()
            .zip(&other.samples)
            .map(|(a, b)| u64::from(a.abs_diff(*b)) * u64::from(a.abs_diff(*b)))
            .sum();
        sum as f64 / self.samples.len().max(1) as f64
    }

    /// Mean squared difference from the best picture of one shade. Nothing that ignores the picture comes nearer.
    pub(super) fn variance(&self) -> f64 {
        let count = self.samples.len().max(1) as f64;
        let sum: u64 = self.samples.iter().map(|sample| u64::from(*sample)).sum();
        let squares: u64 = self.samples.iter().map(|sample| u64::from(*sample) * u64::from(*sample)).sum();
        (squares as f64 / count - (sum as f64 / count).powi(2)).max(0.0)
    }
}

/// Peak signal-to-noise ratio of a mean squared difference, from 0 to [`EQUAL_DB`] dB.
pub(super) fn decibels(difference: f64) -> f32 {
    if difference <= 0.0 {
        return EQUAL_DB;
    }
    ((10.0 * (255.0 * 255.0 / difference).log10()) as f32).clamp(0.0, EQUAL_DB)
}

/// Scales decoded pictures. It keeps what it has prepared for each pair of sizes.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    prepared: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    from: video::VideoInfo,
    to: video::VideoInfo,
    converter: video::VideoConverter,
}

impl Scaler {
    /// The brightness of the picture in `sample` (I420), scaled to `width` by `height`.
    pub(super) fn luma(&mut self, sample: &gst::Sample, width: u32, height: u32) -> Result<Luma, MediaError> {
        let nothing = || MediaError::Pipeline("a decoded picture without a format".into());
        let buffer = sample.buffer().ok_or_else(nothing)?;
        let from = video::VideoInfo::from_caps(sample.caps().ok_or_else(nothing)?)?;
        let picture = video::VideoFrameRef::from_buffer_ref_readable(buffer, &from)?;
        if (from.width(), from.height()) == (width, height) {
            return Ok(luma(&picture)?);
        }
        let prepared = self.prepared(&from, width, height)?;
        let target = gst::Buffer::with_size(prepared.to.size())?;
        let mut scaled = video::VideoFrame::from_buffer_writable(target, &prepared.to)
            .map_err(|_| MediaError::Pipeline("a picture has no room".into()))?;
        prepared.converter.frame_ref(&picture, &mut scaled.as_mut_video_frame_ref());
        Ok(luma(&scaled.as_video_frame_ref())?)
    }

    fn prepared(
        &mut self,
        from: &video::VideoInfo,
        width: u32,
        height: u32,
    ) -> Result<&Prepared, MediaError> {
        let is_it = |known: &Prepared| {
            known.from == *from && (known.to.width(), known.to.height()) == (width, height)
        };
        if let Some(place) = self.prepared.iter().position(is_it) {
            return Ok(&self.prepared[place]);
        }
        // A stream that changes its format with every picture must not fill the memory.
        self.prepared.truncate(15);
        let to = video::VideoInfo::builder(video::VideoFormat::I420, width, height)
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .colorimetry(&from.colorimetry())
            .build()?;
        let mut settings = video::VideoConverterConfig::new();
        settings.set_resampler_method(video::VideoResamplerMethod::Linear);
        let converter = video::VideoConverter::new(from, &to, Some(settings))?;
        self.prepared.insert(0, Prepared { from: from.clone(), to, converter });
        Ok(&self.prepared[0])
    }
}

fn luma<T>(picture: &video::VideoFrameRef<T>) -> Result<Luma, gst::glib::BoolError> {
    let (width, height) = (picture.width(), picture.height());
    let stride = picture.plane_stride()[0].max(1) as usize;
    let rows = picture.plane_data(0)?.chunks(stride).take(height as usize);
    let samples = rows.flat_map(|row| row.iter().take(width as usize)).copied().collect();
    Ok(Luma { width, height, samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shades(samples: &[u8]) -> Luma {
        Luma { width: samples.len() as u32, height: 1, samples: samples.to_vec() }
    }

    #[test]
    fn the_ratio_follows_the_difference() {
        let (a, b) = (shades(&[10, 20, 30, 40]), shades(&[12, 20, 30, 40]));
        assert_eq!(a.difference(&b), 1.0);
        assert!((decibels(1.0) - 48.13).abs() < 0.01);
        assert_eq!(decibels(a.difference(&a)), EQUAL_DB);
        assert_eq!(decibels(f64::INFINITY), 0.0);
    }

    #[test]
    fn no_single_shade_is_nearer_than_the_variance() {
        let picture = shades(&[0, 50, 100, 250]);
        for shade in 0..=255 {
            assert!(picture.difference(&shades(&[shade; 4])) >= picture.variance());
        }
        assert_eq!(shades(&[7; 9]).variance(), 0.0);
    }

    #[test]
    fn scaling_keeps_the_brightness() {
        crate::init().unwrap();
        let info = video::VideoInfo::builder(video::VideoFormat::I420, 64, 48)
            .fps(gst::Fraction::new(25, 1))
            .build()
            .unwrap();
        let buffer = gst::Buffer::from_slice(vec![90u8; info.size()]);
        let sample = gst::Sample::builder().buffer(&buffer).caps(&info.to_caps().unwrap()).build();
        let scaled = Scaler::default().luma(&sample, 33, 17).unwrap();
        assert_eq!((scaled.width, scaled.height, scaled.samples.len()), (33, 17, 33 * 17));
        assert!(scaled.samples.iter().all(|sample| *sample == 90));
    }
}
