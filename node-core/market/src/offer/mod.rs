//! What providers offer, announced by gossip and passed on to new peers.

mod book;
mod choose;
mod exchange;
mod signed;

pub use book::{MAX_OFFERS, OfferBook, Offers};
pub use choose::{Candidate, Need};
pub use exchange::{ExchangeError, MAX_GIVEN};
pub use signed::{MAX_OFFER_BYTES, OfferError, SignedOffer};

use edge_jobs::{JobKind, VideoEncoder};
use edge_mesh::PeerId;
use serde::{Deserialize, Serialize};
use theta_types::{Address, ResourceId, Wei};

/// How long an offer may hold, in seconds.
pub const MAX_OFFER_LIFE: u64 = 3_600;

/// What a provider offers, and how to pay it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who is paid.
    pub provider: Address,
    /// Who is dialled.
    #[serde(with = "peer_text")]
    pub peer: PeerId,
    /// The resource that a reserve for this provider lists, and nothing else.
    pub resource: ResourceId,
    /// What can be asked for.
    pub services: Vec<Service>,
    /// The video encoder that ladders are made with there; none when it does not work.
    pub encoders: Vec<VideoEncoder>,
    /// The device that models run on, in words.
    pub device: Option<String>,
    /// Whether that device is a real GPU.
    pub gpu: bool,
    /// TFuelWei that a payer without a reserve may owe.
    pub credit: Wei,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// One thing that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What kind of work.
    pub kind: JobKind,
    /// The model, for kinds that have one.
    pub model: Option<String>,
    /// TFuelWei for one unit.
    pub price: Wei,
    /// Places that are free now.
    pub free: u32,
    /// Places in all.
    pub places: u32,
}

impl Offer {
    /// The service for a kind and model.
    pub fn service(&self, kind: JobKind, model: Option<&str>) -> Option<&Service> {
        self.services.iter().find(|service| service.kind == kind && service.model.as_deref() == model)
    }
}

mod peer_text {
    use edge_mesh::PeerId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(peer: &PeerId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(peer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
