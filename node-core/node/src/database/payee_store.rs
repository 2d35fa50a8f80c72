//! The provider's book of vouchers.

use edge_jobs::JobId;
use edge_market::{
    JobShare, LineId, StoreError,
    payee::{
        HeldVoucher, LineState, PayeeAccount, PayeeBook, PayeeChange, PayeeLine, PayeeReserve, PayeeStore,
    },
};
use rusqlite::{Connection, Row, params};
use theta_types::{Height, ResourceId};

use super::{
    Database, DatabaseError, jobs, shares,
    shares::Side,
    values::{Count, Party, Text, collect, first, market_error, run},
};

/// The provider's book in the app database.
#[derive(Clone, Debug)]
pub struct PayeeBooks(pub Database);

impl PayeeStore for PayeeBooks {
    fn load(&self) -> Result<PayeeBook, StoreError> {
        self.0.read(load).map_err(market_error)
    }

    fn apply(&self, changes: &[PayeeChange]) -> Result<(), StoreError> {
        self.0.write(|tx| changes.iter().try_for_each(|change| apply(tx, change))).map_err(market_error)
    }

    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError> {
        self.0.read(|c| shares::of_job(c, Side::Payee, job)).map_err(market_error)
    }

    fn line(&self, id: LineId) -> Result<Option<PayeeLine>, StoreError> {
        self.0.read(|c| line(c, id)).map_err(market_error)
    }
}

const LINE: &str =
    "SELECT payer, reserve, sequence, signed, state, amount, payment, raw, seen_at FROM payee_lines";

fn load(connection: &Connection) -> Result<PayeeBook, DatabaseError> {
    let resource =
        first(connection, "SELECT resource FROM payee_resource", [], |row| row.get::<_, Vec<u8>>(0))?;
    let resource = resource.map(|bytes| ResourceId::from(bytes.as_slice()));
    let accounts =
        collect(connection, "SELECT payer, delivered, past, lost, forgone FROM payee_accounts", [], |row| {
            let (Party(payer), Text(delivered), Text(past)) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (Text(lost), Text(forgone)) = (row.get(3)?, row.get(4)?);
            Ok(PayeeAccount { payer, delivered, past, lost, forgone })
        })?;
    let reserves = collect(
        connection,
        "SELECT payer, reserve, fund, used, end_height, closed FROM payee_reserves WHERE closed = 0",
        [],
        |row| {
            let (Party(payer), Count(reserve), Count(end)) = (row.get(0)?, row.get(1)?, row.get(4)?);
            let (Text(fund), Text(used)) = (row.get(2)?, row.get(3)?);
            Ok(PayeeReserve { payer, reserve, fund, used, end: Height(end), closed: row.get(5)? })
        },
    )?;
    let open = "WHERE EXISTS (SELECT 1 FROM payee_reserves r
                              WHERE r.payer = payee_lines.payer AND r.reserve = payee_lines.reserve AND r.closed = 0)";
    let order = "ORDER BY payer, reserve, sequence";
    let lines = collect(connection, &format!("{LINE} {open} {order}"), [], read_line)?;
    let mut vouchers = collect(
        connection,
        "SELECT v.payer, v.reserve, v.sequence, v.total, v.raw FROM payee_vouchers v
         JOIN payee_lines l USING (payer, reserve, sequence)
         JOIN payee_reserves r ON r.payer = v.payer AND r.reserve = v.reserve
         WHERE r.closed = 0 AND l.state IN ('open', 'submitted')",
        [],
        |row| {
            let Text(total) = row.get(3)?;
            Ok(HeldVoucher { line: read_line_id(row)?, total, raw: row.get(4)? })
        },
    )?;
    // Decimal text does not sort as a number.
    vouchers.sort_by(|a, b| (a.line, &a.total).cmp(&(b.line, &b.total)));
    Ok(PayeeBook { resource, accounts, reserves, lines, vouchers })
}

fn line(connection: &Connection, id: LineId) -> Result<Option<PayeeLine>, DatabaseError> {
    let sql = format!("{LINE} WHERE payer = ?1 AND reserve = ?2 AND sequence = ?3");
    first(connection, &sql, params![Party(id.counterparty), Count(id.reserve), Count(id.sequence)], read_line)
}

