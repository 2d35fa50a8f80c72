//! The app database: vouchers, jobs, keys, videos, settings made at run time, events.
//!
//! One SQLite file in the data folder, in WAL mode with full synchronisation: when a call returns, what it wrote
//! survives a power cut, and a voucher may be acted on. Each store trait of the other crates is implemented in a file of
//! its own.

#[cfg(test)]
mod conformance_tests;
mod gateway_keys;
mod gateway_spending;
#[cfg(test)]
mod gateway_tests;
mod gateway_videos;
mod job_ends;
mod jobs;
mod pause;
mod payee_store;
mod payer_store;
mod published;
mod shares;
mod standing_store;
mod values;
mod wallet_journal;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

pub use job_ends::JobEnds;
pub use pause::Pause;
pub use payee_store::PayeeBooks;
pub use payer_store::PayerBooks;

/// The migrations, in order. One that was released is never changed; a change is a new one at the end.
const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("database/migrations/0001_money.sql")),
    M::up(include_str!("database/migrations/0002_gateway.sql")),
    M::up(include_str!("database/migrations/0003_wallet.sql")),
    M::up(include_str!("database/migrations/0004_jobs.sql")),
    M::up(include_str!("database/migrations/0005_pause.sql")),
    M::up(include_str!("database/migrations/0006_interrupted_jobs.sql")),
];

/// How long a call waits for another program that reads or writes the file, e.g. a backup.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The app database. Cheap to clone; all clones are one connection, and calls take turns.
#[derive(Clone)]
pub struct Database {
    connection: Arc<Mutex<Connection>>,
}

/// Why the database did not do what was asked. Nothing of the call was kept.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be read or written: free the disk, check its permissions.
    #[error("the app database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file is of a newer version, or a migration failed: install that version, or restore a backup.
    #[error("the app database cannot be brought up to date: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// A record is not what was written: restore a backup.
    #[error("a record of the app database is damaged: {0}")]
    Damaged(String),
    /// The program is ending.
    #[error("the app database was closed")]
    Closed,
}

impl Database {
    /// Opens the file, creates it if need be, and brings it up to date.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::set_up(Connection::open(path)?)
    }

    fn set_up(mut connection: Connection) -> Result<Self, DatabaseError> {
        connection.busy_timeout(BUSY_WAIT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        Migrations::from_slice(MIGRATIONS).to_latest(&mut connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Does `work` in one transaction, on this thread: all of it is durable when this returns, or nothing is kept.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Reads, on this thread.
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        work(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// [`Database::write`] on a thread that may block.
    pub async fn write_async<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.write(work)).await.map_err(|_| DatabaseError::Closed)?
    }

    /// [`Database::read`] on a thread that may block.
    pub async fn read_async<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.read(work)).await.map_err(|_| DatabaseError::Closed)?
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_valid_and_opening_twice_keeps_what_is_there() {
        Migrations::from_slice(MIGRATIONS).validate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thetis.sqlite");
        let insert = "INSERT INTO payer_days (day, agreed) VALUES (1, '5')";
        Database::open(&path).unwrap().write(|tx| Ok(tx.execute(insert, [])?)).unwrap();
        let count = |c: &Connection| {
            Ok(c.query_row("SELECT count(*) FROM payer_days", [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(Database::open(&path).unwrap().read(count).unwrap(), 1);
    }

    #[test]
    fn a_failed_write_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("db")).unwrap();
        let failed = database.write(|tx| {
            tx.execute("INSERT INTO payer_days (day, agreed) VALUES (1, '5')", [])?;
            Err::<(), _>(DatabaseError::Damaged("on purpose".into()))
        });
        assert!(failed.is_err());
        let count = |c: &Connection| {
            Ok(c.query_row("SELECT count(*) FROM payer_days", [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(database.read(count).unwrap(), 0);
    }

    #[test]
    fn money_is_written_through_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("db")).unwrap();
        let pragma = |name: &'static str| {
            database.read(move |c| {
                Ok(c.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))?)
            })
        };
        assert_eq!(pragma("journal_mode").unwrap(), rusqlite::types::Value::Text("wal".into()));
        assert_eq!(pragma("synchronous").unwrap(), rusqlite::types::Value::Integer(2));
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 1_000).unwrap();
        assert!(matches!(Database::open(&path), Err(DatabaseError::Migration(_))));
    }
}
