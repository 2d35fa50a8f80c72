//! Sessions: what goes out, what is acknowledged, what stays owed.

use edge_jobs::{JobId, JobKind};
use theta_types::{Address, Wei};

use super::super::{PayeeAccount, PayeeChange};
use super::{
    PayeeLedger,
    account::{Payer, Session},
};
use crate::{JobShare, LineId, StoreError};

/// Why no work is done for a payer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpaid {
    /// The unit before is not paid.
    #[error("the unit before is not paid")]
    UnitOwed,
    /// No reserve covers the next unit, and the credit does not either.
    #[error("no reserve covers the next unit, and {owed} TFuelWei are owed of a credit of {credit}")]
    NotCovered {
        /// What is owed.
        owed: Wei,
        /// What may be owed.
        credit: Wei,
    },
    /// The payer left too much unpaid.
    #[error("{lost} TFuelWei of earlier work were never paid")]
    Lost {
        /// What was lost.
        lost: Wei,
    },
    /// The payer has too many sessions, or too many payers are on credit.
    #[error("too many sessions at one time")]
    TooMany,
    /// The session is over.
    #[error("the session is over")]
    NoSession,
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names an open session of this run of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl PayeeLedger {
    /// Opens a session for a job at a price. The payer's account must have been taken in, and its standing voucher
    /// received, before.
    pub fn open_session(
        &mut self,
        payer: Address,
        job: JobId,
        kind: JobKind,
        price: Wei,
    ) -> Result<SessionId, Unpaid> {
        if self.sessions_of(payer).count() >= self.terms.sessions_per_payer {
            return Err(Unpaid::TooMany);
        }
        self.forgive(payer, &price)?;
        let known = self.payers.get(&payer);
        if let Some(lost) = known.map(|known| &known.account.lost).filter(|lost| **lost > self.terms.credit) {
            return Err(Unpaid::Lost { lost: lost.clone() });
        }
        if !price.is_zero() && !known.is_some_and(|known| self.covers(known, &price)) {
            self.on_credit(payer, &price, false)?;
            let mut others: Vec<Address> = self
                .sessions
                .values()
                .map(|session| session.payer)
                .filter(|other| *other != payer)
                .filter(|other| self.payers.get(other).is_none_or(|other| !self.covers(other, &Wei::zero())))
                .collect();
            others.sort_unstable();
            others.dedup();
            if others.len() >= self.terms.payers_on_credit {
                return Err(Unpaid::TooMany);
            }
        }
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(id, Session { payer, job, kind, price, delivered: 0, acknowledged: 0 });
        Ok(id)
    }

    /// Records that `units` more of a session go out now. Refused while an earlier one is unpaid.
    pub fn deliver(&mut self, id: SessionId, units: u64) -> Result<u64, Unpaid> {
        let session = self.sessions.get(&id).ok_or(Unpaid::NoSession)?;
        if session.delivered > session.acknowledged {
            return Err(Unpaid::UnitOwed);
        }
        let amount = &session.price * units;
        let payer = session.payer;
        let delivered = session.delivered + units;
        if !amount.is_zero() {
            let known = self.payers.get(&payer);
            let covered = known.is_some_and(|known| self.covers(known, &amount));
            let others: Wei = self.sessions_of(payer).map(Session::outstanding).sum();
            let paid = known.is_none_or(|known| known.debt() <= others);
            if !(covered && paid) {
                self.on_credit(payer, &amount, covered)?;
            }
            let mut account = known.map_or_else(|| PayeeAccount::new(payer), |known| known.account.clone());
            account.delivered += &amount;
            self.put_account(account)?;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.delivered = delivered;
        }
        Ok(delivered)
    }

    /// Takes a payer's word that `units` of a session are paid, after its voucher was received. `line` is the voucher's.
    ///
    /// Nothing is acknowledged unless the debt is down to what other sessions of the payer owe, or, for a payer without
    /// a reserve, within the credit.
    pub fn acknowledge(&mut self, id: SessionId, units: u64, line: Option<LineId>) -> Result<(), Unpaid> {
        let session = self.sessions.get(&id).ok_or(Unpaid::NoSession)?.clone();
        let units = units.min(session.delivered);
        let new_units = units.saturating_sub(session.acknowledged);
        if new_units == 0 {
            return Ok(());
        }
        if !session.price.is_zero() {
            let payer = self.payers.get(&session.payer).ok_or(Unpaid::UnitOwed)?;
            let still_open = &session.price * (session.delivered - units);
            let others: Wei = self
                .sessions
                .iter()
                .filter(|(other, session)| **other != id && session.payer == payer.account.payer)
                .map(|(_, session)| session.outstanding())
                .sum();
            let paid = payer.debt() <= others + still_open;
            let on_credit = payer.may_owe(&Wei::zero(), &self.terms.credit);
            if !paid && !on_credit {
                return Err(Unpaid::UnitOwed);
            }
            let share = JobShare {
                job: session.job,
                counterparty: session.payer,
                kind: session.kind,
                price: session.price.clone(),
                units: new_units,
                line: line.filter(|_| paid).map(|line| (line.reserve, line.sequence)),
            };
            self.store.apply(&[PayeeChange::Share(share)])?;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.acknowledged = units;
        }
        Ok(())
    }

    /// Units of a session that were delivered, and those that are paid.
    pub fn session_units(&self, id: SessionId) -> Option<(u64, u64)> {
        self.sessions.get(&id).map(|session| (session.delivered, session.acknowledged))
    }

    /// Takes back what a session delivered and was not paid for, because this side broke it off: nobody owes for it.
    pub fn retract(&mut self, id: SessionId) -> Result<(), StoreError> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let amount = session.outstanding();
        let payer = session.payer;
        session.delivered = session.acknowledged;
        match self.payers.get(&payer) {
            Some(known) if !amount.is_zero() => {
                let delivered = known.account.delivered.saturating_sub(&amount);
                self.put_account(PayeeAccount { delivered, ..known.account.clone() })
            }
            _ => Ok(()),
        }
    }

    /// What a payer has not paid of what was delivered, in TFuelWei; what this side did not settle in time is not in it.
    pub fn unpaid(&self, payer: Address) -> Wei {
        self.payers.get(&payer).map(Payer::unpaid).unwrap_or_default()
    }

    /// Ends a session. What it still owes counts as lost until its payer pays late.
    pub fn close_session(&mut self, id: SessionId) -> Result<(), StoreError> {
        let Some(session) = self.sessions.remove(&id) else { return Ok(()) };
        let unpaid = session.delivered.saturating_sub(session.acknowledged);
        if unpaid > 0 && !session.price.is_zero() {
            self.store.apply(&[PayeeChange::Share(JobShare {
                job: session.job,
                counterparty: session.payer,
                kind: session.kind,
                price: session.price,
                units: unpaid,
                line: None,
            })])?;
        }
        self.write_off(session.payer)?;
        self.forget_stranger(session.payer);
        Ok(())
    }

    /// A payer that never had work and has no reserve leaves no trace, or fresh wallets would fill this node's memory.
    pub fn forget_stranger(&mut self, payer: Address) {
        let stranger = PayeeAccount::new(payer);
        let idle = self.sessions_of(payer).next().is_none();
        if idle && self.payers.get(&payer).is_some_and(|payer| payer.is_only(&stranger)) {
            self.payers.remove(&payer);
        }
    }

    /// Whether a reserve of the payer holds enough for what it owes and `amount` more, far enough from its end.
    ///
    /// One fee of the fund stays free. A payer can send all that is left of it here by a payment of its own, just before
    /// this side settles, so that the settlement moves nothing and costs its fee; it has then paid that fee, too.
    fn covers(&self, payer: &Payer, amount: &Wei) -> bool {
        let wanted = payer.debt() + amount + &self.terms.fee;
        payer.reserves.values().any(|reserve| {
            reserve.blocks_left(self.height) > self.terms.settle_before_end
                && reserve.left().saturating_sub(&reserve.waiting()) >= wanted
        })
    }

    /// Whether `amount` more may be owed on credit.
    fn on_credit(&self, payer: Address, amount: &Wei, covered: bool) -> Result<(), Unpaid> {
        let credit = &self.terms.credit;
        let Some(known) = self.payers.get(&payer) else {
            let owed = Wei::zero();
            return if amount <= credit {
                Ok(())
            } else {
                Err(Unpaid::NotCovered { owed, credit: credit.clone() })
            };
        };
        if known.may_owe(amount, credit) {
            Ok(())
        } else if covered {
            Err(Unpaid::UnitOwed)
        } else {
            Err(Unpaid::NotCovered { owed: known.unpaid(), credit: credit.clone() })
        }
    }

    /// Counts as lost what no open session of the payer owes.
    pub(super) fn write_off(&mut self, payer: Address) -> Result<(), StoreError> {
        let outstanding: Wei = self.sessions_of(payer).map(Session::outstanding).sum();
        let Some(known) = self.payers.get_mut(&payer) else { return Ok(()) };
        let excess = known.debt().saturating_sub(&outstanding);
        if excess.is_zero() {
            return Ok(());
        }
        known.lost_at = Some(self.height);
        let account = PayeeAccount { lost: &known.account.lost + &excess, ..known.account.clone() };
        self.put_account(account)
    }

    /// At the start of the program: gives up what was on its way to the payer when the program last ended.
    ///
    /// A unit is in the books before its bytes go out, so whoever was to get it may have got nothing, never agrees to pay
    /// it, and could not clear the debt. It is this side's own loss and is not held against a payer with a reserve. For one
    /// without, it counts on against the credit, or each start would give new credit.
    pub(super) fn give_up_what_was_on_its_way(&mut self, payer: Address) -> Result<(), StoreError> {
        let Some(known) = self.payers.get(&payer) else { return Ok(()) };
        let (debt, mut account) = (known.debt(), known.account.clone());
        if debt.is_zero() {
            return Ok(());
        }
        let given_up = if known.reserves.is_empty() { &mut account.lost } else { &mut account.forgone };
        *given_up += &debt;
        self.put_account(account)
    }

    /// Forgives a payer that comes back, and has a reserve for `price`, a part of what it left unpaid: so much for each
    /// while since the last loss.
    ///
    /// A loss need not be the payer's doing: when a connection breaks, the unit on its way is gone, and its payer, which
    /// never saw it, cannot agree to it. Were it never forgiven, one broken connection would shut the payer out for ever. A
    /// thief gets no more than that part in that time.
    fn forgive(&mut self, payer: Address, price: &Wei) -> Result<(), StoreError> {
        let (credit, now, a_while) = (&self.terms.credit, self.height, self.terms.forgive_after.max(1));
        let may_hope = |known: &Payer| known.account.lost > *credit && self.covers(known, price);
        if !self.payers.get(&payer).is_some_and(may_hope) {
            return Ok(());
        }
        let part = credit.clone().max(self.terms.fee.clone());
        let Some(known) = self.payers.get_mut(&payer) else { return Ok(()) };
        let since = *known.lost_at.get_or_insert(now);
        let whiles = now.0.saturating_sub(since.0) / a_while;
        if whiles == 0 {
            return Ok(());
        }
        known.lost_at = Some(now);
        let forgiven = (&part * whiles).min(known.account.lost.clone());
        let account = PayeeAccount {
            lost: known.account.lost.saturating_sub(&forgiven),
            forgone: &known.account.forgone + &forgiven,
            ..known.account.clone()
        };
        self.put_account(account)
    }

    pub(super) fn sessions_of(&self, payer: Address) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| session.payer == payer)
    }
}
