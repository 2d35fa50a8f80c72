//! Values of the domain in columns: what does not read back is a damaged record.

use std::{fmt::Display, str::FromStr};

use rusqlite::{
    Row,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};
use theta_types::Address;

use super::DatabaseError;

/// A value that is kept as the text that it is shown as: amounts, ids, hashes.
pub(super) struct Text<T>(pub T);

impl<T: Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

impl<T: FromStr> FromSql for Text<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// An address, in lower-case hex so that equal ones are equal texts.
pub(super) struct Party(pub Address);

impl ToSql for Party {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(format!("{:#x}", self.0).into())
    }
}

impl FromSql for Party {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// A count, height or sequence. SQLite's integers have a sign; nothing here comes near to 2^63.
pub(super) struct Count(pub u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let signed = i64::try_from(self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(signed.into())
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let signed = value.as_i64()?;
        u64::try_from(signed).map(Self).map_err(|_| FromSqlError::OutOfRange(signed))
    }
}

/// Rows of a query as values.
pub(super) fn collect<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, DatabaseError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first row of a query, if there is one.
pub(super) fn first<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, DatabaseError> {
    use rusqlite::OptionalExtension;
    Ok(connection.prepare_cached(sql)?.query_row(parameters, read).optional()?)
}

/// Runs one statement.
pub(super) fn run(
    connection: &rusqlite::Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<usize, DatabaseError> {
    Ok(connection.prepare_cached(sql)?.execute(parameters)?)
}

/// What the market's stores say of a failure.
pub(super) fn market_error(error: DatabaseError) -> edge_market::StoreError {
    let damaged = match &error {
        DatabaseError::Sqlite(rusqlite::Error::FromSqlConversionFailure(..)) | DatabaseError::Damaged(_) => {
            true
        }
        DatabaseError::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => {
            matches!(failure.code, rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        }
        _ => false,
    };
    let text = error.to_string();
    if damaged { edge_market::StoreError::Damaged(text) } else { edge_market::StoreError::Unavailable(text) }
}
