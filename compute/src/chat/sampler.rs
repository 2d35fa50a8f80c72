//! How the next token is drawn.

use edge_jobs::Sampling;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::ComputeError;

/// The largest temperature that OpenAI's API knows.
const MAX_TEMPERATURE: f32 = 2.0;

/// Draws tokens from logits.
#[derive(Debug)]
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    random: StdRng,
}

impl Sampler {
    /// A sampler for an order. The same order with the same seed draws the same tokens from the same logits;
    /// `fresh_seed` is taken when the order has none.
    pub fn new(sampling: &Sampling, fresh_seed: u64) -> Result<Self, ComputeError> {
        let Sampling { temperature, top_p, seed } = *sampling;
        if !(0.0..=MAX_TEMPERATURE).contains(&temperature) {
            return Err(ComputeError::BadOrder(format!(
                "the temperature must be between 0 and {MAX_TEMPERATURE}, not {temperature}"
            )));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(ComputeError::BadOrder(format!("top_p must be above 0 and at most 1, not {top_p}")));
        }
        Ok(Self { temperature, top_p, random: StdRng::seed_from_u64(seed.unwrap_or(fresh_seed)) })
    }

    /// The next token. `logits` has one finite value for each token of the vocabulary, and at least one.
    pub fn draw(&mut self, logits: &[f32]) -> u32 {
        let best = likeliest(logits);
        if self.temperature == 0.0 {
            return best;
        }
        let top = f64::from(logits[best as usize]);
        let scale = 1.0 / f64::from(self.temperature);
        let weight = |logit: &f32| ((f64::from(*logit) - top) * scale).exp();
        let total: f64 = logits.iter().map(weight).sum();

        // Tokens below this probability cannot be in the smallest set that sums to top_p: all of them together
        // weigh less than what the set leaves out.
        let floor = if self.top_p < 1.0 { (1.0 - f64::from(self.top_p)) / logits.len() as f64 } else { 0.0 };
        let mut candidates: Vec<(u32, f64)> = (0_u32..)
            .zip(logits)
            .map(|(token, logit)| (token, weight(logit) / total))
            .filter(|(token, probability)| *probability >= floor || *token == best)
            .collect();
        if self.top_p < 1.0 {
            candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut sum = 0.0;
            let enough = candidates.iter().position(|(_, probability)| {
                sum += probability;
                sum >= f64::from(self.top_p)
            });
            candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
        }
        let kept: f64 = candidates.iter().map(|(_, probability)| probability).sum();
        let mut left = self.random.random::<f64>() * kept;
        for (token, probability) in &candidates {
            left -= probability;
            if left < 0.0 {
                return *token;
            }
        }
        // Rounding used the draw up without a hit.
        candidates.last().map_or(best, |(token, _)| *token)
    }
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(&Sampling { temperature, top_p, seed: Some(seed) }, 0).unwrap()
    }

    /// The smallest set of likeliest tokens whose probabilities sum to `top_p`, computed the slow way, and one more
    /// token, because the last of them may hang on rounding.
    fn allowed(logits: &[f32], temperature: f32, top_p: f32) -> Vec<u32> {
        let weights: Vec<f64> =
            logits.iter().map(|logit| (f64::from(*logit) / f64::from(temperature)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
        let (mut sum, mut set) = (0.0, Vec::new());
        for token in order {
            set.push(token as u32);
            if sum > f64::from(top_p) + 1e-9 {
                break;
            }
            sum += weights[token] / total;
        }
        set
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_likeliest() {
        assert_eq!(sampler(0.0, 1.0, 1).draw(&[0.5, 2.0, -1.0, 2.0]), 1);
        assert_eq!(sampler(0.0, 0.1, 2).draw(&[3.0]), 0);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        // Probabilities 1/7, 2/7 and 4/7.
        let logits = [0.0, 2.0_f32.ln(), 4.0_f32.ln()];
        let mut sampler = sampler(1.0, 1.0, 7);
        let mut counts = [0_i32; 3];
        for _ in 0..70_000 {
            counts[sampler.draw(&logits) as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([10_000, 20_000, 40_000]) {
            assert!((count - expected).abs() < 600, "{counts:?}");
        }
    }

    #[test]
    fn orders_outside_the_limits_are_refused() {
        for (temperature, top_p) in
            [(-0.1, 1.0), (2.1, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.1), (1.0, f32::NAN)]
        {
            let sampling = Sampling { temperature, top_p, seed: None };
            assert!(matches!(Sampler::new(&sampling, 0), Err(ComputeError::BadOrder(_))), "{sampling:?}");
        }
    }

    proptest! {
        #[test]
        fn a_draw_is_one_of_the_tokens_that_top_p_allows(
            logits in vec(-20.0_f32..20.0, 1..40),
            temperature in 0.05_f32..2.0,
            top_p in 0.01_f32..1.0,
            seed in any::<u64>(),
        ) {
            let token = sampler(temperature, top_p, seed).draw(&logits);
            prop_assert!(allowed(&logits, temperature, top_p).contains(&token));
        }

        #[test]
        fn a_seed_repeats_its_draws(logits in vec(-5.0_f32..5.0, 1..40), seed in any::<u64>()) {
            let (mut one, mut other) = (sampler(1.0, 0.9, seed), sampler(1.0, 0.9, seed));
            for _ in 0..20 {
                prop_assert_eq!(one.draw(&logits), other.draw(&logits));
            }
        }
    }
}
