//! How far other nodes are trusted: faults count against them, and fade.

mod store;

pub use store::{FaultRecord, StandingRecord, StandingStore};

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use theta_types::Address;
use tokio::sync::broadcast;
use tracing::warn;

use crate::{Clock, StoreError, owner::Owner};

/// From this penalty on, a provider is not chosen.
pub const EXCLUDED_AT: u32 = 100;
/// Seconds in which a penalty halves.
pub const HALF_LIFE: u64 = 24 * 3_600;
/// The largest penalty, so that no fault lasts for ever: 400 fades below the threshold in two days.
const MAX_PENALTY: u32 = 400;
/// News that a slow listener may be behind.
const NEWS: usize = 64;

/// What a node did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A segment whose bytes are not those of its hash.
    CorruptSegment,
    /// Vectors that are not those of the texts.
    WrongVectors,
    /// More units claimed than delivered.
    Inflated,
    /// Renditions that are not the source's.
    WrongFrames,
    /// Frames or messages that no honest program sends.
    BadMessage,
    /// It died, stalled or broke off in the middle of a job.
    BrokeOff,
    /// It refused what it offers.
    Refused,
    /// Its work and another provider's do not agree, and it is not known which is wrong; or this node's checker died of it.
    Doubtful,
}

impl Fault {
    /// What it adds to the penalty. A lie excludes at once; an accident does when it is a habit.
    pub fn weight(self) -> u32 {
        match self {
            Fault::WrongVectors | Fault::Inflated | Fault::WrongFrames | Fault::BadMessage => 150,
            Fault::CorruptSegment => 60,
            Fault::Doubtful => 30,
            Fault::BrokeOff => 15,
            Fault::Refused => 5,
        }
    }
}

/// A penalty after `seconds` have passed.
pub fn faded(penalty: u32, seconds: u64) -> u32 {
    let half_lives = seconds as f64 / HALF_LIFE as f64;
    (f64::from(penalty) * (-half_lives).exp2()).round() as u32
}

/// The standing of all other nodes. Clones are the same.
#[derive(Clone, Debug)]
pub struct Standing {
    records: Arc<Mutex<HashMap<Address, StandingRecord>>>,
    store: Owner<Arc<dyn StandingStore>>,
    news: broadcast::Sender<FaultRecord>,
    clock: Arc<dyn Clock>,
}

impl Standing {
    /// Opens what the store holds.
    pub fn open(store: Arc<dyn StandingStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let records = store.load()?.into_iter().map(|record| (record.node, record)).collect();
        let store = Owner::start("standing", store)
            .map_err(|error| StoreError::Unavailable(format!("no thread for it: {error}")))?;
        Ok(Self { records: Arc::new(Mutex::new(records)), store, news: broadcast::Sender::new(NEWS), clock })
    }

    /// A node's penalty now: 0 is spotless, [`EXCLUDED_AT`] and more is not chosen.
    pub fn penalty(&self, node: &Address) -> u32 {
        let now = self.clock.unix_seconds();
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(node).map_or(0, |record| faded(record.penalty, now.saturating_sub(record.at)))
    }

    /// Whether a node is not chosen now.
    pub fn is_excluded(&self, node: &Address) -> bool {
        self.penalty(node) >= EXCLUDED_AT
    }

    /// Counts a fault against a node, and says so to whoever listens.
    pub async fn fault(&self, node: Address, fault: Fault, detail: impl Into<String>) {
        let now = self.clock.unix_seconds();
        let fault = FaultRecord { node, fault, at: now, detail: detail.into() };
        let penalty = (self.penalty(&node) + fault.fault.weight()).min(MAX_PENALTY);
        let record = StandingRecord { node, penalty, at: now };
        self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(node, record.clone());
        warn!(%node, fault = ?fault.fault, detail = %fault.detail, penalty, "a node's standing falls");
        let kept = fault.clone();
        match self.store.with(move |store| store.put(&record, &kept)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "a node's standing could not be recorded"),
            Err(error) => warn!(%error, "a node's standing could not be recorded"),
        }
        // Nobody may listen.
        let _ = self.news.send(fault);
    }

    /// Faults from now on.
    pub fn faults(&self) -> broadcast::Receiver<FaultRecord> {
        self.news.subscribe()
    }

    /// All nodes with a penalty, faded to now.
    pub fn all(&self) -> Vec<StandingRecord> {
        let now = self.clock.unix_seconds();
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let current = records.values().map(|record| StandingRecord {
            penalty: faded(record.penalty, now.saturating_sub(record.at)),
            at: now,
            ..record.clone()
        });
        current.filter(|record| record.penalty > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ManualClock, MemoryStandingStore};

    #[tokio::test]
    async fn a_lie_excludes_at_once_and_fades_in_a_day() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let store = Arc::new(MemoryStandingStore::default());
        let standing = Standing::open(store.clone(), clock.clone()).unwrap();
        let liar = Address::repeat_byte(1);
        assert_eq!(standing.penalty(&liar), 0);
        let mut news = standing.faults();
        standing.fault(liar, Fault::WrongVectors, "cosine 0.2").await;
        assert!(standing.is_excluded(&liar));
        assert_eq!(news.recv().await.unwrap().fault, Fault::WrongVectors);
        // A restart forgets nothing.
        let reopened = Standing::open(store, clock.clone()).unwrap();
        assert!(reopened.is_excluded(&liar));
        clock.advance(HALF_LIFE);
        assert!(!reopened.is_excluded(&liar));
        assert_eq!(reopened.penalty(&liar), Fault::WrongVectors.weight() / 2);
    }

    #[tokio::test]
    async fn accidents_exclude_only_when_they_are_a_habit() {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let standing = Standing::open(Arc::new(MemoryStandingStore::default()), clock).unwrap();
        let node = Address::repeat_byte(2);
        for _ in 0..6 {
            standing.fault(node, Fault::BrokeOff, "").await;
        }
        assert!(!standing.is_excluded(&node));
        standing.fault(node, Fault::BrokeOff, "").await;
        assert!(standing.is_excluded(&node));
    }
}
