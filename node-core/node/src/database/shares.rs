//! Units of jobs and the lines that carry them, for both sides of a payment.

use edge_jobs::{JobId, JobKind};
use edge_market::{JobShare, LineId};
use rusqlite::{Connection, Row, params};

use super::{
    DatabaseError,
    values::{Count, Party, Text, collect, first, run},
};

/// Which side this node is on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Payee,
    Payer,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Payee => "payee",
            Side::Payer => "payer",
        }
    }
}

/// Adds units to the share of (job, line).
pub(super) fn add(connection: &Connection, side: Side, share: &JobShare) -> Result<(), DatabaseError> {
    let (reserve, sequence) = share.line.unzip();
    run(
        connection,
        "INSERT INTO shares (side, job, counterparty, kind, price, units, reserve, sequence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (side, job, counterparty, ifnull(reserve, -1), ifnull(sequence, -1))
         DO UPDATE SET units = units + excluded.units",
        params![
            side.name(),
            Text(share.job),
            Party(share.counterparty),
            share.kind.name(),
            Text(&share.price),
            Count(share.units),
            reserve.map(Count),
            sequence.map(Count),
        ],
    )?;
    Ok(())
}

/// The shares of a job, in the order of their first units.
pub(super) fn of_job(
    connection: &Connection,
    side: Side,
    job: JobId,
) -> Result<Vec<JobShare>, DatabaseError> {
    let sql = "SELECT job, counterparty, kind, price, units, reserve, sequence FROM shares
               WHERE side = ?1 AND job = ?2 ORDER BY id";
    collect(connection, sql, params![side.name(), Text(job)], read)
}

/// All shares of the counterparty without a line are carried by `line` from now on.
pub(super) fn cover(connection: &Connection, side: Side, line: LineId) -> Result<(), DatabaseError> {
    let uncovered =
        "SELECT id FROM shares WHERE side = ?1 AND counterparty = ?2 AND reserve IS NULL ORDER BY id";
    let ids: Vec<i64> =
        collect(connection, uncovered, params![side.name(), Party(line.counterparty)], |row| row.get(0))?;
    for id in ids {
        move_to(connection, side, id, Some((line.reserve, line.sequence)))?;
    }
    Ok(())
}

/// The shares of `line` have none from now on.
pub(super) fn uncover(connection: &Connection, side: Side, line: LineId) -> Result<(), DatabaseError> {
    let carried = "SELECT id FROM shares
                   WHERE side = ?1 AND counterparty = ?2 AND reserve = ?3 AND sequence = ?4 ORDER BY id";
    let parameters =
        params![side.name(), Party(line.counterparty), Count(line.reserve), Count(line.sequence)];
    let ids: Vec<i64> = collect(connection, carried, parameters, |row| row.get(0))?;
    for id in ids {
        move_to(connection, side, id, None)?;
    }
    Ok(())
}

/// Moves one share to a line or to none; where the job has a share already, the two become one, in the older one's place.
fn move_to(
    connection: &Connection,
    side: Side,
    id: i64,
    line: Option<(u64, u64)>,
) -> Result<(), DatabaseError> {
    let (reserve, sequence) = line.unzip();
    let (reserve, sequence) = (reserve.map(Count), sequence.map(Count));
    let twin = "SELECT other.id FROM shares AS moved JOIN shares AS other
                ON other.side = moved.side AND other.job = moved.job AND other.counterparty = moved.counterparty
                WHERE moved.id = ?1 AND moved.side = ?2 AND other.id <> moved.id
                AND other.reserve IS ?3 AND other.sequence IS ?4";
    let twin: Option<i64> =
        first(connection, twin, params![id, side.name(), reserve, sequence], |row| row.get(0))?;
    let Some(twin) = twin else {
        run(
            connection,
            "UPDATE shares SET reserve = ?2, sequence = ?3 WHERE id = ?1",
            params![id, reserve, sequence],
        )?;
        return Ok(());
    };
    let (older, newer) = (id.min(twin), id.max(twin));
    let units = "SELECT units FROM shares WHERE id = ?1";
    let more: i64 = connection.query_row(units, [newer], |row| row.get(0))?;
    run(connection, "DELETE FROM shares WHERE id = ?1", [newer])?;
    run(
        connection,
        "UPDATE shares SET units = units + ?2, reserve = ?3, sequence = ?4 WHERE id = ?1",
        params![older, more, reserve, sequence],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<JobShare> {
    let (Text(job), Party(counterparty)) = (row.get(0)?, row.get(1)?);
    let (Text(price), Count(units)) = (row.get(3)?, row.get(4)?);
    let reserve = row.get::<_, Option<Count>>(5)?.map(|count| count.0);
    let sequence = row.get::<_, Option<Count>>(6)?.map(|count| count.0);
    Ok(JobShare { job, counterparty, kind: read_kind(row, 2)?, price, units, line: reserve.zip(sequence) })
}

/// A kind by its name in a column.
pub(super) fn read_kind(row: &Row<'_>, column: usize) -> rusqlite::Result<JobKind> {
    let name: String = row.get(column)?;
    JobKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let problem = format!("{name:?} is no kind of job").into();
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, problem)
    })
}
