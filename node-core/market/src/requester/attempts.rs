//! One request, tried at one provider after the other.

use std::{collections::HashSet, sync::Arc, time::Duration};

use edge_jobs::{JobId, JobKind, VideoEncoder};
use theta_types::Address;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    Purse, RequestError,
    buyer::{BuyError, Buyer, Errand},
    handle::Shared,
};
use crate::offer::{Candidate, Need};

/// How soon a provider without a free place is asked again, at first.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The pause grows to this while a request waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The tries of one request. Each provider is tried once; one that has no free place was not tried, and is asked again.
pub(super) struct Attempts {
    pub shared: Arc<Shared>,
    pub purse: Arc<dyn Purse>,
    pub cancel: CancellationToken,
    need: Need,
    tries: u32,
    /// The first job of the request.
    first: Option<JobId>,
    last: Option<String>,
    wait: Option<Wait>,
}

/// A request that waits for a free place.
struct Wait {
    since: Instant,
    /// Who had none since the last pause.
    full: HashSet<Address>,
    /// What the last of them said.
    said: String,
    pause: Duration,
}

impl Attempts {
    pub fn new(shared: Arc<Shared>, need: Need, purse: Arc<dyn Purse>, cancel: CancellationToken) -> Self {
        let need = shared.need_of(need);
        Self { shared, purse, cancel, need, tries: 0, first: None, last: None, wait: None }
    }

    /// Whoever is not to be tried (any more).
    pub fn exclude(&mut self, provider: Address) {
        self.need.exclude.insert(provider);
    }

    /// From now on only providers with this video encoder are asked; `None` asks all of them again.
    pub fn set_encoder(&mut self, encoder: Option<VideoEncoder>) {
        self.need.encoder = encoder;
    }

    /// Opens a session with the best provider that was not tried yet; goes on to the next when it does not come about. When
    /// all places are taken it waits for one.
    pub async fn next(&mut self, errand: impl Fn() -> Errand) -> Result<(Buyer, Candidate), RequestError> {
        loop {
            let Some(candidate) = self.candidate()? else {
                self.pause().await?;
                continue;
            };
            let first = self.first;
            let errand = || Errand { first, ..errand() };
            let (shared, purse, cancel) = (self.shared.clone(), self.purse.clone(), self.cancel.clone());
            match Buyer::open(shared, &candidate, errand, purse, cancel).await {
                Ok(buyer) => {
                    self.first.get_or_insert(buyer.record.id);
                    self.tried(&candidate);
                    self.wait = None;
                    return Ok((buyer, candidate));
                }
                Err(error) if error.is_busy() => self.full(&candidate, &error),
                Err(error) => {
                    self.tried(&candidate);
                    self.failed(&candidate, error).await?;
                }
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

    /// Who is asked next; `None` while everybody is busy.
    fn candidate(&mut self) -> Result<Option<Candidate>, RequestError> {
        let found = self.shared.offers.candidates(&self.need, &self.shared.standing);
        let full = |candidate: &Candidate| {
            self.wait.as_ref().is_some_and(|wait| wait.full.contains(&candidate.offer.provider))
        };
        let may_try = self.tries < self.shared.settings.max_tries;
        let next = found.into_iter().find(|candidate| !full(candidate)).filter(|_| may_try);
        if let Some(candidate) = next {
            return Ok(Some(candidate));
        }
        // An offer that lapsed while it was waited for may come again, too.
        if may_try && self.wait.is_some() {
            return Ok(None);
        }
        match self.last.take() {
            Some(last) => Err(RequestError::Failed { tries: self.tries, last }),
            None => Err(self.shared.nobody(&self.need)),
        }
    }

    fn tried(&mut self, candidate: &Candidate) {
        self.tries += 1;
        self.exclude(candidate.offer.provider);
    }

    fn full(&mut self, candidate: &Candidate, error: &BuyError) {
        let provider = candidate.offer.provider;
        debug!(%provider, kind = %self.need.kind, %error, "a provider has no free place");
        let wait = self.wait.get_or_insert_with(|| Wait {
            since: Instant::now(),
            full: HashSet::new(),
            said: String::new(),
            pause: ASK_AGAIN,
        });
        wait.full.insert(provider);
        wait.said = error.to_string();
    }

    /// Lets a moment pass, and then everybody may be asked again. A new offer ends the pause, but not its first part:
    /// in a large network there is always a new one.
    async fn pause(&mut self) -> Result<(), RequestError> {
        let settings = &self.shared.settings;
        let patience = match self.need.kind {
            JobKind::Transcode => settings.transcode_place_wait,
            _ => settings.place_wait,
        };
        let Some(wait) = &mut self.wait else { return Ok(()) };
        if wait.since.elapsed() >= patience {
            return Err(RequestError::NoPlace {
                kind: self.need.kind,
                waited: patience,
                said: wait.said.clone(),
            });
        }
        let mut changes = self.shared.offers.changes();
        let passed = async {
            tokio::time::sleep(ASK_AGAIN).await;
            let _ = tokio::time::timeout(wait.pause.saturating_sub(ASK_AGAIN), changes.changed()).await;
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(RequestError::Cancelled),
            () = passed => {}
        }
        wait.full.clear();
        wait.pause = (wait.pause * 2).min(LONGEST_PAUSE);
        Ok(())
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
