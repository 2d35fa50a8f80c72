//! The encoders' settings, and how the threads are shared among renditions.

use edge_jobs::VideoEncoder;

use crate::{FrameRate, Rung, plugins::encoder_element};

/// A caps description of the picture that an encoder makes, and the encoder itself, as a part of a pipeline description.
///
/// Key frames come at fixed distances and nowhere else, so that all renditions can be cut at the same places. Every
/// group of pictures stands alone.
pub(crate) fn encoder(encoder: VideoEncoder, rung: &Rung, rate: FrameRate, threads: u32) -> String {
    let element = encoder_element(encoder);
    let distance = rate.frames_per_segment();
    let limit = kilobits(rung, rate);
    match encoder {
        VideoEncoder::X264 => format!(
            "{element} speed-preset=veryfast pass=qual quantizer=23 bitrate={limit} vbv-buf-capacity=2000 \
             key-int-max={distance} threads={threads} \
             option-string=scenecut=0:min-keyint={distance}:open-gop=0 ! video/x-h264,profile=high"
        ),
        VideoEncoder::Openh264 => format!(
            "{element} complexity=medium rate-control=bitrate bitrate={} max-bitrate={} gop-size={distance} \
             scene-change-detection=false enable-frame-skip=false multi-thread={threads} ! \
             video/x-h264,profile=main",
            limit * 800,
            limit * 1000
        ),
    }
}

/// The most kilobits per second of a rendition: 1000 for 360p at 30 frames/s, and somewhat less than in proportion to
/// the pixels for larger ones, whose details repeat more.
fn kilobits(rung: &Rung, rate: FrameRate) -> u64 {
    let pixels_per_second = rung.pixels() as f64 * rate.per_second();
    (1000.0 * (pixels_per_second / (640.0 * 360.0 * 30.0)).powf(0.85)).clamp(100.0, 60_000.0).round() as u64
}

/// How the limit on threads is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Renditions (by their place in the ladder) that are encoded one after the other in one thread; the groups work
    /// side by side.
    pub groups: Vec<Vec<usize>>,
    /// Threads of each rendition's encoder; 0 leaves the number to the encoder.
    pub of_encoder: Vec<u32>,
}

impl Threads {
    /// Shares `limit` threads among `rungs` by their pixels. Without a limit each rendition works by itself, with as many
    /// threads as its encoder likes.
    pub fn share(rungs: &[Rung], limit: Option<u32>) -> Self {
        let Some(limit) = limit.map(|limit| limit.max(1)) else {
            return Self {
                groups: (0..rungs.len()).map(|rung| vec![rung]).collect(),
                of_encoder: vec![0; rungs.len()],
            };
        };
        let mut by_size: Vec<usize> = (0..rungs.len()).collect();
        by_size.sort_by_key(|rung| std::cmp::Reverse(rungs[*rung].pixels()));
        let count = rungs.len().min(limit as usize);
        let mut groups: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); count];
        for &rung in &by_size {
            if let Some(lightest) = groups.iter_mut().min_by_key(|group| group.0) {
                lightest.0 += rungs[rung].pixels();
                lightest.1.push(rung);
            }
        }
        // What is left when every group has its thread goes to the encoders by their work.
        let total: u64 = rungs.iter().map(Rung::pixels).sum::<u64>().max(1);
        let spare = u64::from(limit).saturating_sub(rungs.len() as u64);
        let of_encoder = rungs.iter().map(|rung| 1 + (spare * rung.pixels() / total) as u32).collect();
        Self { groups: groups.into_iter().map(|(_, rungs)| rungs).collect(), of_encoder }
    }
}

#[cfg(test)]
mod tests {
    use edge_jobs::Ladder;
    use proptest::prelude::*;

    use super::*;
    use crate::fitting_rungs;

    fn rungs() -> Vec<Rung> {
        fitting_rungs(&Ladder::default(), 1920, 1080).unwrap()
    }

    #[test]
    fn one_thread_encodes_everything_in_turn() {
        let threads = Threads::share(&rungs(), Some(1));
        assert_eq!(threads, Threads { groups: vec![vec![2, 1, 0]], of_encoder: vec![1, 1, 1] });
    }

    #[test]
    fn two_threads_share_by_pixels() {
        let threads = Threads::share(&rungs(), Some(2));
        assert_eq!(threads, Threads { groups: vec![vec![2], vec![1, 0]], of_encoder: vec![1, 1, 1] });
    }

    #[test]
    fn no_limit_leaves_the_number_to_the_encoders() {
        let threads = Threads::share(&rungs(), None);
        assert_eq!(threads, Threads { groups: vec![vec![0], vec![1], vec![2]], of_encoder: vec![0, 0, 0] });
    }

    #[test]
    fn the_limit_on_bits_grows_with_the_pixels() {
        let rate = FrameRate::new(30, 1).unwrap();
        let limits: Vec<u64> = rungs().iter().map(|rung| kilobits(rung, rate)).collect();
        assert_eq!(limits, [1000, 3249, 6473]);
    }

    proptest! {
        #[test]
        fn a_limit_is_kept_and_every_rung_is_encoded_once(limit in 1u32..64, width in 16u32..4000, height in 16u32..4000) {
            let ladder = Ladder { short_sides: vec![120, 240, 360, 720], source_size: true };
            let rungs = fitting_rungs(&ladder, width, height).unwrap();
            let threads = Threads::share(&rungs, Some(limit));
            let mut all: Vec<usize> = threads.groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rungs.len()).collect::<Vec<_>>());
            let busiest: u32 = threads.groups.iter().map(|group| group.iter().map(|r| threads.of_encoder[*r]).max().unwrap()).sum();
            prop_assert!(busiest <= limit);
        }
    }
}
