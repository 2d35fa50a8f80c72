//! The provider's side of payment lines.

mod handle;
mod ledger;
mod rule;
mod settle;
mod store;
mod terms;

pub use handle::{Paid, Payee, PayeeConfig, PayeeError};
pub use ledger::{
    Earnings, PayeeLedger, Received, SessionId, SettlementDue, SubmittedPayment, Unpaid, VoucherFault,
};
pub use store::{
    HeldVoucher, LineState, PayeeAccount, PayeeBook, PayeeChange, PayeeLine, PayeeReserve, PayeeStore,
};
pub use terms::PayeeTerms;
