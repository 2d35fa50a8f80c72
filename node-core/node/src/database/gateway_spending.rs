//! What the gateway's keys spend.

use async_trait::async_trait;
use edge_gateway::{
    Counted, Day, KeyId, Reservation, ReservationId, SpendingLimits, SpendingRefused, SpendingStore, Spent,
    StoreError, Sums,
};
use rusqlite::{Connection, params};
use theta_types::Wei;

use super::{
    Database, DatabaseError,
    values::{Text, collect, first, run},
};

#[async_trait]
impl SpendingStore for Database {
    async fn reserve(
        &self,
        reservation: Reservation,
        limits: SpendingLimits,
    ) -> Result<Result<Wei, SpendingRefused>, StoreError> {
        self.write_async(move |tx| reserve(tx, &reservation, &limits)).await.map_err(StoreError::new)
    }

    async fn book(&self, id: &ReservationId, spent: &Wei) -> Result<(), StoreError> {
        let (id, spent) = (id.0.clone(), spent.clone());
        self.write_async(move |tx| book(tx, &id, Some(&spent))).await.map_err(StoreError::new)
    }

    async fn book_open_in_full(&self) -> Result<(), StoreError> {
        let all = |tx: &rusqlite::Transaction<'_>| {
            let open: Vec<String> = collect(tx, "SELECT id FROM gateway_reservations", [], |row| row.get(0))?;
            open.iter().try_for_each(|id| book(tx, id, None))
        };
        self.write_async(all).await.map_err(StoreError::new)
    }

    async fn spent(&self, key: &KeyId, day: Day) -> Result<Spent, StoreError> {
        let key = key.clone();
        let spent = move |c: &Connection| {
            let whole = |Sums { booked, reserved }| booked + &reserved;
            let (today, ever) = (sums(c, Some(&key), Some(day))?, sums(c, Some(&key), None)?);
            Ok(Spent { day: whole(today), total: whole(ever) })
        };
        self.read_async(spent).await.map_err(StoreError::new)
    }
}

fn reserve(
    connection: &Connection,
    reservation: &Reservation,
    limits: &SpendingLimits,
) -> Result<Result<Wei, SpendingRefused>, DatabaseError> {
    let (key, day) = (Some(&reservation.key), Some(reservation.day));
    let counted = Counted {
        key_day: sums(connection, key, day)?,
        key_total: sums(connection, key, None)?,
        all_day: sums(connection, None, day)?,
    };
    let granted = match limits.grant(reservation, &counted) {
        Ok(granted) => granted,
        Err(refused) => return Ok(Err(refused)),
    };
    run(
        connection,
        "INSERT INTO gateway_reservations (id, key_id, day, amount) VALUES (?1, ?2, ?3, ?4)",
        params![reservation.id.0, Text(&reservation.key), reservation.day.0, Text(&granted)],
    )?;
    Ok(Ok(granted))
}

/// Ends a reservation with what was spent, or in full.
fn book(connection: &Connection, id: &str, spent: Option<&Wei>) -> Result<(), DatabaseError> {
    let sql = "SELECT key_id, day, amount FROM gateway_reservations WHERE id = ?1";
    let open = first(connection, sql, [id], |row| {
        let Text(amount) = row.get(2)?;
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, amount))
    })?;
    let Some((key, day, reserved)) = open else { return Ok(()) };
    run(connection, "DELETE FROM gateway_reservations WHERE id = ?1", [id])?;
    let sql = "SELECT amount FROM gateway_spent WHERE key_id = ?1 AND day = ?2";
    let before = first(connection, sql, params![key, day], |row| row.get::<_, Text<Wei>>(0))?;
    let sum = before.map(|Text(amount)| amount).unwrap_or_default() + spent.unwrap_or(&reserved);
    let sql = "INSERT OR REPLACE INTO gateway_spent (key_id, day, amount) VALUES (?1, ?2, ?3)";
    run(connection, sql, params![key, day, Text(sum)])?;
    Ok(())
}

/// What is booked and reserved, of one key or all, on one day or all.
fn sums(connection: &Connection, key: Option<&KeyId>, day: Option<Day>) -> Result<Sums, DatabaseError> {
    let sum = |table: &str| -> Result<Wei, DatabaseError> {
        let sql = format!(
            "SELECT amount FROM {table} WHERE (?1 IS NULL OR key_id = ?1) AND (?2 IS NULL OR day = ?2)"
        );
        let parameters = params![key.map(Text), day.map(|day| day.0)];
        let amounts = collect(connection, &sql, parameters, |row| row.get::<_, Text<Wei>>(0))?;
        Ok(amounts.into_iter().map(|Text(amount)| amount).sum())
    };
    Ok(Sums { booked: sum("gateway_spent")?, reserved: sum("gateway_reservations")? })
}
