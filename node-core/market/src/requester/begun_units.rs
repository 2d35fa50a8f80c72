//! Units that were begun when this program last ended.
//!
//! A provider begins a unit when the one before it is paid, and this node's book knows a unit when it is paid. So when the
//! program ends in the middle of one, its provider is owed a unit that no book here knows, and may do no more work for this
//! wallet because of it. The record of jobs tells where that can be: in jobs that were running, one unit in each, for which the
//! price had been set aside. It is paid when the provider asks for it, and once: a provider that asks without having begun it
//! gains one unit for each time that this program was killed.

use theta_types::{Address, Wei};
use tracing::info;

use super::handle::Shared;
use crate::{
    jobs::{JobOutcome, JobRecord, JobSide},
    payer::{PayError, PayerError, UnitsDue},
};

impl Shared {
    /// Agrees to the units that `provider` may have begun. Whether there were any.
    pub(super) async fn pay_begun_units(&self, provider: Address) -> Result<bool, PayerError> {
        let interrupted = self.jobs.interrupted(JobSide::Requester, provider).await?;
        for job in &interrupted {
            if !job.price.is_zero() {
                self.pay_begun_unit(job).await?;
            }
            // The unit is in the book: asked again, nothing more is paid for the job.
            self.jobs.put(JobRecord { outcome: JobOutcome::Cancelled, ..job.clone() }).await;
        }
        Ok(!interrupted.is_empty())
    }

    async fn pay_begun_unit(&self, job: &JobRecord) -> Result<(), PayerError> {
        let due = UnitsDue {
            provider: job.counterparty,
            job: job.id,
            kind: job.kind,
            price: job.price.clone(),
            units: job.units + 1,
        };
        info!(job = %job.id, provider = %job.counterparty, "paying the unit that was begun when this program ended");
        self.payer.authorize(job.id, job.price.clone()).await?;
        let paid = match self.payer.pay(due.clone(), Wei::zero()).await {
            Err(PayerError::Pay(PayError::NoRoom { .. })) => {
                self.payer.ensure(job.counterparty, job.price.clone()).await?;
                self.payer.pay(due, Wei::zero()).await
            }
            other => other,
        };
        self.payer.release(job.id).await?;
        paid.map(drop)
    }
}
