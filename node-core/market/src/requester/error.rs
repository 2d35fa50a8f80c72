//! Why a request failed, for whoever made it.

use std::time::Duration;

use edge_jobs::{JobError, JobErrorCode, JobKind};

/// Why a request failed. Nothing beyond units that were delivered and found good was paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody offers it now. Try later, or raise the price.
    #[error("no provider for {kind}: {reason}")]
    NoProvider {
        /// What was asked for.
        kind: JobKind,
        /// Why, as far as it is known.
        reason: String,
    },
    /// The order cannot be worked on by anyone: change it.
    #[error("{0}")]
    BadOrder(JobError),
    /// This node cannot pay: unlock the wallet, fund it, or raise a limit.
    #[error("{0}")]
    CannotPay(String),
    /// The request's own budget is used up.
    #[error("{0}")]
    OverBudget(String),
    /// Every provider that was tried failed.
    #[error("{tries} providers were tried, the last one failed: {last}")]
    Failed {
        /// How many.
        tries: u32,
        /// The last failure.
        last: String,
    },
    /// Every provider was busy all the time that the request waited. Try later, or raise the price.
    #[error("every provider for {kind} was busy for {} s, the last one: {said}", waited.as_secs())]
    NoPlace {
        /// What was asked for.
        kind: JobKind,
        /// How long it waited.
        waited: Duration,
        /// What the last provider said.
        said: String,
    },
    /// Too many requests run at one time.
    #[error("too many requests run at one time")]
    Busy,
    /// Something on this machine failed (disk, worker).
    #[error("{0}")]
    Local(String),
    /// Whoever asked went away.
    #[error("the request was cancelled")]
    Cancelled,
}

impl RequestError {
    /// As the error of a job.
    pub fn job_error(&self) -> JobError {
        let code = match self {
            RequestError::BadOrder(error) => return error.clone(),
            RequestError::NoProvider { .. } => JobErrorCode::Unsupported,
            RequestError::Busy | RequestError::NoPlace { .. } => JobErrorCode::Busy,
            RequestError::Cancelled => JobErrorCode::Cancelled,
            _ => JobErrorCode::Internal,
        };
        JobError::new(code, self.to_string())
    }
}
