//! Offers as they travel: signed by the provider's wallet.

use edge_jobs::JobKind;
use theta_types::Signature;
use theta_wallet::{Wallet, WalletError};

use super::{MAX_OFFER_LIFE, Offer};

/// Largest offer on the wire.
pub const MAX_OFFER_BYTES: usize = 16 * 1024;
/// What the signature covers begins with this, so that it is a signature of nothing else.
const DOMAIN: &[u8] = b"thetis offer 1\n";
/// Seconds that another node's clock may be ahead.
const CLOCK_DIFFERENCE: u64 = 120;

const MAX_SERVICES: usize = 64;
const MAX_MODEL: usize = 128;
const MAX_DEVICE: usize = 200;
const MAX_RESOURCE: usize = 128;
const MAX_ENCODERS: usize = 16;

/// Why bytes are no offer.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Longer than [`MAX_OFFER_BYTES`], or shorter than a signature.
    #[error("an offer has 66 to {MAX_OFFER_BYTES} bytes, not {0}")]
    Length(usize),
    /// It cannot be read.
    #[error("the offer cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The provider that it names did not sign it, or for another chain.
    #[error("the offer is not signed by its provider for this chain")]
    Signature,
    /// It is over, or not yet, or holds too long.
    #[error("the offer does not hold now")]
    Time,
    /// Something in it is too long, or does not fit together.
    #[error("the offer is not well formed: {0}")]
    Form(&'static str),
}

/// An offer and the bytes that prove it: 65 bytes of signature, then the offer as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOffer {
    /// The offer.
    pub offer: Offer,
    /// What travels.
    pub bytes: Vec<u8>,
}

impl SignedOffer {
    /// Signs an offer.
    ///
    /// # Errors
    /// The wallet is locked.
    pub fn sign(offer: Offer, chain_id: &str, wallet: &Wallet) -> Result<Self, WalletError> {
        let json = offer_json(&offer);
        let signature = wallet.sign(&signed_part(chain_id, &json))?;
        let mut bytes = signature.as_bytes().to_vec();
        bytes.extend_from_slice(&json);
        Ok(Self { offer, bytes })
    }

    /// Reads and checks an offer from the wire. `now` is seconds since 1970.
    ///
    /// # Errors
    /// See [`OfferError`]. Whoever sent it is to blame, except for [`OfferError::Time`].
    pub fn decode(bytes: &[u8], chain_id: &str, now: u64) -> Result<Self, OfferError> {
        if bytes.len() > MAX_OFFER_BYTES || bytes.len() <= Signature::LENGTH {
            return Err(OfferError::Length(bytes.len()));
        }
        let (signature, json) = bytes.split_at(Signature::LENGTH);
        let offer: Offer = serde_json::from_slice(json)?;
        check_form(&offer)?;
        if offer.issued > now.saturating_add(CLOCK_DIFFERENCE)
            || offer.expires <= now
            || offer.expires.saturating_sub(offer.issued) > MAX_OFFER_LIFE
        {
            return Err(OfferError::Time);
        }
        if !Signature::from(signature).verify(&signed_part(chain_id, json), &offer.provider) {
            return Err(OfferError::Signature);
        }
        Ok(Self { offer, bytes: bytes.to_vec() })
    }
}

fn offer_json(offer: &Offer) -> Vec<u8> {
    serde_json::to_vec(offer).expect("an offer holds nothing that JSON cannot")
}

fn signed_part(chain_id: &str, json: &[u8]) -> Vec<u8> {
    [DOMAIN, chain_id.as_bytes(), b"\n", json].concat()
}

