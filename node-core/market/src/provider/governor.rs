//! Who decides whether a job may run here now.

use std::any::Any;

use edge_jobs::JobKind;
use tokio_util::sync::CancellationToken;

/// Admits jobs: knows the places, the schedule, and whether the owner paused the node.
pub trait Governor: Send + Sync + 'static {
    /// A place for one job of the kind, or why there is none, in words.
    fn admit(&self, kind: JobKind) -> Result<Place, String>;

    /// Places of a kind: free now, and in all.
    fn places(&self, kind: JobKind) -> (u32, u32);
}

/// A place that a job holds until it ends.
pub struct Place {
    stop: CancellationToken,
    _held: Box<dyn Any + Send + Sync>,
}

impl Place {
    /// A place that is given back by dropping `held`, and must be given back when `stop` is cancelled.
    pub fn new(stop: CancellationToken, held: impl Any + Send + Sync) -> Self {
        Self { stop, _held: Box::new(held) }
    }

    /// Ends when the job has to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("stopped", &self.stop.is_cancelled()).finish()
    }
}
