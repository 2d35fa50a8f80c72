//! Agreeing to units, and signing for them.

use edge_jobs::{JobId, JobKind};
use theta_types::{Address, Encode, Wei};
use theta_wallet::{PaymentLine, Voucher};

use super::super::{PayerAccount, PayerChange, PayerLine, SignError};
use super::{
    PayError, PayerLedger,
    account::{JobPaid, Provider},
};
use crate::{JobShare, LineId, StoreError, clock::DAY_SECONDS};

/// Units to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitsDue {
    /// Who delivered them.
    pub provider: Address,
    /// In which job.
    pub job: JobId,
    /// What kind of work it is.
    pub kind: JobKind,
    /// TFuelWei for one unit.
    pub price: Wei,
    /// Units of the job in all, the paid ones included: paying twice for the same count pays once.
    pub units: u64,
}

impl PayerLedger {
    /// Sets one unit's price aside for a job, so that the unit may be delivered: the day's limit can still pay for it.
    pub fn authorize(&mut self, job: JobId, price: &Wei, now: u64) -> Result<(), PayError> {
        self.turn_day(now);
        if let Some(limit) = &self.terms.per_day {
            let held: Wei = self.holds.iter().filter(|(id, _)| **id != job).map(|(_, hold)| hold).sum();
            if &self.day.1 + &held + price > *limit {
                return Err(PayError::DayLimit { limit: limit.clone() });
            }
        }
        self.holds.insert(job, price.clone());
        Ok(())
    }

    /// Ends a job: what was set aside for its next unit is free again.
    pub fn release(&mut self, job: JobId) {
        self.holds.remove(&job);
        self.jobs.remove(&job);
    }

    /// Agrees to units that were delivered, and signs for them.
    ///
    /// `None` when no reserve can pay, and all that is owed to the provider stays within its `credit`.
    pub fn pay(&mut self, due: &UnitsDue, credit: &Wei, now: u64) -> Result<Option<Voucher>, PayError> {
        let paid = self.paid_units(due)?;
        if paid.provider != due.provider || paid.price != due.price {
            return Err(PayError::PriceChanged);
        }
        let new_units = due.units.saturating_sub(paid.units);
        let side = self.providers.get(&due.provider).ok_or(PayError::UnknownProvider)?;
        if new_units == 0 {
            return side.latest().map(voucher_of).transpose();
        }
        self.turn_day(now);
        let amount = &due.price * new_units;
        let side = self.providers.get(&due.provider).ok_or(PayError::UnknownProvider)?;
        let agreed = &side.account.agreed + &amount;
        let next = self.next_line(side, &agreed)?;
        let owed = agreed.saturating_sub(&side.committed());
        if next.is_none() && owed > *credit {
            return Err(PayError::NoRoom { needed: owed + &self.terms.fee });
        }

        let account = PayerAccount { agreed, ..side.account.clone() };
        let day = (self.day.0, &self.day.1 + &amount);
        let mut changes = vec![
            PayerChange::Account(account.clone()),
            PayerChange::Day { day: day.0, agreed: day.1.clone() },
            PayerChange::Share(JobShare {
                job: due.job,
                counterparty: due.provider,
                kind: due.kind,
                price: due.price.clone(),
                units: new_units,
                line: next.as_ref().map(|(line, _)| (line.id.reserve, line.id.sequence)),
            }),
        ];
        if let Some((line, _)) = &next {
            changes.push(PayerChange::Line(line.clone()));
            changes.push(PayerChange::Cover(line.id));
        }
        self.store.apply(&changes)?;
        self.day = day;
        self.jobs.insert(due.job, JobPaid { units: due.units, ..paid });
        self.put_account(account);
        Ok(next.map(|(line, voucher)| {
            self.put_line(line);
            voucher
        }))
    }

    /// A voucher for everything agreed with the provider so far; `None` when a voucher for it cannot be signed or
    /// nothing was ever agreed. What a new session begins with: it heals whatever a crash or a lost message left.
    pub fn settle_up(&mut self, provider: Address) -> Result<Option<Voucher>, PayError> {
        let side = self.providers.get(&provider).ok_or(PayError::UnknownProvider)?;
        if side.account.agreed <= side.committed() {
            return side.latest().map(voucher_of).transpose();
        }
        let Some((line, voucher)) = self.next_line(side, &side.account.agreed)? else { return Ok(None) };
        self.store.apply(&[PayerChange::Line(line.clone()), PayerChange::Cover(line.id)])?;
        self.put_line(line);
        Ok(Some(voucher))
    }

    /// Signs nothing more on a line, because the provider is about to settle it. Its last voucher, if there is one.
    pub fn freeze(&mut self, id: LineId) -> Result<Option<Voucher>, PayError> {
        let Some(line) = self.line(id) else { return Ok(None) };
        let voucher = voucher_of(line)?;
        if !line.frozen {
            let line = PayerLine { frozen: true, ..line.clone() };
            self.store.apply(&[PayerChange::Line(line.clone())])?;
            self.put_line(line);
        }
        Ok(Some(voucher))
    }

    /// The line on which `agreed` can be signed, with the voucher; `None` when no reserve has room.
    fn next_line(&self, side: &Provider, agreed: &Wei) -> Result<Option<(PayerLine, Voucher)>, SignError> {
        let Some((reserve, total)) = side.fitting(agreed, self.height, &self.terms) else { return Ok(None) };
        let id = LineId {
            counterparty: side.account.provider,
            reserve: reserve.record.reserve,
            sequence: reserve.current_sequence(),
        };
        let line = PaymentLine {
            chain_id: self.chain_id.clone(),
            payer: self.payer(),
            provider: id.counterparty,
            reserve_sequence: id.reserve,
            resource_id: side.account.resource.clone(),
        };
        let voucher = line.voucher(&self.wallet, id.sequence, total.clone())?;
        let line = PayerLine { id, signed: total, voucher: voucher.to_rlp(), frozen: false, settled: None };
        Ok(Some((line, voucher)))
    }

    fn paid_units(&self, due: &UnitsDue) -> Result<JobPaid, StoreError> {
        if let Some(paid) = self.jobs.get(&due.job) {
            return Ok(paid.clone());
        }
        let shares = self.store.shares(due.job)?;
        let Some(first) = shares.first() else {
            return Ok(JobPaid { provider: due.provider, price: due.price.clone(), units: 0 });
        };
        Ok(JobPaid {
            provider: first.counterparty,
            price: first.price.clone(),
            units: shares.iter().map(|share| share.units).sum(),
        })
    }

    fn turn_day(&mut self, now: u64) {
        let today = now / DAY_SECONDS;
        if today > self.day.0 {
            self.day = (today, Wei::zero());
        }
    }
}

fn voucher_of(line: &PayerLine) -> Result<Voucher, PayError> {
    Voucher::decode(&line.voucher)
        .map_err(|error| StoreError::Damaged(format!("a signed voucher: {error}")).into())
}
