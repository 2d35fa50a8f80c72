//! What a payer must not forget.

use edge_jobs::JobId;
use serde::{Deserialize, Serialize};
use theta_types::{Address, Height, ResourceId, TxHash, Wei};

use crate::{JobShare, LineId, StoreError};

/// A payer's whole account with one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerAccount {
    /// The provider.
    pub provider: Address,
    /// Its resource: what reserves for it list.
    pub resource: ResourceId,
    /// TFuelWei for all work that this node agreed to pay, ever. Grows with every paid unit.
    pub agreed: Wei,
    /// TFuelWei that reserves which ended have paid.
    pub past: Wei,
}

/// How far a reserve is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReserveState {
    /// Its transaction is made, and not final yet.
    Opening,
    /// It is on the chain.
    Open,
    /// Its transaction can never take effect.
    Failed,
    /// Its last height is behind us. What is left of it and the collateral come back with the payer's next stored change.
    Ended,
}

/// One reserve for one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerReserve {
    /// The provider.
    pub provider: Address,
    /// Sequence of the transaction that reserves it.
    pub reserve: u64,
    /// TFuelWei for payments.
    pub fund: Wei,
    /// TFuelWei locked besides.
    pub collateral: Wei,
    /// The last height at which it pays; an estimate while it is opening.
    pub end: Height,
    /// How far it is.
    pub state: ReserveState,
    /// The transaction that reserves it; the wallet's journal keeps its bytes. `None` for one that was found on the chain.
    pub transaction: Option<TxHash>,
}

/// One line on a reserve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerLine {
    /// Provider, reserve and payment sequence.
    pub id: LineId,
    /// The largest total signed, in TFuelWei.
    pub signed: Wei,
    /// The voucher for it, in RLP.
    pub voucher: Vec<u8>,
    /// No more vouchers are signed on it.
    pub frozen: bool,
    /// What the chain recorded; 0 when it can record nothing any more.
    pub settled: Option<Wei>,
}

impl PayerLine {
    /// What the line costs the payer at most.
    pub fn value(&self) -> &Wei {
        self.settled.as_ref().unwrap_or(&self.signed)
    }
}

/// One change of a payer's book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayerChange {
    /// Replaces the account with this provider.
    Account(PayerAccount),
    /// Replaces the reserve with this provider and sequence.
    Reserve(PayerReserve),
    /// Replaces the line with this id.
    Line(PayerLine),
    /// Adds units to the share of (job, line).
    Share(JobShare),
    /// All shares of the provider without a line are carried by this one from now on.
    Cover(LineId),
    /// The shares of this line have none from now on.
    Uncover(LineId),
    /// What was agreed on a day (days since 1970, UTC), in all.
    Day {
        /// Days since 1970.
        day: u64,
        /// TFuelWei agreed on that day.
        agreed: Wei,
    },
}

/// What a payer starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayerBook {
    /// Every account.
    pub accounts: Vec<PayerAccount>,
    /// Reserves that are opening or open.
    pub reserves: Vec<PayerReserve>,
    /// The lines on those.
    pub lines: Vec<PayerLine>,
    /// The last day on which something was agreed, and how much.
    pub day: Option<(u64, Wei)>,
}

/// Where a payer keeps its book.
///
/// Calls block until the record is durable. All changes of one call are kept, or none.
pub trait PayerStore: Send + Sync {
    /// What to start from.
    fn load(&self) -> Result<PayerBook, StoreError>;

    /// Keeps changes, in order, in one transaction.
    fn apply(&self, changes: &[PayerChange]) -> Result<(), StoreError>;

    /// The shares of a job, in the order of their first units.
    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError>;

    /// One line, also of a reserve that ended.
    fn line(&self, id: LineId) -> Result<Option<PayerLine>, StoreError>;
}