fn apply(connection: &Connection, change: &PayeeChange) -> Result<(), DatabaseError> {
    match change {
        PayeeChange::Resource(resource) => run(
            connection,
            "INSERT OR REPLACE INTO payee_resource (only_one, resource) VALUES (1, ?1)",
            [resource.as_bytes()],
        )
        .map(drop),
        PayeeChange::Account(account) => run(
            connection,
            "INSERT OR REPLACE INTO payee_accounts (payer, delivered, past, lost, forgone) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                Party(account.payer),
                Text(&account.delivered),
                Text(&account.past),
                Text(&account.lost),
                Text(&account.forgone)
            ],
        )
        .map(drop),
        PayeeChange::Reserve(reserve) => run(
            connection,
            "INSERT OR REPLACE INTO payee_reserves (payer, reserve, fund, used, end_height, closed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                Party(reserve.payer),
                Count(reserve.reserve),
                Text(&reserve.fund),
                Text(&reserve.used),
                Count(reserve.end.0),
                reserve.closed
            ],
        )
        .map(drop),
        PayeeChange::Line(line) => put_line(connection, line),
        PayeeChange::Voucher(voucher) => put_voucher(connection, voucher),
        PayeeChange::DropVoucher { line, total } => run(
            connection,
            "DELETE FROM payee_vouchers WHERE payer = ?1 AND reserve = ?2 AND sequence = ?3 AND total = ?4",
            params![Party(line.counterparty), Count(line.reserve), Count(line.sequence), Text(total)],
        )
        .map(drop),
        PayeeChange::Share(share) => shares::add(connection, Side::Payee, share),
        PayeeChange::Cover(line) => shares::cover(connection, Side::Payee, *line),
        PayeeChange::Uncover(line) => shares::uncover(connection, Side::Payee, *line),
    }
}

fn put_voucher(connection: &Connection, voucher: &HeldVoucher) -> Result<(), DatabaseError> {
    let rows = run(
        connection,
        "INSERT OR IGNORE INTO payee_vouchers (payer, reserve, sequence, total, raw) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            Party(voucher.line.counterparty),
            Count(voucher.line.reserve),
            Count(voucher.line.sequence),
            Text(&voucher.total),
            voucher.raw
        ],
    )?;
    if rows > 0 { jobs::count_voucher(connection, Side::Payee) } else { Ok(()) }
}

fn put_line(connection: &Connection, line: &PayeeLine) -> Result<(), DatabaseError> {
    let (state, amount, payment, raw, seen_at) = match &line.state {
        LineState::Open => ("open", None, None, None, None),
        LineState::Submitted { amount, transaction, raw } => {
            ("submitted", Some(amount), Some(transaction), Some(raw), None)
        }
        LineState::Settled { amount, transaction, seen_at } => {
            ("settled", Some(amount), Some(transaction), None, Some(Count(seen_at.0)))
        }
        LineState::Lapsed => ("lapsed", None, None, None, None),
    };
    let id = params![Party(line.id.counterparty), Count(line.id.reserve), Count(line.id.sequence)];
    run(
        connection,
        "INSERT OR REPLACE INTO payee_lines (payer, reserve, sequence, signed, state, amount, payment, raw, seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            Party(line.id.counterparty),
            Count(line.id.reserve),
            Count(line.id.sequence),
            Text(&line.signed),
            state,
            amount.map(Text),
            payment.map(Text),
            raw,
            seen_at
        ],
    )?;
    if matches!(line.state, LineState::Settled { .. } | LineState::Lapsed) {
        run(
            connection,
            "DELETE FROM payee_vouchers WHERE payer = ?1 AND reserve = ?2 AND sequence = ?3",
            id,
        )?;
    }
    Ok(())
}

fn read_line_id(row: &Row<'_>) -> rusqlite::Result<LineId> {
    let (Party(counterparty), Count(reserve), Count(sequence)) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(LineId { counterparty, reserve, sequence })
}

fn read_line(row: &Row<'_>) -> rusqlite::Result<PayeeLine> {
    let (Text(signed), state) = (row.get(3)?, row.get::<_, String>(4)?);
    let state = match state.as_str() {
        "open" => LineState::Open,
        "submitted" => {
            let (Text(amount), Text(transaction)) = (row.get(5)?, row.get(6)?);
            LineState::Submitted { amount, transaction, raw: row.get(7)? }
        }
        "settled" => {
            let (Text(amount), Text(transaction), Count(seen_at)) = (row.get(5)?, row.get(6)?, row.get(8)?);
            LineState::Settled { amount, transaction, seen_at: Height(seen_at) }
        }
        "lapsed" => LineState::Lapsed,
        other => {
            let problem = format!("{other:?} is no state of a line").into();
            return Err(rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, problem));
        }
    };
    Ok(PayeeLine { id: read_line_id(row)?, signed, state })
}
