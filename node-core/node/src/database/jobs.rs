//! Jobs of both sides: when, with whom, how much, and how they are paid.

use edge_jobs::{JobErrorCode, JobId, JobKind};
use edge_market::{
    StoreError,
    jobs::{JobOutcome, JobRecord, JobSide, JobStore},
};
use rusqlite::{Connection, Row, params, types::Type};
use theta_types::{Address, Wei};

use super::{
    Database, DatabaseError,
    shares::{self, Side},
    values::{Count, Party, Text, collect, first, market_error, run},
};
use crate::control::types::{JobRow, KindTotals, PaymentRow};

impl From<JobSide> for Side {
    fn from(side: JobSide) -> Self {
        match side {
            JobSide::Provider => Side::Payee,
            JobSide::Requester => Side::Payer,
        }
    }
}

const JOB: &str = "SELECT job, first_job, kind, model, counterparty, price, units, bytes, tokens, started, ended, state, \
                   error_code, error FROM jobs";

impl JobStore for Database {
    fn put(&self, job: &JobRecord) -> Result<(), StoreError> {
        self.write(|tx| put(tx, job)).map_err(market_error)
    }

    fn get(&self, id: JobId, side: JobSide) -> Result<Option<JobRecord>, StoreError> {
        let sql = format!("{JOB} WHERE side = ?1 AND job = ?2");
        let key = params![Side::from(side).name(), Text(id)];
        self.read(|c| first(c, &sql, key, |row| read(row, side))).map_err(market_error)
    }

    fn interrupted(&self, side: JobSide, counterparty: Address) -> Result<Vec<JobRecord>, StoreError> {
        let sql =
            format!("{JOB} WHERE state = 'interrupted' AND side = ?1 AND counterparty = ?2 ORDER BY number");
        let key = params![Side::from(side).name(), Party(counterparty)];
        self.read(|c| collect(c, &sql, key, |row| read(row, side))).map_err(market_error)
    }

    fn interrupt_running(&self, at: u64) -> Result<u64, StoreError> {
        let sql = "UPDATE jobs SET state = 'interrupted', ended = ?1 WHERE state = 'running'";
        self.write(|tx| run(tx, sql, [Count(at)])).map(|rows| rows as u64).map_err(market_error)
    }
}

impl Database {
    /// The last jobs of a side, newest first, with how they are paid.
    pub async fn jobs(&self, side: JobSide, most: u32) -> Result<Vec<JobRow>, DatabaseError> {
        self.read_async(move |c| {
            let sql = format!("{JOB} WHERE side = ?1 ORDER BY number DESC LIMIT ?2");
            let jobs = collect(c, &sql, params![Side::from(side).name(), most], |row| read(row, side))?;
            jobs.into_iter().map(|job| shown(c, job)).collect()
        })
        .await
    }

    /// Sums over all jobs of a side, by kind; kinds without jobs are left out.
    pub async fn job_totals(&self, side: JobSide) -> Result<Vec<KindTotals>, DatabaseError> {
        self.read_async(move |c| {
            let mut all = Vec::new();
            for kind in JobKind::ALL {
                let totals = totals(c, side.into(), kind)?;
                if totals.jobs > 0 {
                    all.push(totals);
                }
            }
            Ok(all)
        })
        .await
    }

    /// Vouchers of a side that were ever received or signed, and this node's own transactions on the chain.
    pub async fn payment_counts(&self, side: JobSide) -> Result<(u64, u64), DatabaseError> {
        self.read_async(move |c| {
            let count = |sql: &str| {
                Ok::<_, DatabaseError>(first(c, sql, [], |row| row.get::<_, Count>(0))?.map_or(0, |n| n.0))
            };
            let vouchers = match side {
                JobSide::Provider => count("SELECT vouchers FROM voucher_counts WHERE side = 'payee'")?,
                JobSide::Requester => count("SELECT vouchers FROM voucher_counts WHERE side = 'payer'")?,
            };
            let sent = count("SELECT count(*) FROM wallet_transactions WHERE outcome = 'final'")?;
            let settled = count("SELECT count(*) FROM payee_lines WHERE state = 'settled'")?;
            Ok((vouchers, sent + settled))
        })
        .await
    }
}

/// Counts one more voucher of a side.
pub(super) fn count_voucher(connection: &Connection, side: Side) -> Result<(), DatabaseError> {
    run(connection, "UPDATE voucher_counts SET vouchers = vouchers + 1 WHERE side = ?1", [side.name()])?;
    Ok(())
}

