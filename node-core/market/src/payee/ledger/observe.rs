//! What the chain says of payers, taken into the book.

use theta_types::{Account, Address, Height, ReservedFund, ResourceId, SplitRule, Transaction, Wei};
use theta_wallet::{ReserveError, ReserveTerms, check_reserve};

use super::super::{LineState, PayeeAccount, PayeeChange, PayeeReserve};
use super::{
    PayeeLedger,
    account::{Payer, Reserve},
};
use crate::StoreError;

impl PayeeLedger {
    /// The rule of the own resource as the chain has it; while there is none, no reserve is good.
    pub fn set_rule(&mut self, rule: Option<SplitRule>) {
        self.rule = rule;
    }

    /// Takes another resource, while no reserve lists the present one.
    pub fn change_resource(&mut self, resource: ResourceId) -> Result<(), StoreError> {
        if self.payers.values().any(|payer| !payer.reserves.is_empty()) {
            return Ok(());
        }
        self.store.apply(&[PayeeChange::Resource(resource.clone())])?;
        self.resource = resource;
        self.rule = None;
        Ok(())
    }

    /// Whether a reserve of the payer is known, good or not.
    pub fn has_reserve(&self, payer: Address, reserve: u64) -> bool {
        self.payers.get(&payer).is_some_and(|payer| {
            payer.reserves.contains_key(&reserve) || payer.refused.contains_key(&reserve)
        })
    }

    /// The height at which a payer's account was last taken in.
    pub fn seen_at(&self, payer: Address) -> Height {
        self.payers.get(&payer).map_or(Height(0), |payer| payer.seen_at)
    }

    /// Takes in a payer's account at a finalized height; `None` when the chain has no such account.
    pub fn observe(
        &mut self,
        payer: Address,
        account: Option<&Account>,
        height: Height,
    ) -> Result<(), StoreError> {
        self.height = self.height.max(height);
        let known = self.payers.get(&payer);
        if known.is_some_and(|known| height < known.seen_at) {
            return Ok(());
        }
        let mut next = Payer::new(PayeeAccount::new(payer));
        if let Some(known) = known {
            next.account = known.account.clone();
            next.reserves = known.reserves.clone();
            next.lost_at = known.lost_at;
        }
        next.seen_at = height;
        // Two readers may have asked at one height, and the one that was answered first come second. What the other has
        // seen is on the chain for good.
        let newer = known.is_none_or(|known| height > known.seen_at);
        let mut changes = Vec::new();
        let funds = account.map(|account| account.reserved_funds.as_slice()).unwrap_or_default();
        for fund in funds {
            let number = fund.reserve_sequence;
            if !next.reserves.contains_key(&number)
                && let Err(fault) = self.check(payer, account, number, height)
            {
                next.refused.insert(number, fault);
                continue;
            }
            let known_used =
                next.reserves.get(&number).map(|reserve| reserve.record.used.clone()).unwrap_or_default();
            let seen = PayeeReserve {
                payer,
                reserve: number,
                fund: fund.initial_fund.tfuel.clone(),
                used: known_used.max(fund.used_fund.tfuel.clone()),
                end: fund.end_height,
                closed: height > fund.end_height,
            };
            if next.reserves.get(&number).is_none_or(|reserve| reserve.record != seen) {
                changes.push(PayeeChange::Reserve(seen.clone()));
            }
            let reserve = next.reserves.entry(number).or_insert_with(|| Reserve::new(seen.clone()));
            reserve.record = seen;
            settle_recorded(reserve, fund, self.provider, height, &mut changes);
        }
        for (number, reserve) in &mut next.reserves {
            reserve.promises.retain(|_, (_, until)| height <= *until);
            // It came back to the payer before this node looked: the last state seen is all that can be known.
            if newer && !reserve.record.closed && !funds.iter().any(|fund| fund.reserve_sequence == *number) {
                reserve.record.closed = true;
                changes.push(PayeeChange::Reserve(reserve.record.clone()));
            }
            if reserve.record.closed {
                next.account.forgone += reserve.waiting();
                next.account.past += &reserve.record.used;
                for line in reserve.lines.values_mut().filter(|line| line.unsettled()) {
                    line.record.state = LineState::Lapsed;
                    changes.push(PayeeChange::Line(line.record.clone()));
                    changes.push(PayeeChange::Uncover(line.record.id));
                }
            }
        }
        next.reserves.retain(|_, reserve| !reserve.record.closed);
        next.reconcile();
        if known.map_or(!next.reserves.is_empty(), |known| known.account != next.account) {
            // The account goes before what refers to it.
            changes.insert(0, PayeeChange::Account(next.account.clone()));
        }
        if !changes.is_empty() {
            self.store.apply(&changes)?;
        }
        self.payers.insert(payer, next);
        // What a promise that was not kept, or a drain, leaves open is owed by no session any more.
        if self.sessions_of(payer).next().is_some() {
            return Ok(());
        }
        self.write_off(payer)
    }

    /// Checks a reserve that is not known yet: it lists exactly the own resource, whose rule sends everything here
    /// whatever target a payment names, for as long as the reserve pays.
    fn check(
        &self,
        payer: Address,
        account: Option<&Account>,
        reserve: u64,
        height: Height,
    ) -> Result<(), ReserveError> {
        let terms = ReserveTerms { needed: Wei::zero(), blocks_left: 0 };
        let line = self.line_of(payer, reserve);
        check_reserve(&line, account, self.rule.as_ref(), height, &terms).map(|_| ())
    }
}

/// Marks the lines whose payments the payer's finalized account records, and those that sequence order rules out.
fn settle_recorded(
    reserve: &mut Reserve,
    fund: &ReservedFund,
    provider: Address,
    height: Height,
    changes: &mut Vec<PayeeChange>,
) {
    let recorded = fund.last_payment_sequence(&provider).unwrap_or(0);
    for line in reserve.lines.values_mut().filter(|line| line.unsettled()) {
        let payment =
            fund.payments_to(&provider).find(|payment| payment.payment_sequence == line.record.id.sequence);
        line.record.state = match payment {
            Some(payment) => {
                let transaction = Transaction::ServicePayment(payment.clone()).hash();
                let amount = payment.source.coins.tfuel.clone();
                LineState::Settled { amount, transaction, seen_at: height }
            }
            None if line.record.id.sequence < recorded => LineState::Lapsed,
            None => continue,
        };
        line.vouchers.clear();
        changes.push(PayeeChange::Line(line.record.clone()));
        if line.record.state == LineState::Lapsed {
            changes.push(PayeeChange::Uncover(line.record.id));
        }
    }
}
