//! Which pictures are looked at: random, but the same for the same seed.

/// Places of `wanted` pictures among `total`, ascending: one at random from each of `wanted` equal stretches, so that no
/// stretch of a rendition goes unseen. Fewer where there are fewer pictures.
///
/// The choice is made by BLAKE3 over the seed and the rendition's name, so that it can be repeated on any machine and
/// version.
pub(super) fn sample(seed: u64, rendition: &str, wanted: u32, total: usize) -> Vec<usize> {
    let wanted = (wanted as usize).min(total);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(rendition.as_bytes());
    let mut randomness = hasher.finalize_xof();
    (0..wanted)
        .map(|stretch| {
            let (start, end) = (total * stretch / wanted, total * (stretch + 1) / wanted);
            let mut bytes = [0; 8];
            randomness.fill(&mut bytes);
            start + (u64::from_le_bytes(bytes) % (end - start) as u64) as usize
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_choice_depends_on_seed_and_rendition_alone() {
        let first = sample(1, "360p", 8, 10_000);
        assert_eq!(first, sample(1, "360p", 8, 10_000));
        assert_ne!(first, sample(2, "360p", 8, 10_000));
        assert_ne!(first, sample(1, "720p", 8, 10_000));
    }

    proptest! {
        #[test]
        fn every_stretch_is_seen_once(seed: u64, wanted in 1u32..40, total in 0usize..5000) {
            let places = sample(seed, "360p", wanted, total);
            let count = (wanted as usize).min(total);
            prop_assert_eq!(places.len(), count);
            for (stretch, place) in places.iter().enumerate() {
                prop_assert!((total * stretch / count..total * (stretch + 1) / count).contains(place));
            }
        }
    }
}
