//! The record of jobs, on both sides.

use std::sync::Arc;

use edge_jobs::{JobErrorCode, JobId, JobKind};
use serde::{Deserialize, Serialize};
use theta_types::{Address, Wei};
use tokio::sync::broadcast;
use tracing::warn;

use crate::{StoreError, owner::Owner};

/// News that a slow listener may be behind.
const NEWS: usize = 256;

/// Which side this node was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSide {
    /// This node did the work.
    Provider,
    /// This node asked for it.
    Requester,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobOutcome {
    /// It goes on.
    Running,
    /// It is complete.
    Done,
    /// The requester stopped it.
    Cancelled,
    /// It failed.
    Failed {
        /// What a program can act on.
        code: JobErrorCode,
        /// In words.
        message: String,
    },
    /// The program ended in the middle.
    Interrupted,
}

/// One job with one counterparty. A request that moved from one provider to another is two jobs, the second of which
/// names the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// The first job of the request, when this is a later try.
    pub first: Option<JobId>,
    /// Which side this node was on.
    pub side: JobSide,
    /// What kind of work.
    pub kind: JobKind,
    /// The model, for kinds that have one.
    pub model: Option<String>,
    /// The other side's wallet.
    pub counterparty: Address,
    /// TFuelWei for one unit.
    pub price: Wei,
    /// Units delivered, as this side counted them. How they are paid: see the shares of the books.
    pub units: u64,
    /// Bytes of results that were delivered.
    pub bytes: u64,
    /// Tokens: completion tokens of a chat, input tokens of embeddings.
    pub tokens: u64,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// How it stands.
    pub outcome: JobOutcome,
}

/// Where jobs are kept. Calls block until the record is durable.
pub trait JobStore: Send + Sync {
    /// Keeps a job, in place of what was kept of it (same id and side).
    fn put(&self, job: &JobRecord) -> Result<(), StoreError>;

    /// One job.
    fn get(&self, id: JobId, side: JobSide) -> Result<Option<JobRecord>, StoreError>;

    /// Jobs of a side with a counterparty that the end of a run of the program interrupted, oldest first.
    fn interrupted(&self, side: JobSide, counterparty: Address) -> Result<Vec<JobRecord>, StoreError>;

    /// Marks every running job as interrupted at a time; called once at the start. How many there were.
    fn interrupt_running(&self, at: u64) -> Result<u64, StoreError>;
}

/// The node's record of jobs. Clones are the same.
#[derive(Clone, Debug)]
pub struct Jobs {
    store: Owner<Arc<dyn JobStore>>,
    news: broadcast::Sender<JobRecord>,
}

impl Jobs {
    /// Opens the record. Jobs that the last run of the program left running are marked as interrupted.
    pub fn open(store: Arc<dyn JobStore>, now: u64) -> Result<Self, StoreError> {
        store.interrupt_running(now)?;
        let store = Owner::start("jobs", store)
            .map_err(|error| StoreError::Unavailable(format!("no thread for it: {error}")))?;
        Ok(Self { store, news: broadcast::Sender::new(NEWS) })
    }

    /// Keeps a job as it stands, and tells whoever listens. A record that cannot be kept is logged: money is in the
    /// books, and not here.
    pub async fn put(&self, job: JobRecord) {
        let kept = job.clone();
        if let Err(error) = self.ask(move |store| store.put(&kept)).await {
            warn!(%error, job = %job.id, "a job could not be recorded");
        }
        // Nobody may listen.
        let _ = self.news.send(job);
    }

    /// One job as it was kept last.
    pub async fn get(&self, id: JobId, side: JobSide) -> Result<Option<JobRecord>, StoreError> {
        self.ask(move |store| store.get(id, side)).await
    }

    /// See [`JobStore::interrupted`].
    pub async fn interrupted(
        &self,
        side: JobSide,
        counterparty: Address,
    ) -> Result<Vec<JobRecord>, StoreError> {
        self.ask(move |store| store.interrupted(side, counterparty)).await
    }

    async fn ask<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn JobStore) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let answer = self.store.with(move |store| ask(&**store)).await;
        answer.map_err(|closed| StoreError::Unavailable(closed.to_string()))?
    }

    /// Jobs as they change, from now on.
    pub fn news(&self) -> broadcast::Receiver<JobRecord> {
        self.news.subscribe()
    }
}
