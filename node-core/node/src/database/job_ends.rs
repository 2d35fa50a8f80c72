//! How jobs ended, for those who ask why there is no money.

use edge_jobs::JobKind;
use edge_market::jobs::JobSide;
use theta_types::Wei;

use super::{
    Database, DatabaseError,
    shares::Side,
    values::{Count, Text, collect, first},
};

/// How the jobs of a kind ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEnds {
    /// Jobs that run.
    pub running: u64,
    /// Jobs that came to their end.
    pub done: u64,
    /// Jobs that the requester stopped.
    pub cancelled: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that a program's end broke off.
    pub interrupted: u64,
    /// Why the last one that failed did.
    pub last_error: Option<String>,
    /// TFuelWei for units that were delivered and that nobody has paid since their job ended.
    pub unpaid: Wei,
}

impl Database {
    /// How the jobs of a side and kind ended.
    pub async fn job_ends(&self, side: JobSide, kind: JobKind) -> Result<JobEnds, DatabaseError> {
        self.read_async(move |c| {
            let side = Side::from(side).name();
            let of_kind = [side, kind.name()];
            let mut ends = JobEnds::default();
            let sql = "SELECT state, count(*) FROM jobs WHERE side = ?1 AND kind = ?2 GROUP BY state";
            for (state, count) in
                collect(c, sql, of_kind, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Count>(1)?.0)))?
            {
                match state.as_str() {
                    "running" => ends.running = count,
                    "done" => ends.done = count,
                    "cancelled" => ends.cancelled = count,
                    "interrupted" => ends.interrupted = count,
                    _ => ends.failed = count,
                }
            }
            let sql = "SELECT error FROM jobs WHERE side = ?1 AND kind = ?2 AND state = 'failed'
                       ORDER BY number DESC LIMIT 1";
            ends.last_error = first(c, sql, of_kind, |row| row.get(0))?.flatten();
            let sql = "SELECT price, sum(units) FROM shares WHERE side = ?1 AND kind = ?2 AND reserve IS NULL
                       GROUP BY price";
            let unpaid = collect(c, sql, of_kind, |row| {
                let (Text(price), Count(units)) = (row.get(0)?, row.get(1)?);
                Ok::<(Wei, u64), _>((price, units))
            })?;
            ends.unpaid = unpaid.iter().map(|(price, units)| price * *units).sum();
            Ok(ends)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use edge_jobs::{JobErrorCode, JobId};
    use edge_market::{
        JobShare,
        jobs::{JobOutcome, JobRecord, JobStore},
    };
    use theta_types::Address;

    use super::*;
    use crate::database::shares;

    #[tokio::test]
    async fn jobs_are_counted_by_their_ends_and_what_nobody_paid_is_summed() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("db")).unwrap();
        let failed =
            |message: &str| JobOutcome::Failed { code: JobErrorCode::Internal, message: message.to_owned() };
        let outcomes = [
            failed("first"),
            JobOutcome::Cancelled,
            failed("second"),
            JobOutcome::Done,
            JobOutcome::Running,
            JobOutcome::Interrupted,
        ];
        for outcome in outcomes {
            let record = JobRecord {
                id: JobId::random(),
                first: None,
                side: JobSide::Provider,
                kind: JobKind::Chat,
                model: None,
                counterparty: Address::ZERO,
                price: Wei::from(5u64),
                units: 1,
                bytes: 0,
                tokens: 0,
                started: 1,
                ended: None,
                outcome,
            };
            database.put(&record).unwrap();
        }
        let share = |line| JobShare {
            job: JobId::random(),
            counterparty: Address::ZERO,
            kind: JobKind::Chat,
            price: Wei::from(5u64),
            units: 3,
            line,
        };
        database
            .write(|tx| {
                shares::add(tx, Side::Payee, &share(None))?;
                shares::add(tx, Side::Payee, &share(Some((1, 1))))
            })
            .unwrap();
        let ends = database.job_ends(JobSide::Provider, JobKind::Chat).await.unwrap();
        let expected = JobEnds {
            running: 1,
            done: 1,
            cancelled: 1,
            failed: 2,
            interrupted: 1,
            last_error: Some("second".into()),
            unpaid: Wei::from(15u64),
        };
        assert_eq!(ends, expected);
        let others = database.job_ends(JobSide::Requester, JobKind::Chat).await.unwrap();
        assert_eq!(others, JobEnds::default());
    }
}
