//! Reserves: when a new one is needed, and those that are on their way.

use std::collections::BTreeMap;

use theta_types::{Address, ResourceId, Wei};

use super::super::{PayerChange, PayerReserve, PayerTerms, ReserveState};
use super::{PayError, PayerLedger, account::Reserve};

impl PayerLedger {
    /// How much a new reserve must hold so that `amount` more can be agreed, the fee that stays free included; `None` when
    /// the reserves do.
    pub fn missing_room(&self, provider: Address, amount: &Wei) -> Option<Wei> {
        let Some(side) = self.providers.get(&provider) else { return Some(amount + &self.terms.fee) };
        let agreed = &side.account.agreed + amount;
        if side.fitting(&agreed, self.height, &self.terms).is_some() {
            return None;
        }
        Some(agreed.saturating_sub(&side.committed()) + &self.terms.fee)
    }

    /// Whether a new reserve should be opened now, so that work can go on without a pause.
    pub fn wants_refill(&self, provider: Address) -> bool {
        let Some(side) = self.providers.get(&provider) else { return false };
        !self.is_opening(provider)
            && !side.reserves.values().any(|reserve| match reserve.record.state {
                ReserveState::Open => {
                    let left = reserve.record.fund.saturating_sub(&reserve.value());
                    reserve.blocks_left(self.height) > self.terms.renew_before_end
                        && left >= reserve.record.fund.percent(self.terms.refill_below_percent)
                }
                _ => false,
            })
    }

    /// Whether a reserve for the provider is on its way.
    pub fn is_opening(&self, provider: Address) -> bool {
        let opening = |reserve: &Reserve| reserve.record.state == ReserveState::Opening;
        self.sending.contains(&provider)
            || self.providers.get(&provider).is_some_and(|side| side.reserves.values().any(opening))
    }

    /// Claims the opening of a reserve: settings and resource for it, or `None` when one is on its way already.
    pub fn begin_opening(&mut self, provider: Address) -> Option<(PayerTerms, ResourceId)> {
        let resource = self.providers.get(&provider)?.account.resource.clone();
        if self.is_opening(provider) {
            return None;
        }
        self.sending.insert(provider);
        Some((self.terms.clone(), resource))
    }

    /// Ends what [`PayerLedger::begin_opening`] claimed.
    pub fn end_opening(&mut self, provider: Address) {
        self.sending.remove(&provider);
    }

    /// Whether `fund` more, with its collateral, may be locked.
    pub fn may_lock(&self, fund: &Wei) -> Result<(), PayError> {
        let locked = self.summary().locked;
        if &locked + fund + PayerTerms::collateral_for(fund) > self.terms.max_locked {
            return Err(PayError::LockLimit { locked, limit: self.terms.max_locked.clone() });
        }
        Ok(())
    }

    /// Records a reserve whose transaction the mempool has taken.
    pub fn reserve_made(&mut self, record: PayerReserve) -> Result<(), PayError> {
        if !self.providers.contains_key(&record.provider) {
            return Err(PayError::UnknownProvider);
        }
        // The chain may have been faster than the answer to the sender: then the reserve was found already.
        let found =
            self.providers.get_mut(&record.provider).and_then(|side| side.reserves.get_mut(&record.reserve));
        if let Some(found) = found {
            let known = PayerReserve { transaction: record.transaction, ..found.record.clone() };
            self.store.apply(&[PayerChange::Reserve(known.clone())])?;
            found.record = known;
            return Ok(());
        }
        self.store.apply(&[PayerChange::Reserve(record.clone())])?;
        if let Some(side) = self.providers.get_mut(&record.provider) {
            side.reserves.insert(record.reserve, Reserve { record, lines: BTreeMap::new(), recorded: 0 });
        }
        Ok(())
    }

    /// Whether a reserve for the provider is open and can take vouchers.
    pub fn has_open_reserve(&self, provider: Address) -> bool {
        self.providers.get(&provider).is_some_and(|side| {
            side.reserves.values().any(|reserve| {
                reserve.record.state == ReserveState::Open
                    && reserve.blocks_left(self.height) > self.terms.stop_before_end
            })
        })
    }

    /// The newest open reserve for a provider.
    pub fn open_reserve(&self, provider: Address) -> Option<u64> {
        let side = self.providers.get(&provider)?;
        let open = side.reserves.values().filter(|reserve| reserve.record.state == ReserveState::Open);
        open.map(|reserve| reserve.record.reserve).next_back()
    }
}