fn put(connection: &Connection, job: &JobRecord) -> Result<(), DatabaseError> {
    let (state, code, error) = match &job.outcome {
        JobOutcome::Running => ("running", None, None),
        JobOutcome::Done => ("done", None, None),
        JobOutcome::Cancelled => ("cancelled", None, None),
        JobOutcome::Interrupted => ("interrupted", None, None),
        JobOutcome::Failed { code, message } => ("failed", Some(code_text(*code)?), Some(message)),
    };
    run(
        connection,
        "INSERT INTO jobs (side, job, first_job, kind, model, counterparty, price, units, bytes, tokens, started, ended,
                           state, error_code, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (side, job) DO UPDATE SET first_job = excluded.first_job, kind = excluded.kind,
           model = excluded.model, counterparty = excluded.counterparty, price = excluded.price, units = excluded.units,
           bytes = excluded.bytes, tokens = excluded.tokens, started = excluded.started, ended = excluded.ended,
           state = excluded.state, error_code = excluded.error_code, error = excluded.error",
        params![
            Side::from(job.side).name(),
            Text(job.id),
            job.first.map(Text),
            job.kind.name(),
            job.model,
            Party(job.counterparty),
            Text(&job.price),
            Count(job.units),
            Count(job.bytes),
            Count(job.tokens),
            Count(job.started),
            job.ended.map(Count),
            state,
            code,
            error
        ],
    )?;
    Ok(())
}

fn read(row: &Row<'_>, side: JobSide) -> rusqlite::Result<JobRecord> {
    let (Text(id), Party(counterparty), Text(price)) = (row.get(0)?, row.get(4)?, row.get(5)?);
    let (Count(units), Count(bytes), Count(tokens), Count(started)) =
        (row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?);
    let state: String = row.get(11)?;
    let outcome = match state.as_str() {
        "running" => JobOutcome::Running,
        "done" => JobOutcome::Done,
        "cancelled" => JobOutcome::Cancelled,
        "interrupted" => JobOutcome::Interrupted,
        _ => {
            let code: String = row.get(12)?;
            let code = serde_json::from_value(code.into()).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(12, Type::Text, Box::new(error))
            })?;
            JobOutcome::Failed { code, message: row.get(13)? }
        }
    };
    Ok(JobRecord {
        id,
        first: row.get::<_, Option<Text<_>>>(1)?.map(|job| job.0),
        side,
        kind: shares::read_kind(row, 2)?,
        model: row.get(3)?,
        counterparty,
        price,
        units,
        bytes,
        tokens,
        started,
        ended: row.get::<_, Option<Count>>(10)?.map(|count| count.0),
        outcome,
    })
}

fn code_text(code: JobErrorCode) -> Result<String, DatabaseError> {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        other => Err(DatabaseError::Damaged(format!("{other:?} is no code"))),
    }
}

fn totals(connection: &Connection, side: Side, kind: JobKind) -> Result<KindTotals, DatabaseError> {
    let sql =
        "SELECT count(*), count(*) FILTER (WHERE state IN ('failed', 'interrupted')), ifnull(sum(bytes), 0),
                      ifnull(sum(tokens), 0)
               FROM jobs WHERE side = ?1 AND kind = ?2";
    let counts = first(connection, sql, params![side.name(), kind.name()], |row| {
        let (Count(jobs), Count(failed)) = (row.get(0)?, row.get(1)?);
        let (Count(bytes), Count(tokens)) = (row.get(2)?, row.get(3)?);
        Ok((jobs, failed, bytes, tokens))
    })?;
    let (jobs, failed, bytes, tokens) = counts.unwrap_or_default();
    let sql = "SELECT price, sum(units) FROM shares WHERE side = ?1 AND kind = ?2 GROUP BY price";
    let by_price = collect(connection, sql, params![side.name(), kind.name()], |row| {
        let (Text(price), Count(units)) = (row.get(0)?, row.get(1)?);
        Ok::<(Wei, u64), _>((price, units))
    })?;
    let units = by_price.iter().map(|(_, units)| units).sum();
    let amount = by_price.iter().map(|(price, units)| price * *units).sum();
    Ok(KindTotals { kind, jobs, failed, units, bytes, tokens, amount, note: None })
}

