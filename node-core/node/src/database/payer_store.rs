//! The payer's book of reserves and vouchers.

use edge_jobs::JobId;
use edge_market::{
    JobShare, LineId, StoreError,
    payer::{PayerAccount, PayerBook, PayerChange, PayerLine, PayerReserve, PayerStore, ReserveState},
};
use rusqlite::{Connection, Row, params};
use theta_types::{Height, ResourceId};

use super::{
    Database, DatabaseError, jobs, shares,
    shares::Side,
    values::{Count, Party, Text, collect, first, market_error, run},
};

/// The payer's book in the app database.
#[derive(Clone, Debug)]
pub struct PayerBooks(pub Database);

impl PayerStore for PayerBooks {
    fn load(&self) -> Result<PayerBook, StoreError> {
        self.0.read(load).map_err(market_error)
    }

    fn apply(&self, changes: &[PayerChange]) -> Result<(), StoreError> {
        self.0.write(|tx| changes.iter().try_for_each(|change| apply(tx, change))).map_err(market_error)
    }

    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError> {
        self.0.read(|c| shares::of_job(c, Side::Payer, job)).map_err(market_error)
    }

    fn line(&self, id: LineId) -> Result<Option<PayerLine>, StoreError> {
        let sql = format!("{LINE} WHERE provider = ?1 AND reserve = ?2 AND sequence = ?3");
        let key = (Party(id.counterparty), Count(id.reserve), Count(id.sequence));
        self.0.read(|c| first(c, &sql, params![key.0, key.1, key.2], read_line)).map_err(market_error)
    }
}

const LINE: &str = "SELECT provider, reserve, sequence, signed, voucher, frozen, settled FROM payer_lines";
const STATES: [(ReserveState, &str); 4] = [
    (ReserveState::Opening, "opening"),
    (ReserveState::Open, "open"),
    (ReserveState::Failed, "failed"),
    (ReserveState::Ended, "ended"),
];

fn load(connection: &Connection) -> Result<PayerBook, DatabaseError> {
    let accounts =
        collect(connection, "SELECT provider, resource, agreed, past FROM payer_accounts", [], |row| {
            let (Party(provider), Text(agreed), Text(past)) = (row.get(0)?, row.get(2)?, row.get(3)?);
            let resource: Vec<u8> = row.get(1)?;
            Ok(PayerAccount { provider, resource: ResourceId::from(resource.as_slice()), agreed, past })
        })?;
    let reserves = collect(
        connection,
        "SELECT provider, reserve, fund, collateral, end_height, state, payment FROM payer_reserves
         WHERE state IN ('opening', 'open') ORDER BY provider, reserve",
        [],
        read_reserve,
    )?;
    let live = "WHERE EXISTS (SELECT 1 FROM payer_reserves r WHERE r.provider = payer_lines.provider
                              AND r.reserve = payer_lines.reserve AND r.state IN ('opening', 'open'))";
    let order = "ORDER BY provider, reserve, sequence";
    let lines = collect(connection, &format!("{LINE} {live} {order}"), [], read_line)?;
    let day = first(connection, "SELECT day, agreed FROM payer_days ORDER BY day DESC LIMIT 1", [], |row| {
        let (Count(day), Text(agreed)) = (row.get(0)?, row.get(1)?);
        Ok((day, agreed))
    })?;
    Ok(PayerBook { accounts, reserves, lines, day })
}

fn apply(connection: &Connection, change: &PayerChange) -> Result<(), DatabaseError> {
    match change {
        PayerChange::Account(account) => run(
            connection,
            "INSERT OR REPLACE INTO payer_accounts (provider, resource, agreed, past) VALUES (?1, ?2, ?3, ?4)",
            params![
                Party(account.provider),
                account.resource.as_bytes(),
                Text(&account.agreed),
                Text(&account.past)
            ],
        )
        .map(drop),
        PayerChange::Reserve(reserve) => put_reserve(connection, reserve),
        PayerChange::Line(line) => put_line(connection, line),
        PayerChange::Share(share) => shares::add(connection, Side::Payer, share),
        PayerChange::Cover(line) => shares::cover(connection, Side::Payer, *line),
        PayerChange::Uncover(line) => shares::uncover(connection, Side::Payer, *line),
        PayerChange::Day { day, agreed } => run(
            connection,
            "INSERT OR REPLACE INTO payer_days (day, agreed) VALUES (?1, ?2)",
            params![Count(*day), Text(agreed)],
        )
        .map(drop),
    }
}

fn put_line(connection: &Connection, line: &PayerLine) -> Result<(), DatabaseError> {
    let key = params![Party(line.id.counterparty), Count(line.id.reserve), Count(line.id.sequence)];
    let sql = "SELECT voucher FROM payer_lines WHERE provider = ?1 AND reserve = ?2 AND sequence = ?3";
    let before = first(connection, sql, key, |row| row.get::<_, Vec<u8>>(0))?;
    if before.as_ref() != Some(&line.voucher) {
        jobs::count_voucher(connection, Side::Payer)?;
    }
    run(
        connection,
        "INSERT OR REPLACE INTO payer_lines (provider, reserve, sequence, signed, voucher, frozen, settled)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            Party(line.id.counterparty),
            Count(line.id.reserve),
            Count(line.id.sequence),
            Text(&line.signed),
            line.voucher,
            line.frozen,
            line.settled.as_ref().map(Text)
        ],
    )
    .map(drop)
}

fn put_reserve(connection: &Connection, reserve: &PayerReserve) -> Result<(), DatabaseError> {
    let state = STATES.iter().find(|(state, _)| *state == reserve.state).map(|(_, name)| *name);
    run(
        connection,
        "INSERT OR REPLACE INTO payer_reserves (provider, reserve, fund, collateral, end_height, state, payment)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            Party(reserve.provider),
            Count(reserve.reserve),
            Text(&reserve.fund),
            Text(&reserve.collateral),
            Count(reserve.end.0),
            state,
            reserve.transaction.map(Text)
        ],
    )?;
    Ok(())
}

fn read_reserve(row: &Row<'_>) -> rusqlite::Result<PayerReserve> {
    let (Party(provider), Count(reserve), Count(end)) = (row.get(0)?, row.get(1)?, row.get(4)?);
    let (Text(fund), Text(collateral), name) = (row.get(2)?, row.get(3)?, row.get::<_, String>(5)?);
    let state =
        STATES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state).ok_or_else(|| {
            let problem = format!("{name:?} is no state of a reserve").into();
            rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, problem)
        })?;
    let transaction = row.get::<_, Option<Text<_>>>(6)?.map(|hash| hash.0);
    Ok(PayerReserve { provider, reserve, fund, collateral, end: Height(end), state, transaction })
}

fn read_line(row: &Row<'_>) -> rusqlite::Result<PayerLine> {
    let (Party(counterparty), Count(reserve), Count(sequence)) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let Text(signed) = row.get(3)?;
    let settled = row.get::<_, Option<Text<_>>>(6)?.map(|settled| settled.0);
    Ok(PayerLine {
        id: LineId { counterparty, reserve, sequence },
        signed,
        voucher: row.get(4)?,
        frozen: row.get(5)?,
        settled,
    })
}
