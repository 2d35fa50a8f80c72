//! Vouchers as they come in.

use theta_types::{Address, Encode, Height, Wei};
use theta_wallet::{ReserveError, Voucher, VoucherError};

use super::super::{HeldVoucher, LineState, PayeeChange, PayeeLine};
use super::{PayeeLedger, account::Line};
use crate::{LineId, StoreError};

/// Lines of one reserve that may wait for settlement at one time.
const MAX_WAITING_LINES: usize = 8;
/// Blocks for which a voucher that crossed its line's settlement counts. By then the payer has seen the settlement, and
/// carries the difference over to its next line.
pub(super) const PROMISE_BLOCKS: u64 = 20;

/// Why a voucher is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoucherFault {
    /// It is from another payer, for another provider or resource, or not signed by its payer.
    #[error(transparent)]
    Voucher(#[from] VoucherError),
    /// Its reserve secures nothing.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// Its line is being settled, or was: the next voucher belongs on a line above it.
    #[error("line {sequence} is settled, sign on the next one")]
    LineClosed {
        /// The line's payment sequence.
        sequence: u64,
    },
    /// It asks for more than is left of the reserve.
    #[error("the reserve has {left} TFuelWei left for it")]
    Overspent {
        /// TFuelWei.
        left: Wei,
    },
    /// Too many lines wait for settlement.
    #[error("too many lines wait for settlement")]
    TooManyLines,
    /// The record could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a voucher did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its line.
    pub line: LineId,
    /// Whether it says more than those before it.
    pub larger: bool,
}

impl PayeeLedger {
    /// Takes a voucher of `payer`, if it is good.
    pub fn receive(&mut self, payer: Address, voucher: &Voucher) -> Result<Received, VoucherFault> {
        self.line_of(payer, voucher.reserve_sequence).verify(voucher)?;
        let known = self.payers.get(&payer).ok_or(ReserveError::Missing)?;
        let reserve = known.reserves.get(&voucher.reserve_sequence).ok_or_else(|| {
            known.refused.get(&voucher.reserve_sequence).cloned().unwrap_or(ReserveError::Missing)
        })?;
        let end = reserve.record.end;
        if self.height > end {
            return Err(ReserveError::EndsSoon { end, now: self.height }.into());
        }
        let sequence = voucher.payment_sequence;
        let id = LineId { counterparty: payer, reserve: voucher.reserve_sequence, sequence };
        let line = reserve.lines.get(&sequence);
        if let Some(line) = line
            && line.record.signed >= voucher.total
        {
            return Ok(Received { line: id, larger: false });
        }
        if let Some(settled) = line.and_then(|line| line.settling(self.height)) {
            return self.promise(id, voucher, settled);
        }
        let last_closed = reserve
            .lines
            .iter()
            .filter(|(_, line)| line.record.state != LineState::Open)
            .map(|(sequence, _)| *sequence)
            .next_back();
        if last_closed.is_some_and(|closed| sequence <= closed) || sequence == 0 {
            return Err(VoucherFault::LineClosed { sequence });
        }
        if line.is_none()
            && reserve.lines.values().filter(|line| line.unsettled()).count() >= MAX_WAITING_LINES
        {
            return Err(VoucherFault::TooManyLines);
        }
        let elsewhere: Wei = reserve
            .lines
            .iter()
            .filter(|(other, line)| **other != sequence && line.unsettled())
            .map(|(_, line)| &line.record.signed)
            .sum();
        let left = reserve.left().saturating_sub(&elsewhere);
        if voucher.total > left {
            return Err(VoucherFault::Overspent { left });
        }

        let raw = voucher.to_rlp();
        let before = known.account.clone();
        let previous = line.cloned();
        let record = PayeeLine { id, signed: voucher.total.clone(), state: LineState::Open };
        let mut changed = previous.clone().unwrap_or_else(|| Line {
            record: record.clone(),
            vouchers: Vec::new(),
            closing: None,
        });
        changed.record = record.clone();
        changed.vouchers.push((voucher.total.clone(), raw.as_slice().into()));
        let Some(payer) = self.payers.get_mut(&payer) else { return Err(ReserveError::Missing.into()) };
        payer.put_line(id, Some(changed));
        payer.reconcile();
        let mut changes = vec![
            PayeeChange::Line(record),
            PayeeChange::Voucher(HeldVoucher { line: id, total: voucher.total.clone(), raw }),
        ];
        if payer.account != before {
            changes.push(PayeeChange::Account(payer.account.clone()));
        }
        if payer.shortfall().is_zero() {
            changes.push(PayeeChange::Cover(id));
        }
        if let Err(error) = self.store.apply(&changes) {
            payer.put_line(id, previous);
            payer.account = before;
            return Err(error.into());
        }
        Ok(Received { line: id, larger: true })
    }

    /// Takes a voucher that crossed the settlement of its line: the payer signed it before it knew. It cannot be settled
    /// any more, but an honest payer carries what it says beyond the settlement over to its next line. That counts for a
    /// while, up to what the payer's open sessions may owe in any case.
    fn promise(&mut self, id: LineId, voucher: &Voucher, settled: Wei) -> Result<Received, VoucherFault> {
        let allowance: Wei = self.sessions_of(id.counterparty).map(|session| &session.price).sum();
        let until = Height(self.height.0.saturating_add(PROMISE_BLOCKS));
        let reserve = self
            .payers
            .get_mut(&id.counterparty)
            .and_then(|payer| payer.reserves.get_mut(&id.reserve))
            .ok_or(ReserveError::Missing)?;
        let amount = voucher.total.saturating_sub(&settled).min(allowance);
        let promise = reserve.promises.entry(id.sequence).or_insert((Wei::zero(), until));
        let larger = amount > promise.0;
        promise.0 = promise.0.clone().max(amount);
        Ok(Received { line: id, larger })
    }

    /// Whether a line takes vouchers as they should be; false when it is settled or about to be.
    pub fn takes_vouchers(&self, id: LineId) -> bool {
        self.payers
            .get(&id.counterparty)
            .and_then(|payer| payer.reserves.get(&id.reserve))
            .and_then(|reserve| reserve.lines.get(&id.sequence))
            .is_some_and(|line| line.record.state == LineState::Open)
    }
}
