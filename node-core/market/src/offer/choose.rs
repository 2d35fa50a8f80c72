//! Choosing among offers.

use std::collections::HashSet;

use edge_jobs::{JobKind, Order, VideoEncoder};
use edge_mesh::PeerId;
use rand::{Rng, RngExt};
use theta_types::{Address, Wei};

use super::Offer;
use crate::standing::EXCLUDED_AT;

/// What is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What kind of work.
    pub kind: JobKind,
    /// The model, for kinds that have one.
    pub model: Option<String>,
    /// The video encoder, when a ladder is to go on with the one that it began with.
    pub encoder: Option<VideoEncoder>,
    /// The most TFuelWei for one unit; `None` for any price.
    pub highest_price: Option<Wei>,
    /// Providers that are not asked, because they just failed or are this node itself.
    pub exclude: HashSet<Address>,
    /// When given, only these peers are asked.
    pub among: Option<HashSet<PeerId>>,
}

/// A provider that can do it, and its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its offer.
    pub offer: Offer,
    /// TFuelWei for one unit.
    pub price: Wei,
    /// Whether it said it has a free place.
    pub free: bool,
}

impl Need {
    /// What an order needs, from anyone at any price.
    pub fn of(order: &Order) -> Self {
        let model = match order {
            Order::Transcode(_) => None,
            Order::Embeddings(order) => Some(order.model.clone()),
            Order::Chat(order) => Some(order.model.clone()),
        };
        let encoder = match order {
            Order::Transcode(order) => order.from.as_ref().map(|from| from.encoder),
            _ => None,
        };
        let (highest_price, exclude, among) = (None, HashSet::new(), None);
        Self { kind: order.kind(), model, encoder, highest_price, exclude, among }
    }

    /// Segments, from some peers.
    pub fn relay(among: HashSet<PeerId>) -> Self {
        let (highest_price, exclude, among) = (None, HashSet::new(), Some(among));
        Self { kind: JobKind::Relay, model: None, encoder: None, highest_price, exclude, among }
    }

    /// Those who can do it: a free place before none, a good standing before a doubtful one, then by price; chance
    /// decides between equals, so that work spreads.
    ///
    /// `penalty` is a provider's standing, 0 for a spotless one; at [`EXCLUDED_AT`] or above it is not chosen.
    pub fn choose(
        &self,
        offers: &[Offer],
        penalty: impl Fn(&Address) -> u32,
        random: &mut impl Rng,
    ) -> Vec<Candidate> {
        let mut found: Vec<((bool, Wei, u64), Candidate)> = offers
            .iter()
            .filter(|offer| !self.exclude.contains(&offer.provider))
            .filter(|offer| self.among.as_ref().is_none_or(|among| among.contains(&offer.peer)))
            .filter(|offer| self.encoder.is_none_or(|encoder| offer.encoders.contains(&encoder)))
            .filter_map(|offer| {
                let service = offer.service(self.kind, self.model.as_deref())?;
                if self.highest_price.as_ref().is_some_and(|highest| service.price > *highest) {
                    return None;
                }
                let penalty = penalty(&offer.provider);
                if penalty >= EXCLUDED_AT {
                    return None;
                }
                // A doubtful standing makes a provider look dearer: up to twice at the threshold.
                let weight = u64::from(EXCLUDED_AT + penalty);
                let weighted = service.price.mul_div(weight, u64::from(EXCLUDED_AT));
                let candidate =
                    Candidate { price: service.price.clone(), free: service.free > 0, offer: offer.clone() };
                Some(((service.free == 0, weighted, random.random()), candidate))
            })
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found.into_iter().map(|(_, candidate)| candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::offer::signed::tests::{offer, wallet};

    fn priced(number: u8, price: u64, free: u32) -> Offer {
        let mut offer = offer(&wallet(number), 1_000);
        offer.services[0].price = Wei::from(price);
        offer.services[0].free = free;
        offer
    }

    fn chosen(need: &Need, offers: &[Offer], bad: &[Address], seed: u64) -> Vec<Address> {
        let penalty = |provider: &Address| if bad.contains(provider) { EXCLUDED_AT } else { 0 };
        let found = need.choose(offers, penalty, &mut StdRng::seed_from_u64(seed));
        found.into_iter().map(|candidate| candidate.offer.provider).collect()
    }

    fn relay() -> Need {
        Need { among: None, ..Need::relay(HashSet::new()) }
    }

    #[test]
    fn a_free_place_goes_before_price_and_price_before_chance() {
        let offers = [priced(1, 9, 1), priced(2, 3, 0), priced(3, 5, 2)];
        let order = [offers[2].provider, offers[0].provider, offers[1].provider];
        assert_eq!(chosen(&relay(), &offers, &[], 1), order);
    }

    #[test]
    fn too_dear_excluded_and_disreputable_ones_are_left_out() {
        let offers = [priced(1, 9, 1), priced(2, 3, 1), priced(3, 5, 1), priced(4, 4, 1)];
        let need = Need {
            highest_price: Some(Wei::from(8u64)),
            exclude: HashSet::from([offers[1].provider]),
            ..relay()
        };
        assert_eq!(chosen(&need, &offers, &[offers[2].provider], 1), [offers[3].provider]);
    }

    #[test]
    fn equals_share_the_work() {
        let offers = [priced(1, 5, 1), priced(2, 5, 1)];
        let first: HashSet<Address> = (0..32).map(|seed| chosen(&relay(), &offers, &[], seed)[0]).collect();
        assert_eq!(first.len(), 2);
    }

    #[test]
    fn a_model_must_be_offered() {
        let offers = [priced(1, 5, 1)];
        let chat = |model: &str| Need { kind: JobKind::Chat, model: Some(model.into()), ..relay() };
        assert_eq!(chosen(&chat("small"), &offers, &[], 1).len(), 1);
        assert!(chosen(&chat("large"), &offers, &[], 1).is_empty());
    }
}
