//! Accounts, and the funds that they reserve for payments.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::coins::Coins;
use crate::hash::EMPTY_CODE_HASH;
use crate::height::Height;
use crate::resource::ResourceId;
use crate::rlp::rlp_structure;
use crate::tx::ServicePaymentTx;

/// Blocks that a reserved fund stays frozen after its end (spec 01 section 8.2).
pub const RESERVED_FUND_FREEZE_PERIOD: u64 = 5;

/// An account in the state (spec 01 section 7.1). Accounts are never removed, not even when empty.
///
/// JSON, as `theta.GetAccount` answers, leaves the address out; reading it back leaves the zero address there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whose account.
    #[serde(skip)]
    pub address: Address,
    /// Transactions that the owner has sent: the next one carries this plus one.
    #[serde(with = "crate::json::decimal")]
    pub sequence: u64,
    /// What the owner can spend. Reserved funds and collaterals are not in it.
    #[serde(rename = "coins")]
    pub balance: Coins,
    /// Funds set aside for payments, in the order of their reservation.
    #[serde(with = "crate::json::list_or_null")]
    pub reserved_funds: Vec<ReservedFund>,
    /// Set when the account is created, and never again.
    #[serde(rename = "last_updated_block_height", with = "crate::json::decimal")]
    pub last_updated_height: Height,
    /// Root of a contract's storage; zero when there is none.
    #[serde(rename = "root")]
    pub storage_root: B256,
    /// Hash of a contract's code; [`EMPTY_CODE_HASH`] for everybody else.
    #[serde(rename = "code")]
    pub code_hash: B256,
}

rlp_structure!(Account {
    address,
    sequence,
    balance,
    reserved_funds,
    last_updated_height,
    storage_root,
    code_hash,
});

impl Account {
    /// A new account. One that a native transaction creates gets the parent's height; all others get height 0.
    pub fn new(address: Address, created_at: Height) -> Self {
        Self {
            address,
            sequence: 0,
            balance: Coins::zero(),
            reserved_funds: Vec::new(),
            last_updated_height: created_at,
            storage_root: B256::ZERO,
            code_hash: EMPTY_CODE_HASH,
        }
    }

    /// Contracts that destroyed themselves count, too.
    pub fn is_contract(&self) -> bool {
        self.code_hash != EMPTY_CODE_HASH
    }

    /// The fund that was reserved by the transaction with this sequence.
    pub fn reserved_fund(&self, reserve_sequence: u64) -> Option<&ReservedFund> {
        self.reserved_funds.iter().find(|fund| fund.reserve_sequence == reserve_sequence)
    }
}

/// Coins set aside for payments on named resources (spec 01 section 7.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedFund {
    /// Locked besides the fund; more than the fund.
    pub collateral: Coins,
    /// What payments can take in all.
    pub initial_fund: Coins,
    /// What payments took.
    pub used_fund: Coins,
    /// Resources that may be paid from it.
    #[serde(with = "crate::json::list_or_null")]
    pub resource_ids: Vec<ResourceId>,
    /// Last height of the parent block at which it pays.
    #[serde(rename = "end_block_height", with = "crate::json::decimal")]
    pub end_height: Height,
    /// Sequence of the transaction that reserved it: its name within the account.
    #[serde(with = "crate::json::decimal")]
    pub reserve_sequence: u64,
    /// Payments made from it, in order.
    #[serde(with = "crate::json::list_or_null")]
    pub transfer_records: Vec<TransferRecord>,
}

rlp_structure!(ReservedFund {
    collateral,
    initial_fund,
    used_fund,
    resource_ids,
    end_height,
    reserve_sequence,
    transfer_records,
});

impl ReservedFund {
    /// What payments can still take.
    pub fn remaining(&self) -> Coins {
        self.initial_fund.checked_sub(&self.used_fund).unwrap_or_default()
    }

    /// What comes back to the owner on release: the unused fund and the collateral.
    pub fn returned_on_release(&self) -> Coins {
        self.remaining() + self.collateral.clone()
    }

    /// Whether it lists the resource.
    pub fn lists(&self, resource_id: &ResourceId) -> bool {
        self.resource_ids.contains(resource_id)
    }

    /// The largest payment sequence recorded for payments to `target`; `None` before the first.
    pub fn last_payment_sequence(&self, target: &Address) -> Option<u64> {
        self.payments_to(target).map(|payment| payment.payment_sequence).max()
    }

    /// The payments recorded for `target`.
    pub fn payments_to<'a>(&'a self, target: &'a Address) -> impl Iterator<Item = &'a ServicePaymentTx> {
        self.transfer_records
            .iter()
            .map(|record| &record.service_payment)
            .filter(move |payment| payment.target.address == *target)
    }
}

/// One payment made from a reserved fund: a list that holds the payment's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRecord {
    /// The payment as it stood in its block.
    pub service_payment: ServicePaymentTx,
}

rlp_structure!(TransferRecord { service_payment });
