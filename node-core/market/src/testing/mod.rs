//! For tests, here and in the crates that provide the stores: stores in memory, a clock that is set by hand, and what
//! every store must do.

mod clock;
mod conformance;
mod memory;

pub use clock::ManualClock;
pub use conformance::{
    job_store_keeps_its_promise, payee_store_keeps_its_promise, payer_store_keeps_its_promise,
    standing_store_keeps_its_promise,
};
pub use memory::{MemoryJobStore, MemoryPayeeStore, MemoryPayerStore, MemoryStandingStore};
