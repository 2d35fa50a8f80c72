//! How the limit on processor threads is shared among the workers.

use std::collections::BTreeMap;

use edge_jobs::JobKind;

use super::Settings;

impl Settings {
    /// Jobs at a time for each kind: as offered, but no more transcodes than there are threads for them.
    pub fn places(&self) -> BTreeMap<JobKind, usize> {
        let mut places = self.offer.places.clone();
        if self.limits.cpu_threads.is_some()
            && let Some(transcodes) = places.get_mut(&JobKind::Transcode)
        {
            *transcodes = (*transcodes).min(self.all_media_threads() as usize);
        }
        places
    }

    /// Threads of one transcode.
    pub fn media_threads(&self) -> u32 {
        let places = self.places().get(&JobKind::Transcode).copied().unwrap_or(0).clamp(1, MOST as usize);
        let share = (self.all_media_threads() / places as u32).max(1);
        match (self.limits.media_threads, self.limits.cpu_threads) {
            (Some(chosen), Some(_)) => chosen.min(share),
            (Some(chosen), None) => chosen,
            (None, _) => share,
        }
    }

    /// Threads of the compute worker; `None` leaves the number to it.
    pub fn compute_threads(&self) -> Option<u32> {
        let all = self.limits.cpu_threads?;
        Some(if self.offers(JobKind::Transcode) { (all / 2).max(1) } else { all })
    }

    /// Threads of all transcodes together. Where models run too, they have the other half.
    fn all_media_threads(&self) -> u32 {
        match self.limits.cpu_threads {
            Some(all) if self.offers(JobKind::Chat) || self.offers(JobKind::Embeddings) => all.div_ceil(2),
            Some(all) => all,
            None => std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2) as u32),
        }
    }

    /// Whether there is a place for a kind of work.
    pub fn offers(&self, kind: JobKind) -> bool {
        self.offer.places.get(&kind).is_some_and(|places| *places > 0)
    }
}

/// The most places of a kind that settings can ask for, and the most threads.
pub(super) const MOST: u32 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cpu_threads: Option<u32>, places: &[(JobKind, usize)]) -> Settings {
        let mut settings = Settings::default();
        settings.limits.cpu_threads = cpu_threads;
        settings.offer.places.extend(places.iter().copied());
        settings
    }

    #[test]
    fn transcodes_share_the_threads_and_never_take_more() {
        for (all, places) in [(1, 1), (1, 4), (2, 1), (4, 3), (8, 2), (16, 1)] {
            let settings = settings(Some(all), &[(JobKind::Transcode, places)]);
            let jobs = settings.places()[&JobKind::Transcode] as u32;
            assert!(jobs >= 1 && jobs * settings.media_threads() <= all, "{all} threads, {places} places");
            assert_eq!(settings.compute_threads(), Some((all / 2).max(1)));
        }
    }

    #[test]
    fn models_and_videos_have_half_each_and_models_alone_have_all() {
        let both = settings(Some(6), &[(JobKind::Transcode, 1), (JobKind::Chat, 2)]);
        assert_eq!((both.media_threads(), both.compute_threads()), (3, Some(3)));
        let models = settings(Some(6), &[(JobKind::Embeddings, 2)]);
        assert_eq!(models.compute_threads(), Some(6));
    }

    #[test]
    fn a_transcode_s_own_limit_counts_below_its_share() {
        let mut settings = settings(Some(4), &[(JobKind::Transcode, 1)]);
        settings.limits.media_threads = Some(3);
        assert_eq!(settings.media_threads(), 3);
        settings.limits.media_threads = Some(9);
        assert_eq!(settings.media_threads(), 4);
    }

    #[test]
    fn without_a_limit_the_offer_stands_and_the_compute_worker_chooses() {
        let settings = settings(None, &[(JobKind::Transcode, 3)]);
        assert_eq!(settings.places()[&JobKind::Transcode], 3);
        assert_eq!(settings.compute_threads(), None);
        assert!(settings.media_threads() >= 1);
    }
}