fn check_form(offer: &Offer) -> Result<(), OfferError> {
    if offer.services.len() > MAX_SERVICES || offer.encoders.len() > MAX_ENCODERS {
        return Err(OfferError::Form("too many services or encoders"));
    }
    let resource = offer.resource.as_bytes().len();
    if resource == 0 || resource > MAX_RESOURCE {
        return Err(OfferError::Form("the resource's name"));
    }
    if offer.device.as_ref().is_some_and(|device| device.len() > MAX_DEVICE) {
        return Err(OfferError::Form("the device's name"));
    }
    for service in &offer.services {
        let has_model = matches!(service.kind, JobKind::Embeddings | JobKind::Chat);
        match &service.model {
            Some(model) if !has_model || model.is_empty() || model.len() > MAX_MODEL => {
                return Err(OfferError::Form("a model's name"));
            }
            None if has_model => return Err(OfferError::Form("a service without its model")),
            _ => {}
        }
        if service.price.to_u128().is_none() {
            return Err(OfferError::Form("a price"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use edge_mesh::PeerId;
    use proptest::prelude::*;
    use theta_types::{SecretKey, Wei};

    use super::*;
    use crate::offer::Service;

    pub fn wallet(number: u8) -> Wallet {
        Wallet::unlocked(SecretKey::from_bytes(&[number; 32]).unwrap())
    }

    pub fn offer(wallet: &Wallet, issued: u64) -> Offer {
        Offer {
            provider: wallet.address(),
            peer: PeerId::random(),
            resource: "5f2b".into(),
            services: vec![
                Service { kind: JobKind::Relay, model: None, price: Wei::from(5u64), free: 4, places: 8 },
                Service {
                    kind: JobKind::Chat,
                    model: Some("small".into()),
                    price: Wei::from(7u64),
                    free: 1,
                    places: 1,
                },
            ],
            encoders: vec![],
            device: Some("a GPU".into()),
            gpu: true,
            credit: Wei::from(1_000u64),
            issued,
            expires: issued + 60,
        }
    }

    #[test]
    fn an_offer_survives_the_wire_and_holds_for_its_time() {
        let wallet = wallet(1);
        let signed = SignedOffer::sign(offer(&wallet, 1_000), "local", &wallet).unwrap();
        assert_eq!(SignedOffer::decode(&signed.bytes, "local", 1_030).unwrap(), signed);
        let late = SignedOffer::decode(&signed.bytes, "local", 1_060);
        assert!(matches!(late, Err(OfferError::Time)), "{late:?}");
        let early = SignedOffer::decode(&signed.bytes, "local", 800);
        assert!(matches!(early, Err(OfferError::Time)), "{early:?}");
    }

    #[test]
    fn an_offer_of_another_chain_or_signed_by_another_is_refused() {
        let (own, other) = (wallet(1), wallet(2));
        let signed = SignedOffer::sign(offer(&own, 1_000), "mainnet", &own).unwrap();
        assert!(matches!(SignedOffer::decode(&signed.bytes, "local", 1_001), Err(OfferError::Signature)));
        let forged = SignedOffer::sign(offer(&own, 1_000), "local", &other).unwrap();
        assert!(matches!(SignedOffer::decode(&forged.bytes, "local", 1_001), Err(OfferError::Signature)));
    }

    #[test]
    fn an_oversize_offer_is_refused() {
        let wallet = wallet(1);
        let mut large = offer(&wallet, 1_000);
        large.services = vec![large.services[0].clone(); MAX_SERVICES + 1];
        let signed = SignedOffer::sign(large, "local", &wallet).unwrap();
        assert!(matches!(SignedOffer::decode(&signed.bytes, "local", 1_001), Err(OfferError::Form(_))));
        let huge = vec![b'x'; MAX_OFFER_BYTES + 1];
        assert!(matches!(SignedOffer::decode(&huge, "local", 1_001), Err(OfferError::Length(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_offer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = SignedOffer::decode(&bytes, "local", 1_000);
        }

        #[test]
        fn one_flipped_bit_is_no_offer(place in 0usize..2_000, bit in 0u8..8) {
            let wallet = wallet(1);
            let mut bytes = SignedOffer::sign(offer(&wallet, 1_000), "local", &wallet).unwrap().bytes;
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            prop_assert!(SignedOffer::decode(&bytes, "local", 1_001).is_err());
        }
    }
}