/// A job as people see it, with the payments of its units.
fn shown(connection: &Connection, job: JobRecord) -> Result<JobRow, DatabaseError> {
    let mut payments = Vec::new();
    let (mut units, mut amount) = (0, Wei::zero());
    for share in shares::of_job(connection, job.side.into(), job.id)? {
        let state = match share.line {
            None => PaymentState { state: "owed".to_owned(), transaction: None, height: None },
            Some(line) => payment_state(connection, job.side, share.counterparty, line)?,
        };
        units += share.units;
        amount += share.amount();
        payments.push(PaymentRow {
            units: share.units,
            amount: share.amount(),
            state: state.state,
            transaction: state.transaction,
            height: state.height,
        });
    }
    let (state, error) = match job.outcome {
        JobOutcome::Running => ("running", None),
        JobOutcome::Done => ("done", None),
        JobOutcome::Cancelled => ("cancelled", None),
        JobOutcome::Interrupted => ("interrupted", Some("the node ended in the middle of it".to_owned())),
        JobOutcome::Failed { message, .. } => ("failed", Some(message)),
    };
    Ok(JobRow {
        job: job.id.to_string(),
        kind: job.kind,
        model: job.model,
        counterparty: job.counterparty,
        started: job.started,
        ended: job.ended,
        state: state.to_owned(),
        error,
        units,
        price: job.price,
        amount,
        bytes: job.bytes,
        tokens: job.tokens,
        payments,
        note: None,
    })
}

struct PaymentState {
    state: String,
    transaction: Option<String>,
    height: Option<u64>,
}

fn payment_state(
    connection: &Connection,
    side: JobSide,
    counterparty: Address,
    (reserve, sequence): (u64, u64),
) -> Result<PaymentState, DatabaseError> {
    let key = params![Party(counterparty), Count(reserve), Count(sequence)];
    let found = match side {
        JobSide::Provider => {
            let sql = "SELECT CASE state WHEN 'open' THEN 'signed' ELSE state END, payment, seen_at FROM payee_lines
                       WHERE payer = ?1 AND reserve = ?2 AND sequence = ?3";
            first(connection, sql, key, |row| {
                let height = row.get::<_, Option<Count>>(2)?.map(|height| height.0);
                Ok(PaymentState { state: row.get(0)?, transaction: row.get(1)?, height })
            })?
        }
        // The payer sees how much was settled, not the transaction: that is the provider's.
        JobSide::Requester => {
            let sql =
                "SELECT settled FROM payer_lines WHERE provider = ?1 AND reserve = ?2 AND sequence = ?3";
            first(connection, sql, key, |row| {
                let state = match row.get::<_, Option<Text<Wei>>>(0)? {
                    None => "signed",
                    Some(Text(amount)) if amount.is_zero() => "lapsed",
                    Some(_) => "settled",
                };
                Ok(PaymentState { state: state.to_owned(), transaction: None, height: None })
            })?
        }
    };
    // One line that a repair or a half restored backup left out must not hide all the others.
    let unknown = || PaymentState { state: "unknown".to_owned(), transaction: None, height: None };
    Ok(found.unwrap_or_else(unknown))
}

#[cfg(test)]
mod tests {
    use edge_market::{
        JobShare, LineId,
        payee::{LineState, PayeeChange, PayeeLine, PayeeStore},
        payer::{PayerChange, PayerLine, PayerStore},
    };
    use theta_types::{Height, TxHash};

    use super::*;
    use crate::database::{PayeeBooks, PayerBooks};

    const JOB: JobId = JobId([1; 16]);

    fn other_side() -> Address {
        Address::repeat_byte(7)
    }

    fn line(sequence: u64) -> LineId {
        LineId { counterparty: other_side(), reserve: 4, sequence }
    }

    fn share(units: u64, line: Option<LineId>) -> JobShare {
        JobShare {
            job: JOB,
            counterparty: other_side(),
            kind: JobKind::Relay,
            price: Wei::from(5u64),
            units,
            line: line.map(|line| (line.reserve, line.sequence)),
        }
    }

