//! The requester as the rest of the node uses it.

use std::{sync::Arc, time::Duration};

use edge_jobs::{ChatOrder, JobKind, Order};
use theta_types::Wei;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Dialer, RequestError};
use crate::{
    Clock,
    check::Judge,
    jobs::Jobs,
    offer::{Need, Offers},
    payer::Payer,
    session::{chat_units, transcode_units},
    standing::Standing,
};

/// Settings of a requester.
#[derive(Clone, Debug)]
pub struct RequesterSettings {
    /// Requests that may run at one time.
    pub max_running: usize,
    /// How long a request waits for its turn.
    pub turn_wait: Duration,
    /// How long a chat or an embeddings order waits for a free place when every provider is busy.
    pub place_wait: Duration,
    /// How long a transcode waits for one: it is a long job behind other long jobs, and its user waits for it anyway.
    pub transcode_place_wait: Duration,
    /// Providers that are tried for one request.
    pub max_tries: u32,
    /// How long a provider may say nothing.
    pub stall_wait: Duration,
    /// How long a provider may say nothing but that it is there.
    pub progress_wait: Duration,
    /// Whether the first units of a new provider may go on its credit while a reserve is opened.
    pub use_credit: bool,
    /// The share of embeddings orders and chats that are checked by doing a part again, from 0 to 1. What looks wrong is
    /// checked in any case: form and size of vectors always are, and tokens are counted again when they are many for
    /// their text. With the default of 0.1 a provider that lies in every order is found after 10 of them on average.
    pub check_share: f64,
    /// What is known of models. Those that are not named may have a long context, and vectors of any size.
    pub models: Vec<ModelLimits>,
    /// The most TFuelWei for a unit, by kind; a kind that is not named has no ceiling.
    pub highest_prices: Vec<(JobKind, Wei)>,
    /// The largest segment that is taken from a transcoder, in bytes.
    pub max_segment_bytes: u64,
    /// How soon another provider is asked for a segment, too, when the first does not begin to deliver it.
    pub hedge_after: Duration,
    /// How long a segment may take, besides the time for its bytes.
    pub segment_wait: Duration,
    /// Bytes a second that a segment has to come with, at least.
    pub slowest_segment: u64,
}

impl RequesterSettings {
    /// How long a provider gets to deliver a segment of so many bytes.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1_000) / self.slowest_segment.max(1);
        self.segment_wait.saturating_add(Duration::from_millis(millis))
    }
}

impl Default for RequesterSettings {
    fn default() -> Self {
        Self {
            max_running: 64,
            turn_wait: Duration::from_secs(30),
            place_wait: Duration::from_secs(30),
            transcode_place_wait: Duration::from_secs(12 * 3_600),
            max_tries: 4,
            stall_wait: Duration::from_secs(20),
            progress_wait: Duration::from_secs(120),
            use_credit: true,
            check_share: 0.1,
            models: Vec::new(),
            highest_prices: Vec::new(),
            max_segment_bytes: 64 * 1024 * 1024,
            hedge_after: Duration::from_millis(1_500),
            segment_wait: Duration::from_secs(3),
            slowest_segment: 50_000,
        }
    }
}

/// What a model can do at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLimits {
    /// Its id.
    pub id: String,
    /// Tokens of prompt and completion together.
    pub context_tokens: u32,
    /// Numbers in a vector, for an embeddings model.
    pub dimensions: Option<u32>,
}

/// What a requester needs.
pub struct RequesterConfig {
    /// Pays.
    pub payer: Payer,
    /// Reaches providers.
    pub dialer: Arc<dyn Dialer>,
    /// Knows them.
    pub offers: Offers,
    /// Knows how far they are trusted.
    pub standing: Standing,
    /// Checks what they deliver.
    pub judge: Arc<dyn Judge>,
    /// Keeps the record.
    pub jobs: Jobs,
    /// The settings.
    pub settings: RequesterSettings,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RequesterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequesterConfig").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Asks the network for work. Clones are the same requester.
#[derive(Clone)]
pub struct Requester {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub payer: Payer,
    pub dialer: Arc<dyn Dialer>,
    pub offers: Offers,
    pub standing: Standing,
    pub judge: Arc<dyn Judge>,
    pub jobs: Jobs,
    pub settings: RequesterSettings,
    pub clock: Arc<dyn Clock>,
    turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requester").field("payer", &self.shared.payer).finish_non_exhaustive()
    }
}

