//! What the chain says of the payer's own account, taken into the book.

use std::collections::BTreeMap;

use theta_types::{Account, Address, Height, RESERVED_FUND_FREEZE_PERIOD, ReservedFund, Wei};

use super::super::{PayerChange, PayerLine, PayerReserve, ReserveState};
use super::{PayerLedger, account::Reserve};
use crate::StoreError;

impl PayerLedger {
    /// Takes in this payer's own account at a finalized height. Heights below the last one are ignored.
    pub fn observe(&mut self, account: &Account, height: Height) -> Result<(), StoreError> {
        if height < self.height {
            return Ok(());
        }
        let mut changes = Vec::new();
        let mut removed = Vec::new();
        for side in self.providers.values_mut() {
            for fund in &account.reserved_funds {
                if fund.resource_ids == [side.account.resource.clone()]
                    && height <= fund.end_height
                    && !side.reserves.contains_key(&fund.reserve_sequence)
                {
                    let record = found(side.account.provider, fund);
                    changes.push(PayerChange::Reserve(record.clone()));
                    let reserve = Reserve { record, lines: BTreeMap::new(), recorded: 0 };
                    side.reserves.insert(fund.reserve_sequence, reserve);
                }
            }
            let mut past = side.account.past.clone();
            for reserve in side.reserves.values_mut() {
                let seen = account
                    .reserved_fund(reserve.record.reserve)
                    .filter(|fund| fund.resource_ids == [side.account.resource.clone()]);
                let mut lines = reserve.lines.clone();
                let mut record = reserve.record.clone();
                let mut recorded = reserve.recorded;
                let mut uncovered = Vec::new();
                if let Some(fund) = seen {
                    record.state = ReserveState::Open;
                    record.end = fund.end_height;
                    for payment in fund.payments_to(&side.account.provider) {
                        recorded = recorded.max(payment.payment_sequence);
                        if let Some(line) = lines.get_mut(&payment.payment_sequence) {
                            line.frozen = true;
                            line.settled = Some(payment.source.coins.tfuel.clone());
                        }
                    }
                    for line in lines.values_mut() {
                        // Sequences only grow on the chain: one that was passed over can never be recorded.
                        if line.settled.is_none() && line.id.sequence < recorded {
                            (line.frozen, line.settled) = (true, Some(Wei::zero()));
                            uncovered.push(line.id);
                        }
                    }
                }
                match (seen.is_some(), record.state) {
                    // Another transaction took its sequence, so this one can never be executed.
                    (false, ReserveState::Opening) if account.sequence >= record.reserve => {
                        record.state = ReserveState::Failed;
                    }
                    // It came back to the balance before this node looked. What was signed counts as paid: the chain
                    // does not tell any more, and this side must not pay twice.
                    (false, ReserveState::Open) => record.state = ReserveState::Ended,
                    // No later block can take a payment from it (spec 02 section 6.4), so what is not recorded never
                    // will be, and is owed again.
                    (true, _) if height > record.end => {
                        record.state = ReserveState::Ended;
                        for line in lines.values_mut().filter(|line| line.settled.is_none()) {
                            (line.frozen, line.settled) = (true, Some(Wei::zero()));
                            uncovered.push(line.id);
                        }
                    }
                    _ => {}
                }
                let changed_lines =
                    lines.iter().filter(|(sequence, line)| reserve.lines.get(sequence) != Some(line));
                changes.extend(changed_lines.map(|(_, line)| PayerChange::Line(line.clone())));
                changes.extend(uncovered.into_iter().map(PayerChange::Uncover));
                if record != reserve.record {
                    changes.push(PayerChange::Reserve(record.clone()));
                }
                if matches!(record.state, ReserveState::Ended | ReserveState::Failed) {
                    past += lines.values().map(PayerLine::value).sum::<Wei>();
                    removed.push((side.account.provider, record.reserve));
                }
                *reserve = Reserve { record, lines, recorded };
            }
            if past != side.account.past {
                side.account.past = past;
                changes.push(PayerChange::Account(side.account.clone()));
            }
        }
        let kept = if changes.is_empty() { Ok(()) } else { self.store.apply(&changes) };
        if let Err(error) = kept {
            // The book in memory ran ahead of the store: take the store's.
            self.reload()?;
            return Err(error);
        }
        for (provider, reserve) in removed {
            if let Some(side) = self.providers.get_mut(&provider) {
                side.reserves.remove(&reserve);
            }
        }
        self.height = height;
        let funds = account.reserved_funds.iter();
        self.locked = (
            funds.clone().map(|fund| fund.returned_on_release().tfuel).sum(),
            funds.map(|fund| freed_at(fund.end_height)).max(),
        );
        Ok(())
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        let fresh =
            Self::open(self.wallet.clone(), self.chain_id.clone(), self.terms.clone(), self.store.clone())?;
        self.providers = fresh.providers;
        self.day = fresh.day;
        self.jobs.clear();
        Ok(())
    }
}

/// A reserve that the chain has and the book does not: the program ended between the two.
fn found(provider: Address, fund: &ReservedFund) -> PayerReserve {
    PayerReserve {
        provider,
        reserve: fund.reserve_sequence,
        fund: fund.initial_fund.tfuel.clone(),
        collateral: fund.collateral.tfuel.clone(),
        end: fund.end_height,
        state: ReserveState::Open,
        transaction: None,
    }
}

/// The height from which a reserve can come back (spec 02 section 7.4).
pub(super) fn freed_at(end: Height) -> Height {
    Height(end.0.saturating_add(RESERVED_FUND_FREEZE_PERIOD))
}
