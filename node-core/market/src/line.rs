//! Names and records that both sides of a payment line share.

use edge_jobs::{JobId, JobKind};
use serde::{Deserialize, Serialize};
use theta_types::{Address, Wei};

/// One sequence of vouchers: a reserve of the payer, and one payment sequence on it. Only one voucher of a line ever
/// reaches the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineId {
    /// The other side: the provider's address for the payer, the payer's for the provider.
    pub counterparty: Address,
    /// Sequence of the transaction that reserved the fund.
    pub reserve: u64,
    /// The payment sequence that every voucher of the line carries.
    pub sequence: u64,
}

/// Units of one job that one line carries.
///
/// A job has several when a settlement fell into it. `line` is `None` for units that no voucher carries (yet): on
/// credit, or never paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobShare {
    /// The job.
    pub job: JobId,
    /// The other side.
    pub counterparty: Address,
    /// What kind of work it is.
    pub kind: JobKind,
    /// TFuelWei for one unit.
    pub price: Wei,
    /// Units.
    pub units: u64,
    /// Reserve and payment sequence of the line that carries them.
    pub line: Option<(u64, u64)>,
}

impl JobShare {
    /// Price times units.
    pub fn amount(&self) -> Wei {
        &self.price * self.units
    }
}

/// Why what should be kept could not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be read or written now (disk full, locked). Nothing was recorded, so nothing may be acted on.
    #[error("the record could not be written or read: {0}")]
    Unavailable(String),
    /// A record is not what was written. Restore the database from a backup.
    #[error("a record is damaged: {0}")]
    Damaged(String),
}
