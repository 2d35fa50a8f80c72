//! One provider as the payer's book has it.

use std::collections::BTreeMap;

use theta_types::{Address, Height, Wei};

use super::super::{PayerAccount, PayerLine, PayerReserve, PayerTerms, ReserveState};

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) account: PayerAccount,
    pub(super) reserves: BTreeMap<u64, Reserve>,
}

#[derive(Debug)]
pub(super) struct Reserve {
    pub(super) record: PayerReserve,
    pub(super) lines: BTreeMap<u64, PayerLine>,
    /// The largest payment sequence that the chain has recorded for the provider.
    pub(super) recorded: u64,
}

#[derive(Debug, Clone)]
pub(super) struct JobPaid {
    pub(super) provider: Address,
    pub(super) price: Wei,
    pub(super) units: u64,
}

impl Reserve {
    pub(super) fn value(&self) -> Wei {
        self.lines.values().map(PayerLine::value).sum()
    }

    /// The line that takes the next voucher: the last one, or a new one above it.
    pub(super) fn current(&self) -> Option<&PayerLine> {
        self.lines.values().next_back().filter(|line| !line.frozen && line.settled.is_none())
    }

    pub(super) fn current_sequence(&self) -> u64 {
        match self.current() {
            Some(line) => line.id.sequence,
            None => {
                let last = self.lines.keys().next_back().copied().unwrap_or(0);
                last.max(self.recorded).saturating_add(1)
            }
        }
    }

    pub(super) fn blocks_left(&self, height: Height) -> u64 {
        self.record.end.0.saturating_sub(height.0)
    }
}

impl Provider {
    pub(super) fn committed(&self) -> Wei {
        self.account.past.clone() + self.reserves.values().map(Reserve::value).sum::<Wei>()
    }

    /// The reserve that can carry a voucher for everything agreed, and that voucher's total. One that is far from its
    /// end goes first, then the older one. One fee of a reserve stays free: a provider does not work for it, see
    /// `PayeeLedger::covers`.
    pub(super) fn fitting(
        &self,
        agreed: &Wei,
        height: Height,
        terms: &PayerTerms,
    ) -> Option<(&Reserve, Wei)> {
        let committed = self.committed();
        let fit = |reserve: &Reserve| {
            let current = reserve.current().map(|line| line.value().clone()).unwrap_or_default();
            let elsewhere = committed.saturating_sub(&current);
            let total = agreed.saturating_sub(&elsewhere);
            let others = reserve.value().saturating_sub(&current);
            let fits = others + &total + &terms.fee <= reserve.record.fund;
            (!total.is_zero() && fits).then_some(total)
        };
        let open = self.reserves.values().filter(|reserve| reserve.record.state == ReserveState::Open);
        let (far, near): (Vec<_>, Vec<_>) =
            open.partition(|reserve| reserve.blocks_left(height) > terms.renew_before_end);
        let near = near.into_iter().filter(|reserve| reserve.blocks_left(height) > terms.stop_before_end);
        far.into_iter().chain(near).find_map(|reserve| fit(reserve).map(|total| (reserve, total)))
    }

    /// The newest line that was signed on, if its voucher may still be of use.
    pub(super) fn latest(&self) -> Option<&PayerLine> {
        self.reserves
            .values()
            .rev()
            .flat_map(|reserve| reserve.lines.values().rev())
            .find(|line| line.settled.is_none())
    }
}
