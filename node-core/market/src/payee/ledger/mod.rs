//! A provider's book as a value: what it delivered, what it holds in vouchers, what the chain recorded.
//!
//! For each payer, `delivered` is the price of all that went out, and everything received stands against it: what the chain took from the
//! payer's reserves for this provider, and the vouchers that still fit into them. The difference is the debt. Each open
//! session may owe its one unit; a voucher that does not bring the debt down to what the other sessions owe acknowledges
//! nothing, whether it is a replay, late, or too small.

mod account;
mod observe;
mod sessions;
mod settlement;
mod vouchers;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use theta_types::{Address, Height, ResourceId, SplitRule, Wei};
use theta_wallet::PaymentLine;

use self::account::{Line, Payer, Reserve, Session};
use super::{PayeeAccount, PayeeChange, PayeeStore, PayeeTerms};
use crate::StoreError;

pub use sessions::{SessionId, Unpaid};
pub use settlement::{SettlementDue, SubmittedPayment};
pub use vouchers::{Received, VoucherFault};

/// Earnings in the numbers that are never added silently, all in TFuelWei.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Earnings {
    /// On the chain: recorded in the payers' finalized accounts. Fees of the payments are not taken off.
    pub settled: Wei,
    /// In vouchers that still fit into their reserves.
    pub signed: Wei,
    /// Delivered, and no voucher holds it.
    pub owed: Wei,
    /// Delivered and never paid by payers that went away; held against them.
    pub lost: Wei,
    /// Given up without the payer's fault: too small to be settled, or cut off by an end of this program; or lost and
    /// forgiven since.
    pub forgone: Wei,
}

/// A provider's book. It keeps every change in its store before it answers; a caller may act on what it returns.
pub struct PayeeLedger {
    provider: Address,
    chain_id: String,
    resource: ResourceId,
    terms: PayeeTerms,
    store: Arc<dyn PayeeStore>,
    payers: BTreeMap<Address, Payer>,
    sessions: HashMap<SessionId, Session>,
    next_session: u64,
    height: Height,
    rule: Option<SplitRule>,
    settle_all: bool,
}

impl std::fmt::Debug for PayeeLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayeeLedger")
            .field("provider", &self.provider)
            .field("payers", &self.payers)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

impl PayeeLedger {
    /// Opens the book that `store` holds. What was owed when the program ended is owed by nobody's session any more, until
    /// its payer pays late.
    pub fn open(
        provider: Address,
        chain_id: String,
        resource: ResourceId,
        terms: PayeeTerms,
        store: Arc<dyn PayeeStore>,
    ) -> Result<Self, StoreError> {
        let book = store.load()?;
        let mut payers: BTreeMap<Address, Payer> =
            book.accounts.into_iter().map(|account| (account.payer, Payer::new(account))).collect();
        let orphan = || StoreError::Damaged("a line or reserve without its account".into());
        for record in book.reserves {
            let payer = payers.get_mut(&record.payer).ok_or_else(orphan)?;
            payer.reserves.insert(record.reserve, Reserve::new(record));
        }
        for record in book.lines {
            payers
                .get_mut(&record.id.counterparty)
                .and_then(|payer| payer.reserves.get_mut(&record.id.reserve))
                .ok_or_else(orphan)?
                .lines
                .insert(record.id.sequence, Line { record, vouchers: Vec::new(), closing: None });
        }
        for voucher in book.vouchers {
            let line = payers
                .get_mut(&voucher.line.counterparty)
                .and_then(|payer| payer.reserves.get_mut(&voucher.line.reserve))
                .and_then(|reserve| reserve.lines.get_mut(&voucher.line.sequence));
            line.ok_or_else(orphan)?.vouchers.push((voucher.total, voucher.raw.into()));
        }
        let mut ledger = Self {
            provider,
            chain_id,
            resource,
            terms,
            store,
            payers,
            sessions: HashMap::new(),
            next_session: 1,
            height: Height(0),
            rule: None,
            settle_all: false,
        };
        for payer in ledger.payers() {
            ledger.give_up_what_was_on_its_way(payer)?;
        }
        Ok(ledger)
    }

    /// Whose book it is.
    pub fn provider(&self) -> Address {
        self.provider
    }

    /// The resource that payments name.
    pub fn resource(&self) -> &ResourceId {
        &self.resource
    }

    /// The settings.
    pub fn terms(&self) -> &PayeeTerms {
        &self.terms
    }

    /// Every payer with an account.
    pub fn payers(&self) -> Vec<Address> {
        self.payers.keys().copied().collect()
    }

    /// Payers whose accounts matter now: they have lines that are not settled, or open sessions.
    pub fn watched(&self) -> Vec<Address> {
        let mut watched: Vec<Address> = self
            .payers
            .iter()
            .filter(|(_, payer)| !payer.reserves.is_empty())
            .map(|(address, _)| *address)
            .chain(self.sessions.values().map(|session| session.payer))
            .collect();
        watched.sort_unstable();
        watched.dedup();
        watched
    }

    /// Earnings over all payers.
    pub fn earnings(&self) -> Earnings {
        let mut sum = Earnings::default();
        for payer in self.payers.values() {
            sum.settled += &payer.account.past;
            for reserve in payer.reserves.values() {
                sum.settled += &reserve.record.used;
                sum.signed += reserve.waiting();
            }
            sum.owed += payer.debt();
            sum.lost += &payer.account.lost;
            sum.forgone += &payer.account.forgone;
        }
        sum
    }

    fn line_of(&self, payer: Address, reserve: u64) -> PaymentLine {
        PaymentLine {
            chain_id: self.chain_id.clone(),
            payer,
            provider: self.provider,
            reserve_sequence: reserve,
            resource_id: self.resource.clone(),
        }
    }

    fn put_account(&mut self, account: PayeeAccount) -> Result<(), StoreError> {
        self.store.apply(&[PayeeChange::Account(account.clone())])?;
        match self.payers.get_mut(&account.payer) {
            Some(payer) => payer.account = account,
            None => {
                self.payers.insert(account.payer, Payer::new(account));
            }
        }
        Ok(())
    }
}
