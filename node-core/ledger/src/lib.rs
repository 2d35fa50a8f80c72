//! Transaction execution: (state, block) to state, and nothing else.
//!
//! Everything here is pure: a parent's state and a block's transactions go in, the state after them or a refusal comes out. Who
//! proposes, who validates and what time it is comes from outside. The rules are those of spec 02.
//!
//! [`execute_block`] verifies a block, [`propose_block`] makes one, [`Mempool`] keeps what waits for one.
#![warn(missing_docs)]

pub mod fees;
pub mod keys;

mod block;
mod block_rules;
mod delayed_updates;
mod error;
mod executor;
mod input;
mod mempool;
mod refusal;
mod reserve;
mod result_code;
mod rewards;
mod transactions;
mod view;

pub use block::{
    ExecutedBlock, MAX_PROPOSED_BYTES, MAX_PROPOSED_TRANSACTIONS, ProposedBlock, execute_block, propose_block,
};
pub use block_rules::BlockRules;
pub use error::{ExecuteError, LedgerError};
pub use executor::BlockExecutor;
pub use mempool::{Mempool, MempoolError, MempoolLimits, TxMemory};
pub use refusal::Refusal;
pub use reserve::release_height;
pub use result_code::ResultCode;
pub use rewards::rewards;
pub use view::{StateChanges, StateView};