/// What an order can cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// TFuelWei for a unit at the cheapest provider that is there now.
    pub lowest_price: Wei,
    /// TFuelWei for a unit at the dearest that would be asked.
    pub highest_price: Wei,
    /// Units of the order at most; `None` when only the model's context limits it.
    pub units: Option<u64>,
    /// Providers that offer it now.
    pub providers: usize,
}

impl Quote {
    /// The most that an order of so many units can cost at one provider.
    pub fn highest(&self, units: u64) -> Wei {
        &self.highest_price * units
    }
}

impl Requester {
    /// A requester.
    pub fn new(config: RequesterConfig) -> Self {
        let RequesterConfig { payer, dialer, offers, standing, judge, jobs, settings, clock } = config;
        let turns = Arc::new(Semaphore::new(settings.max_running.max(1)));
        let shared = Shared { payer, dialer, offers, standing, judge, jobs, settings, clock, turns };
        Self { shared: Arc::new(shared) }
    }

    /// What an order can cost now.
    ///
    /// # Errors
    /// [`RequestError::NoProvider`].
    pub fn quote(&self, order: &Order) -> Result<Quote, RequestError> {
        let need = self.shared.need_of(Need::of(order));
        let candidates = self.shared.offers.candidates(&need, &self.shared.standing);
        let prices = || candidates.iter().map(|candidate| &candidate.price);
        let (Some(lowest), Some(highest)) = (prices().min(), prices().max()) else {
            return Err(self.shared.nobody(&need));
        };
        let units = match order {
            Order::Transcode(order) => Some(transcode_units(order.source_duration_ms)),
            Order::Embeddings(_) => Some(1),
            Order::Chat(order) => order.max_tokens.map(|tokens| chat_units(u64::from(tokens))),
        };
        Ok(Quote {
            lowest_price: lowest.clone(),
            highest_price: highest.clone(),
            units,
            providers: candidates.len(),
        })
    }

    /// The offers that are known.
    pub fn offers(&self) -> &Offers {
        &self.shared.offers
    }

    /// Who pays.
    pub fn payer(&self) -> &Payer {
        &self.shared.payer
    }
}

/// Tokens that a model may have written which is not known here.
const LONGEST_CONTEXT: u32 = 128 * 1_024;

impl Shared {
    /// The most completion tokens that a chat can have.
    pub fn most_tokens(&self, order: &ChatOrder) -> u64 {
        let context = self.limits_of(&order.model).map_or(LONGEST_CONTEXT, |limits| limits.context_tokens);
        u64::from(order.max_tokens.map_or(context, |wanted| wanted.min(context)))
    }

    /// Numbers in a vector of a model, if it is known.
    pub fn dimensions(&self, model: &str) -> Option<u32> {
        self.limits_of(model)?.dimensions
    }

    fn limits_of(&self, model: &str) -> Option<&ModelLimits> {
        self.settings.models.iter().find(|limits| limits.id == model)
    }

    /// A place among the requests that run.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        let turn = tokio::time::timeout(self.settings.turn_wait, self.turns.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(RequestError::Busy)
    }

    /// A need within this requester's price ceiling, and not at this node itself: nobody can pay itself.
    pub fn need_of(&self, mut need: Need) -> Need {
        need.exclude.insert(self.payer.address());
        need.highest_price = self
            .settings
            .highest_prices
            .iter()
            .find(|(kind, _)| *kind == need.kind)
            .map(|(_, price)| price.clone());
        need
    }

    /// Says honestly why nobody is there.
    pub fn nobody(&self, need: &Need) -> RequestError {
        let offers = self.offers.all();
        let offering: Vec<_> = offers
            .iter()
            .filter(|offer| offer.provider != self.payer.address())
            .filter_map(|offer| Some((offer, offer.service(need.kind, need.model.as_deref())?)))
            .collect();
        let reason = if offers.is_empty() {
            "no provider has announced itself yet".to_owned()
        } else if offering.is_empty() {
            match &need.model {
                Some(model) => format!("nobody offers the model {model} now"),
                None => "nobody offers it now".to_owned(),
            }
        } else if let Some(highest) = &need.highest_price
            && offering.iter().all(|(_, service)| service.price > *highest)
        {
            format!("the prices asked are above the limit of {highest} TFuelWei a unit")
        } else if offering.iter().all(|(offer, _)| self.standing.is_excluded(&offer.provider)) {
            "those who offer it have cheated or failed too often".to_owned()
        } else {
            "those who offer it have just been tried".to_owned()
        };
        RequestError::NoProvider { kind: need.kind, reason }
    }
}
