//! The offers that are known now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use edge_mesh::PeerId;
use theta_types::Address;
use tokio::sync::watch;

use super::{Candidate, Need, Offer, OfferError, SignedOffer};
use crate::{Clock, standing::Standing};

/// Most offers that are kept. When there are more, those that end first go.
pub const MAX_OFFERS: usize = 4_096;

/// Offers by provider: one each, the newest.
#[derive(Clone, Debug, Default)]
pub struct OfferBook {
    offers: HashMap<Address, SignedOffer>,
}

impl OfferBook {
    /// Takes an offer that was checked. False when a newer one of the same provider is there.
    pub fn insert(&mut self, offer: SignedOffer) -> bool {
        let provider = offer.offer.provider;
        if self.offers.get(&provider).is_some_and(|known| known.offer.issued >= offer.offer.issued) {
            return false;
        }
        self.offers.insert(provider, offer);
        if self.offers.len() > MAX_OFFERS {
            let first = self.offers.values().min_by_key(|known| known.offer.expires);
            if let Some(provider) = first.map(|known| known.offer.provider) {
                self.offers.remove(&provider);
            }
        }
        true
    }

    /// Forgets what does not hold any more; whether there was something.
    pub fn expire(&mut self, now: u64) -> bool {
        let before = self.offers.len();
        self.offers.retain(|_, known| known.offer.expires > now);
        self.offers.len() != before
    }

    /// The offer of a provider.
    pub fn of(&self, provider: &Address) -> Option<&Offer> {
        self.offers.get(provider).map(|known| &known.offer)
    }

    /// The offer of the provider behind a peer.
    pub fn of_peer(&self, peer: &PeerId) -> Option<&Offer> {
        self.offers.values().map(|known| &known.offer).find(|offer| offer.peer == *peer)
    }

    /// All offers.
    pub fn all(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values().map(|known| &known.offer)
    }
}

/// The node's book of offers. Clones are the same book.
#[derive(Clone, Debug)]
pub struct Offers {
    book: Arc<Mutex<OfferBook>>,
    changes: watch::Sender<u64>,
    chain_id: Arc<str>,
    clock: Arc<dyn Clock>,
}

impl Offers {
    /// An empty book for a chain.
    pub fn new(chain_id: &str, clock: Arc<dyn Clock>) -> Self {
        Self { book: Arc::default(), changes: watch::Sender::new(0), chain_id: chain_id.into(), clock }
    }

    /// Takes an offer from the wire. `sender` is the wallet that its first sender proved, when that is known: nobody
    /// makes offers for others.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn take(&self, bytes: &[u8], sender: Option<Address>) -> Result<(), OfferError> {
        let offer = SignedOffer::decode(bytes, &self.chain_id, self.clock.unix_seconds())?;
        if sender.is_some_and(|sender| sender != offer.offer.provider) {
            return Err(OfferError::Signature);
        }
        self.insert(offer);
        Ok(())
    }

    /// Takes an offer that was made here.
    pub fn insert(&self, offer: SignedOffer) {
        let now = self.clock.unix_seconds();
        let changed = self.with(|book| book.expire(now) | book.insert(offer));
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// All offers that hold now.
    pub fn all(&self) -> Vec<Offer> {
        let now = self.clock.unix_seconds();
        self.with(|book| book.all().filter(|offer| offer.expires > now).cloned().collect())
    }

    /// The newest offers that hold now, as they travel.
    pub fn newest(&self, most: usize) -> Vec<Vec<u8>> {
        let now = self.clock.unix_seconds();
        self.with(|book| {
            let mut newest: Vec<&SignedOffer> =
                book.offers.values().filter(|known| known.offer.expires > now).collect();
            newest.sort_unstable_by_key(|known| std::cmp::Reverse(known.offer.issued));
            newest.into_iter().take(most).map(|known| known.bytes.clone()).collect()
        })
    }

    /// The offer of a provider.
    pub fn of(&self, provider: &Address) -> Option<Offer> {
        let now = self.clock.unix_seconds();
        self.with(|book| book.of(provider).filter(|offer| offer.expires > now).cloned())
    }

    /// The offer of the provider behind a peer.
    pub fn of_peer(&self, peer: &PeerId) -> Option<Offer> {
        let now = self.clock.unix_seconds();
        self.with(|book| book.of_peer(peer).filter(|offer| offer.expires > now).cloned())
    }

    /// Who can do what is needed, the best first.
    pub fn candidates(&self, need: &Need, standing: &Standing) -> Vec<Candidate> {
        let offers = self.all();
        need.choose(&offers, |provider| standing.penalty(provider), &mut rand::rng())
    }

    /// Changes with every offer that comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut OfferBook) -> R) -> R {
        use_it(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::signed::tests::{offer, wallet};

    fn signed(number: u8, issued: u64) -> SignedOffer {
        let wallet = wallet(number);
        SignedOffer::sign(offer(&wallet, issued), "local", &wallet).unwrap()
    }

    #[test]
    fn the_newest_offer_of_a_provider_holds_until_its_end() {
        let mut book = OfferBook::default();
        let (old, new) = (signed(1, 1_000), signed(1, 1_010));
        assert!(book.insert(new.clone()));
        assert!(!book.insert(old));
        assert_eq!(book.of(&new.offer.provider), Some(&new.offer));
        assert_eq!(book.of_peer(&new.offer.peer), Some(&new.offer));
        assert!(!book.expire(1_069));
        assert!(book.expire(1_070));
        assert_eq!(book.all().count(), 0);
    }

    #[test]
    fn the_book_does_not_grow_without_end() {
        let mut book = OfferBook::default();
        let first = signed(1, 1_000);
        book.insert(first.clone());
        for number in 0..MAX_OFFERS {
            // Signatures are checked before this.
            let mut other = signed(2, 2_000);
            other.offer.provider = Address::left_padding_from(&number.to_be_bytes());
            book.insert(other);
        }
        assert_eq!(book.all().count(), MAX_OFFERS);
        assert_eq!(book.of(&first.offer.provider), None);
    }
}
