//! Which lines are settled when, and with which voucher.

use theta_types::{Address, TxHash, Wei};

use super::super::{LineState, PayeeChange, PayeeLine};
use super::{
    PayeeLedger,
    account::{Closing, Line, Reserve},
};
use crate::{LineId, StoreError};

/// A payment to make now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementDue {
    /// The line.
    pub line: LineId,
    /// TFuelWei that it asks for.
    pub amount: Wei,
    /// The voucher in RLP.
    pub voucher: Vec<u8>,
}

/// A payment that was made and is not final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmittedPayment {
    /// The line.
    pub line: LineId,
    /// TFuelWei.
    pub amount: Wei,
    /// Its hash.
    pub transaction: TxHash,
    /// The signed transaction.
    pub raw: Vec<u8>,
}

impl PayeeLedger {
    /// The line of a payer whose last voucher is wanted now, because it is about to be settled.
    pub fn closing(&mut self, payer: Address, now: u64) -> Option<LineId> {
        let (threshold, fee) = (self.terms.threshold(), self.terms.fee.clone());
        let (before_end, height, settle_all) = (self.terms.settle_before_end, self.height, self.settle_all);
        let payer = self.payers.get_mut(&payer)?;
        for reserve in payer.reserves.values_mut() {
            let near_end = reserve.blocks_left(height) <= before_end;
            // Also when it is one above the lowest: that one has to go first.
            let large = reserve.lines.values().any(|line| line.unsettled() && line.record.signed > threshold);
            let Some(line) = lowest_worth(reserve, &fee) else { continue };
            if line.record.state != LineState::Open {
                continue;
            }
            let wanted = large || near_end || settle_all;
            match line.closing {
                Some(closing) if !closing.answered => return Some(line.record.id),
                None if wanted => {
                    line.closing = Some(Closing { since: now, answered: false });
                    return Some(line.record.id);
                }
                _ => {}
            }
        }
        None
    }

    /// The payer has frozen the line; its last voucher, if there was one, was received before.
    pub fn frozen(&mut self, id: LineId) {
        let line = self
            .payers
            .get_mut(&id.counterparty)
            .and_then(|payer| payer.reserves.get_mut(&id.reserve))
            .and_then(|reserve| reserve.lines.get_mut(&id.sequence));
        if let Some(closing) = line.and_then(|line| line.closing.as_mut()) {
            closing.answered = true;
        }
    }

    /// Settle every line that is worth more than the fee, whatever its size. Ends when nothing is left.
    pub fn settle_all(&mut self, wanted: bool) {
        self.settle_all = wanted;
    }

    /// The payments to make now: at most one a reserve, the lowest line first, none while one below is not final.
    pub fn due(&mut self, now: u64) -> Vec<SettlementDue> {
        let mut due = Vec::new();
        for address in self.payers() {
            // Starts closing what has to be closed, with or without a session to ask.
            let _ = self.closing(address, now);
            let has_sessions = self.sessions_of(address).next().is_some();
            let (fee, wait) = (self.terms.fee.clone(), self.terms.freeze_wait);
            let Some(payer) = self.payers.get_mut(&address) else { continue };
            for reserve in payer.reserves.values_mut() {
                if reserve.blocks_left(self.height) == 0
                    || reserve
                        .lines
                        .values()
                        .any(|line| matches!(line.record.state, LineState::Submitted { .. }))
                {
                    continue;
                }
                let left = reserve.left();
                let Some(line) = lowest_worth(reserve, &fee) else { continue };
                let Some(closing) = line.closing else { continue };
                if has_sessions && !closing.answered && now < closing.since.saturating_add(wait) {
                    continue;
                }
                if let Some((amount, raw)) = line.best_within(&left).filter(|(total, _)| *total > fee) {
                    due.push(SettlementDue {
                        line: line.record.id,
                        amount: amount.clone(),
                        voucher: raw.to_vec(),
                    });
                }
            }
        }
        due
    }

    /// Records a payment that is signed and not sent yet. From here on the line takes no voucher.
    pub fn submitted(
        &mut self,
        id: LineId,
        amount: Wei,
        transaction: TxHash,
        raw: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.set_state(id, LineState::Submitted { amount, transaction, raw })
    }

    /// A payment can take effect no more (refused, or final without moving anything): the line may be settled with
    /// another voucher.
    pub fn submission_failed(&mut self, id: LineId) -> Result<(), StoreError> {
        let is_submitted = self
            .payers
            .get(&id.counterparty)
            .and_then(|payer| payer.reserves.get(&id.reserve))
            .and_then(|reserve| reserve.lines.get(&id.sequence))
            .is_some_and(|line| matches!(line.record.state, LineState::Submitted { .. }));
        if is_submitted { self.set_state(id, LineState::Open) } else { Ok(()) }
    }

    /// Payments that were made and are not final.
    pub fn pending(&self) -> Vec<SubmittedPayment> {
        let lines = self
            .payers
            .values()
            .flat_map(|payer| payer.reserves.values())
            .flat_map(|reserve| reserve.lines.values());
        lines
            .filter_map(|line| match &line.record.state {
                LineState::Submitted { amount, transaction, raw } => Some(SubmittedPayment {
                    line: line.record.id,
                    amount: amount.clone(),
                    transaction: *transaction,
                    raw: raw.clone(),
                }),
                _ => None,
            })
            .collect()
    }

    /// What lines that are worth a payment can still bring in: what quitting now would leave.
    pub fn unsettled_worth(&self) -> Wei {
        let reserves = self.payers.values().flat_map(|payer| payer.reserves.values());
        let open = reserves.filter(|reserve| reserve.blocks_left(self.height) > 0);
        open.flat_map(Reserve::worths).filter(|worth| *worth > self.terms.fee).sum()
    }

    fn set_state(&mut self, id: LineId, state: LineState) -> Result<(), StoreError> {
        let line = self
            .payers
            .get_mut(&id.counterparty)
            .and_then(|payer| payer.reserves.get_mut(&id.reserve))
            .and_then(|reserve| reserve.lines.get_mut(&id.sequence));
        let Some(line) = line else { return Ok(()) };
        let record = PayeeLine { state, ..line.record.clone() };
        self.store.apply(&[PayeeChange::Line(record.clone())])?;
        line.record = record;
        Ok(())
    }
}

/// The lowest unsettled line that is worth more than the fee. Those below it that are not are left behind: settling them
/// would cost more than they bring.
fn lowest_worth<'a>(reserve: &'a mut Reserve, fee: &Wei) -> Option<&'a mut Line> {
    let left = reserve.left();
    reserve
        .lines
        .values_mut()
        .filter(|line| line.unsettled())
        .find(|line| line.best_within(&left).is_some_and(|(total, _)| total > fee))
}
