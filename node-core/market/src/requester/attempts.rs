//! One request, tried at one provider after the other.

use std::sync::Arc;

use edge_jobs::{JobId, VideoEncoder};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Purse, RequestError,
    buyer::{BuyError, Buyer, Errand},
    handle::Shared,
};
use crate::offer::{Candidate, Need};

/// The tries of one request. Each provider is tried once.
pub(super) struct Attempts {
    pub shared: Arc<Shared>,
    pub purse: Arc<dyn Purse>,
    pub cancel: CancellationToken,
    need: Need,
    tries: u32,
    /// The first job of the request.
    first: Option<JobId>,
    last: Option<String>,
}

impl Attempts {
    pub fn new(shared: Arc<Shared>, need: Need, purse: Arc<dyn Purse>, cancel: CancellationToken) -> Self {
        let need = shared.need_of(need);
        Self { shared, purse, cancel, need, tries: 0, first: None, last: None }
    }

    /// Whoever is not to be tried (any more).
    pub fn exclude(&mut self, provider: theta_types::Address) {
        self.need.exclude.insert(provider);
    }

    /// From now on only providers with this video encoder are asked; `None` asks all of them again.
    pub fn set_encoder(&mut self, encoder: Option<VideoEncoder>) {
        self.need.encoder = encoder;
    }

    /// Opens a session with the best provider that was not tried yet; goes on to the next when it does not come about.
    pub async fn next(&mut self, errand: impl Fn() -> Errand) -> Result<(Buyer, Candidate), RequestError> {
        loop {
            let candidate = self.candidate()?;
            let errand = Errand { first: self.first, ..errand() };
            let (shared, purse, cancel) = (self.shared.clone(), self.purse.clone(), self.cancel.clone());
            match Buyer::open(shared, &candidate, errand, purse, cancel).await {
                Ok(buyer) => {
                    self.first.get_or_insert(buyer.record.id);
                    return Ok((buyer, candidate));
                }
                Err(error) => self.failed(&candidate, error).await?,
            }
        }
    }

    /// Ends a session that failed, and says whether another provider may be tried.
    pub async fn fail(
        &mut self,
        buyer: Buyer,
        candidate: &Candidate,
        error: BuyError,
    ) -> Result<(), RequestError> {
        let _ = buyer.end(Some(&error)).await;
        self.failed(candidate, error).await
    }

    fn candidate(&mut self) -> Result<Candidate, RequestError> {
        let found = self.shared.offers.candidates(&self.need, &self.shared.standing);
        let next = found.into_iter().next().filter(|_| self.tries < self.shared.settings.max_tries);
        match (next, self.last.take()) {
            (Some(candidate), _) => {
                self.tries += 1;
                self.exclude(candidate.offer.provider);
                Ok(candidate)
            }
            (None, Some(last)) => Err(RequestError::Failed { tries: self.tries, last }),
            (None, None) => Err(self.shared.nobody(&self.need)),
        }
    }

    async fn failed(&mut self, candidate: &Candidate, error: BuyError) -> Result<(), RequestError> {
        let provider = candidate.offer.provider;
        info!(%provider, kind = %self.need.kind, %error, "a provider failed");
        if let Some((fault, detail)) = error.fault() {
            self.shared.standing.fault(provider, fault, detail).await;
        }
        match error.final_error() {
            Ok(error) => Err(error),
            Err(error) => {
                self.last = Some(error.to_string());
                Ok(())
            }
        }
    }
}
