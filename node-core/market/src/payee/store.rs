//! What a provider must not forget about the money it is owed.

use edge_jobs::JobId;
use serde::{Deserialize, Serialize};
use theta_types::{Address, Height, ResourceId, TxHash, Wei};

use crate::{JobShare, LineId, StoreError};

/// A provider's whole account with one payer. All amounts are TFuelWei. `lost` and `forgone` shrink when the payer pays
/// late; `lost` is held against it, `forgone` is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayeeAccount {
    /// The payer.
    pub payer: Address,
    /// Price of all units ever delivered to it.
    pub delivered: Wei,
    /// What came in through reserves that ended.
    pub past: Wei,
    /// Delivered and never paid.
    pub lost: Wei,
    /// What this side gave up without anybody's fault: signed, and not settled before its reserve ended, because it was less
    /// than the fee or this node was away; on its way when this node ended; or lost so long ago that it is forgiven.
    pub forgone: Wei,
}

impl PayeeAccount {
    /// A new account.
    pub fn new(payer: Address) -> Self {
        Self { payer, delivered: Wei::zero(), past: Wei::zero(), lost: Wei::zero(), forgone: Wei::zero() }
    }
}

/// One reserve of a payer for this provider, as finalized state last showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayeeReserve {
    /// The payer.
    pub payer: Address,
    /// Names the reserve.
    pub reserve: u64,
    /// TFuelWei for payments.
    pub fund: Wei,
    /// TFuelWei that payments took. All of it came to this provider, whatever target it named: its rule says so.
    pub used: Wei,
    /// The last height at which it pays.
    pub end: Height,
    /// It ended; its lines count no more.
    pub closed: bool,
}

/// How far a line is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineState {
    /// Vouchers come in.
    Open,
    /// A payment is made, and perhaps sent. It is not final.
    Submitted {
        /// TFuelWei that it asks for.
        amount: Wei,
        /// Its hash.
        transaction: TxHash,
        /// The signed transaction, to send again after a crash.
        raw: Vec<u8>,
    },
    /// The payer's finalized account records the payment.
    Settled {
        /// TFuelWei that came in.
        amount: Wei,
        /// The payment.
        transaction: TxHash,
        /// The height at which it was first seen on finalized state.
        seen_at: Height,
    },
    /// The reserve ended before a payment was recorded.
    Lapsed,
}

/// One line of vouchers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayeeLine {
    /// Payer, reserve and payment sequence.
    pub id: LineId,
    /// The largest total among its vouchers.
    pub signed: Wei,
    /// How far it is.
    pub state: LineState,
}

/// A voucher as it was received and found good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldVoucher {
    /// Its line.
    pub line: LineId,
    /// Its total.
    pub total: Wei,
    /// The voucher in RLP.
    pub raw: Vec<u8>,
}

/// One change of a provider's book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayeeChange {
    /// Replaces the provider's own resource, chosen once at random.
    Resource(ResourceId),
    /// Replaces the account with this payer.
    Account(PayeeAccount),
    /// Replaces the reserve with this payer and sequence.
    Reserve(PayeeReserve),
    /// Replaces the line with this id. Its vouchers may be forgotten once it is settled or lapsed.
    Line(PayeeLine),
    /// Keeps one more voucher of its line. Older ones stay: when a payer drains its reserve, a smaller one may still fit.
    Voucher(HeldVoucher),
    /// Forgets a voucher that others of its line make superfluous.
    DropVoucher {
        /// Its line.
        line: LineId,
        /// Its total.
        total: Wei,
    },
    /// Adds units to the share of (job, line).
    Share(JobShare),
    /// All shares of the payer without a line are carried by this one from now on.
    Cover(LineId),
    /// The shares of this line have none from now on.
    Uncover(LineId),
}

/// What a provider starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayeeBook {
    /// The provider's own resource.
    pub resource: Option<ResourceId>,
    /// Every account.
    pub accounts: Vec<PayeeAccount>,
    /// Reserves that are not closed.
    pub reserves: Vec<PayeeReserve>,
    /// All lines on those.
    pub lines: Vec<PayeeLine>,
    /// The vouchers of those lines that are open or submitted, by rising total within a line.
    pub vouchers: Vec<HeldVoucher>,
}

/// Where a provider keeps its book.
///
/// Calls block until the record is durable. All changes of one call are kept, or none.
pub trait PayeeStore: Send + Sync {
    /// What to start from.
    fn load(&self) -> Result<PayeeBook, StoreError>;

    /// Keeps changes, in order, in one transaction.
    fn apply(&self, changes: &[PayeeChange]) -> Result<(), StoreError>;

    /// The shares of a job, in the order of their first units.
    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError>;

    /// One line, also of a reserve that is closed.
    fn line(&self, id: LineId) -> Result<Option<PayeeLine>, StoreError>;
}
