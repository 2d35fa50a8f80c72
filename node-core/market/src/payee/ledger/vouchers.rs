//! Vouchers as they come in.

use theta_types::{Address, Encode, Height, Wei};
use theta_wallet::{ReserveError, Voucher, VoucherError};

use super::super::{HeldVoucher, LineState, PayeeChange, PayeeLine};
use super::{
    PayeeLedger,
    account::{Line, Reserve},
};
use crate::{LineId, StoreError};

/// Vouchers that are kept for each fee's worth of a line, or twice as many.
const KEPT_PER_FEE: u64 = 8;
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
    /// It opens a new line, and the one before is neither settled nor worth it, or a second one waits already.
    #[error("a line below is not settled yet, and this side did not ask to leave it")]
    LineTooEarly,
    /// It adds next to nothing, and leaves a debt.
    #[error("a voucher adds {least} TFuelWei at least, or clears the debt")]
    TooLittle {
        /// TFuelWei.
        least: Wei,
    },
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
        if line.is_none() && !may_open_line(reserve, sequence, &self.terms.fee) {
            return Err(VoucherFault::LineTooEarly);
        }
        let signed = line.map(|line| line.record.signed.clone()).unwrap_or_default();
        let added = voucher.total.saturating_sub(&signed);
        let clears = |debt: &Wei| !debt.is_zero() && added >= *debt;
        if let Some(least) = self.least_addition(payer)
            && added < least
            && !clears(&known.shortfall())
            && !clears(&known.account.lost)
        {
            return Err(VoucherFault::TooLittle { least });
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
        let gap = self.terms.fee.mul_div(1, KEPT_PER_FEE);
        let dropped = changed.keep(voucher.total.clone(), raw.as_slice().into(), &gap);
        let Some(payer) = self.payers.get_mut(&payer) else { return Err(ReserveError::Missing.into()) };
        payer.put_line(id, Some(changed));
        payer.reconcile();
        let mut changes = vec![
            PayeeChange::Line(record),
            PayeeChange::Voucher(HeldVoucher { line: id, total: voucher.total.clone(), raw }),
        ];
        changes.extend(dropped.map(|total| PayeeChange::DropVoucher { line: id, total }));
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

    /// The least that a voucher adds in the middle of a session: the price of the cheapest unit that could be due. `None`
    /// before the first session, when whatever was signed earlier is welcome.
    ///
    /// Each voucher costs this node a signature's check and a write to the disk. Without a least amount a payer could have
    /// it do that for a wei a time.
    fn least_addition(&self, payer: Address) -> Option<Wei> {
        let mut sessions = self.sessions_of(payer).peekable();
        sessions.peek()?;
        let prices = sessions.map(|session| &session.price).filter(|price| !price.is_zero());
        // Where all sessions are free nothing is due.
        Some(prices.min().unwrap_or(&self.terms.fee).clone())
    }

    /// Takes a voucher that crossed the settlement of its line: the payer signed it before it knew. It cannot be settled
    /// any more, but an honest payer carries what it says beyond the settlement over to its next line. That counts for a
    /// while, up to what the payer's open sessions may owe in any case; over all its lines together, so that a payer which
    /// does not carry it over has gained one unit a session, however many lines and reserves it promises on.
    fn promise(&mut self, id: LineId, voucher: &Voucher, settled: Wei) -> Result<Received, VoucherFault> {
        let allowance: Wei = self.sessions_of(id.counterparty).map(|session| &session.price).sum();
        let until = Height(self.height.0.saturating_add(PROMISE_BLOCKS));
        let payer = self.payers.get_mut(&id.counterparty).ok_or(ReserveError::Missing)?;
        let reserve = payer.reserves.get(&id.reserve).ok_or(ReserveError::Missing)?;
        let before = reserve.promises.get(&id.sequence).map(|(amount, _)| amount.clone()).unwrap_or_default();
        let elsewhere = payer.reserves.values().map(Reserve::promised).sum::<Wei>().saturating_sub(&before);
        let amount = voucher.total.saturating_sub(&settled).min(allowance.saturating_sub(&elsewhere));
        let larger = amount > before;
        if let Some(reserve) = payer.reserves.get_mut(&id.reserve).filter(|_| larger) {
            reserve.promises.entry(id.sequence).or_insert((Wei::zero(), until)).0 = amount;
        }
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

/// Whether a payer may leave its line of a reserve for a new one.
///
/// An honest payer does so when it is asked to ([`PayeeLedger::closing`]), or sees the line settled. It is asked for one line
/// at a time, and only for one that is worth more than the fee. A payer that moves on by itself could leave behind any number
/// of lines that are each not worth the fee of their payment; the sum of them would be lost. So could one that opens a small
/// line below the present one, which is passed over when that is settled.
fn may_open_line(reserve: &Reserve, sequence: u64, fee: &Wei) -> bool {
    if reserve.lines.keys().next_back().is_some_and(|last| sequence < *last) {
        return false;
    }
    let left = reserve.left();
    let mut waiting = reserve.lines.values().filter(|line| line.unsettled());
    match (waiting.next(), waiting.next()) {
        (None, _) => true,
        (Some(only), None) => only.best_within(&left).is_some_and(|(total, _)| total > fee),
        (Some(_), Some(_)) => false,
    }
}