    fn record(side: JobSide) -> JobRecord {
        JobRecord {
            id: JOB,
            first: None,
            side,
            kind: JobKind::Relay,
            model: None,
            counterparty: other_side(),
            price: Wei::from(5u64),
            units: 3,
            bytes: 600,
            tokens: 0,
            started: 1_000,
            ended: None,
            outcome: JobOutcome::Running,
        }
    }

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("db")).unwrap();
        (folder, database)
    }

    async fn payments(database: &Database, side: JobSide) -> Vec<(u64, String, Option<String>, Option<u64>)> {
        let jobs = database.jobs(side, 10).await.unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].amount, Wei::from(5u64) * jobs[0].units);
        let shown = |row: &PaymentRow| (row.units, row.state.clone(), row.transaction.clone(), row.height);
        jobs[0].payments.iter().map(shown).collect()
    }

    #[tokio::test]
    async fn a_providers_units_are_owed_then_signed_then_submitted_then_settled() {
        let (_folder, database) = database();
        let books = PayeeBooks(database.clone());
        database.put(&record(JobSide::Provider)).unwrap();
        let state = |state| PayeeChange::Line(PayeeLine { id: line(1), signed: Wei::from(15u64), state });
        let only = |name: &str, transaction: Option<TxHash>, height| {
            vec![(3, name.to_owned(), transaction.map(|hash| hash.to_string()), height)]
        };

        books.apply(&[PayeeChange::Share(share(3, None))]).unwrap();
        assert_eq!(payments(&database, JobSide::Provider).await, only("owed", None, None));

        books.apply(&[state(LineState::Open), PayeeChange::Cover(line(1))]).unwrap();
        assert_eq!(payments(&database, JobSide::Provider).await, only("signed", None, None));

        let (amount, transaction) = (Wei::from(15u64), TxHash(theta_types::B256::repeat_byte(9)));
        let submitted = LineState::Submitted { amount: amount.clone(), transaction, raw: vec![1, 2, 3] };
        books.apply(&[state(submitted)]).unwrap();
        assert_eq!(payments(&database, JobSide::Provider).await, only("submitted", Some(transaction), None));

        let settled = LineState::Settled { amount, transaction, seen_at: Height(77) };
        books.apply(&[state(settled)]).unwrap();
        let shown = payments(&database, JobSide::Provider).await;
        assert_eq!(shown, only("settled", Some(transaction), Some(77)));

        // The next units of the same job go on the next line.
        books.apply(&[PayeeChange::Share(share(2, None))]).unwrap();
        let shown = payments(&database, JobSide::Provider).await;
        assert_eq!(shown[1], (2, "owed".to_owned(), None, None));
        let (vouchers, transactions) = database.payment_counts(JobSide::Provider).await.unwrap();
        assert_eq!((vouchers, transactions), (0, 1));
    }

    #[tokio::test]
    async fn a_payers_units_are_signed_then_settled_or_lapsed() {
        let (_folder, database) = database();
        let books = PayerBooks(database.clone());
        database.put(&record(JobSide::Requester)).unwrap();
        let kept = |sequence, settled| {
            let (signed, voucher) = (Wei::from(15u64), vec![1]);
            PayerChange::Line(PayerLine { id: line(sequence), signed, voucher, frozen: false, settled })
        };
        books.apply(&[PayerChange::Share(share(2, Some(line(1)))), kept(1, None)]).unwrap();
        books.apply(&[PayerChange::Share(share(1, Some(line(2)))), kept(2, None)]).unwrap();
        let states = async || {
            let shown = payments(&database, JobSide::Requester).await;
            shown.into_iter().map(|(_, state, ..)| state).collect::<Vec<_>>()
        };
        assert_eq!(states().await, ["signed", "signed"]);
        books.apply(&[kept(1, Some(Wei::from(15u64))), kept(2, Some(Wei::zero()))]).unwrap();
        assert_eq!(states().await, ["settled", "lapsed"]);
    }

    #[tokio::test]
    async fn one_missing_line_hides_nothing_else() {
        let (_folder, database) = database();
        for side in [JobSide::Provider, JobSide::Requester] {
            database.put(&record(side)).unwrap();
        }
        PayeeBooks(database.clone()).apply(&[PayeeChange::Share(share(3, Some(line(1))))]).unwrap();
        PayerBooks(database.clone()).apply(&[PayerChange::Share(share(3, Some(line(1))))]).unwrap();
        for side in [JobSide::Provider, JobSide::Requester] {
            assert_eq!(payments(&database, side).await, [(3, "unknown".to_owned(), None, None)]);
            let totals = database.job_totals(side).await.unwrap();
            assert_eq!((totals[0].units, totals[0].bytes), (3, 600));
        }
    }
}
