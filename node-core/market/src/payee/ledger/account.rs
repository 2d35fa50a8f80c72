//! One payer as the provider's book has it.

use std::{collections::BTreeMap, sync::Arc};

use edge_jobs::{JobId, JobKind};
use theta_types::{Address, Height, Wei};
use theta_wallet::ReserveError;

use super::super::{LineState, PayeeAccount, PayeeLine, PayeeReserve};
use super::vouchers::PROMISE_BLOCKS;
use crate::LineId;

#[derive(Debug)]
pub(super) struct Payer {
    pub(super) account: PayeeAccount,
    pub(super) reserves: BTreeMap<u64, Reserve>,
    /// Reserves that this provider does not trust, and why.
    pub(super) refused: BTreeMap<u64, ReserveError>,
    /// The height at which its account was last seen.
    pub(super) seen_at: Height,
    /// The height of the last loss, or of the last one that was forgiven. After a restart it counts from the first look.
    pub(super) lost_at: Option<Height>,
}

#[derive(Debug, Clone)]
pub(super) struct Reserve {
    pub(super) record: PayeeReserve,
    pub(super) lines: BTreeMap<u64, Line>,
    /// What vouchers that crossed a settlement say beyond it, and the height until which that counts.
    pub(super) promises: BTreeMap<u64, (Wei, Height)>,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) record: PayeeLine,
    /// Totals and raw vouchers, by rising total: the newest, and of the older ones what [`Line::keep`] leaves.
    pub(super) vouchers: Vec<(Wei, Arc<[u8]>)>,
    pub(super) closing: Option<Closing>,
}

/// The payer was asked for its last voucher of the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub(super) since: u64,
    pub(super) answered: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) payer: Address,
    pub(super) job: JobId,
    pub(super) kind: JobKind,
    pub(super) price: Wei,
    pub(super) delivered: u64,
    pub(super) acknowledged: u64,
}

impl Session {
    pub(super) fn outstanding(&self) -> Wei {
        &self.price * self.delivered.saturating_sub(self.acknowledged)
    }
}

impl Line {
    pub(super) fn unsettled(&self) -> bool {
        matches!(self.record.state, LineState::Open | LineState::Submitted { .. })
    }

    /// The amount of a settlement that is on its way, or was seen just now.
    pub(super) fn settling(&self, height: Height) -> Option<Wei> {
        match &self.record.state {
            LineState::Submitted { amount, .. } => Some(amount.clone()),
            LineState::Settled { amount, seen_at, .. }
                if height.0.saturating_sub(seen_at.0) <= PROMISE_BLOCKS =>
            {
                Some(amount.clone())
            }
            _ => None,
        }
    }

    /// Keeps a voucher that is larger than those before it. Gives the total of one that is not needed any more.
    ///
    /// Older vouchers serve when a payer drains its reserve: then a smaller one still fits. So they stay, but no closer
    /// together than `gap` asks for: with all of them a payer could fill this node's memory and disk by raising its total
    /// wei by wei. What a drain leaves between two neighbours is at most `gap`, or one unit where that is more.
    pub(super) fn keep(&mut self, total: Wei, raw: Arc<[u8]>, gap: &Wei) -> Option<Wei> {
        let before_last = match self.vouchers.as_slice() {
            [] => None,
            [_] => Some(Wei::zero()),
            [.., (total, _), _] => Some(total.clone()),
        };
        let dropped = before_last
            .filter(|below| total.saturating_sub(below) <= *gap)
            .and_then(|_| self.vouchers.pop())
            .map(|(total, _)| total);
        self.vouchers.push((total, raw));
        dropped
    }

    /// The largest voucher that fits into `left`.
    pub(super) fn best_within(&self, left: &Wei) -> Option<&(Wei, Arc<[u8]>)> {
        self.vouchers.iter().rev().find(|(total, _)| total <= left)
    }
}

impl Reserve {
    pub(super) fn new(record: PayeeReserve) -> Self {
        Self { record, lines: BTreeMap::new(), promises: BTreeMap::new() }
    }

    pub(super) fn promised(&self) -> Wei {
        self.promises.values().map(|(amount, _)| amount).sum()
    }

    pub(super) fn left(&self) -> Wei {
        self.record.fund.saturating_sub(&self.record.used)
    }

    /// What each unsettled line can still bring in, the lowest first.
    pub(super) fn worths(&self) -> impl Iterator<Item = Wei> {
        let unsettled = self.lines.values().filter(|line| line.unsettled());
        unsettled.scan(self.left(), |left, line| {
            let worth = match &line.record.state {
                LineState::Submitted { amount, .. } if amount <= left => amount.clone(),
                _ => line.best_within(left).map(|(total, _)| total.clone()).unwrap_or_default(),
            };
            *left = left.saturating_sub(&worth);
            Some(worth)
        })
    }

    /// What the unsettled lines can still bring in.
    pub(super) fn waiting(&self) -> Wei {
        self.worths().sum()
    }

    pub(super) fn blocks_left(&self, height: Height) -> u64 {
        self.record.end.0.saturating_sub(height.0)
    }
}

impl Payer {
    pub(super) fn new(account: PayeeAccount) -> Self {
        Self {
            account,
            reserves: BTreeMap::new(),
            refused: BTreeMap::new(),
            seen_at: Height(0),
            lost_at: None,
        }
    }

    /// Takes back from lost, then from forgone, what came in after all.
    pub(super) fn reconcile(&mut self) {
        let shortfall = self.shortfall();
        let account = &mut self.account;
        account.lost = account.lost.clone().min(shortfall.clone());
        account.forgone = account.forgone.clone().min(shortfall.saturating_sub(&account.lost));
    }

    /// Whether it may owe `amount` more without a voucher: it never signed one on a reserve that is open, and all that
    /// it ever left unpaid stays within the credit.
    pub(super) fn may_owe(&self, amount: &Wei, credit: &Wei) -> bool {
        self.reserves.values().all(|reserve| reserve.lines.is_empty())
            && self.unpaid() + amount.clone() <= *credit
    }

    pub(super) fn is_only(&self, account: &PayeeAccount) -> bool {
        self.reserves.is_empty() && self.account == *account
    }

    pub(super) fn put_line(&mut self, id: LineId, line: Option<Line>) {
        if let Some(reserve) = self.reserves.get_mut(&id.reserve) {
            match line {
                Some(line) => reserve.lines.insert(id.sequence, line),
                None => reserve.lines.remove(&id.sequence),
            };
        }
    }

    /// Delivered and not received, what was lost included; what this side did not settle in time is not.
    pub(super) fn unpaid(&self) -> Wei {
        self.shortfall().saturating_sub(&self.account.forgone)
    }

    pub(super) fn received(&self) -> Wei {
        self.account.past.clone()
            + self
                .reserves
                .values()
                .map(|reserve| &reserve.record.used + &reserve.waiting() + reserve.promised())
                .sum::<Wei>()
    }

    /// Delivered and not received, what is lost or forgone included.
    pub(super) fn shortfall(&self) -> Wei {
        self.account.delivered.saturating_sub(&self.received())
    }

    /// What is owed beside what was given up.
    pub(super) fn debt(&self) -> Wei {
        self.shortfall().saturating_sub(&(&self.account.lost + &self.account.forgone))
    }
}
