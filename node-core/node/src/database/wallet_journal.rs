//! The journal of the wallet's own transactions.

use async_trait::async_trait;
use rusqlite::{ErrorCode, Row, params, types::Type};
use theta_types::{Address, Height, TxHash};
use theta_wallet::{JournalEntry, JournalError, TxJournal, TxOutcome};

use super::{
    Database, DatabaseError,
    values::{Count, Party, Text, collect, first, run},
};

const ENTRY: &str =
    "SELECT request_id, sender, sequence, hash, raw, outcome, height, reason FROM wallet_transactions";

#[async_trait]
impl TxJournal for Database {
    async fn record(&self, entry: JournalEntry) -> Result<(), JournalError> {
        self.write_async(move |tx| {
            run(
                tx,
                "INSERT INTO wallet_transactions (request_id, sender, sequence, hash, raw) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![entry.request_id, Party(entry.sender), Count(entry.sequence), Text(entry.hash), entry.raw],
            )
        })
        .await
        .map(drop)
        .map_err(journal_error)
    }

    async fn conclude(&self, hash: TxHash, outcome: TxOutcome) -> Result<(), JournalError> {
        let (name, height, reason) = match outcome {
            TxOutcome::Final { height } => ("final", Some(Count(height.0)), None),
            TxOutcome::Refused { reason } => ("refused", None, Some(reason)),
            TxOutcome::Superseded => ("superseded", None, None),
        };
        self.write_async(move |tx| {
            // An entry of an earlier, refused request may have the same hash: it keeps its outcome.
            let sql = "UPDATE wallet_transactions SET outcome = ?2, height = ?3, reason = ?4
                       WHERE hash = ?1 AND outcome IS NULL";
            run(tx, sql, params![Text(hash), name, height, reason])
        })
        .await
        .map(drop)
        .map_err(journal_error)
    }

    async fn open(&self, sender: Address) -> Result<Vec<JournalEntry>, JournalError> {
        let sql = format!("{ENTRY} WHERE sender = ?1 AND outcome IS NULL ORDER BY sequence");
        self.read_async(move |c| collect(c, &sql, [Party(sender)], read)).await.map_err(journal_error)
    }

    async fn of_request(
        &self,
        sender: Address,
        request_id: &str,
    ) -> Result<Option<JournalEntry>, JournalError> {
        let sql = format!("{ENTRY} WHERE sender = ?1 AND request_id = ?2");
        let request_id = request_id.to_owned();
        self.read_async(move |c| first(c, &sql, params![Party(sender), request_id], read))
            .await
            .map_err(journal_error)
    }
}

impl Database {
    /// The wallet's last transactions, newest first.
    pub async fn wallet_transactions(
        &self,
        sender: Address,
        most: u32,
    ) -> Result<Vec<JournalEntry>, DatabaseError> {
        let sql = format!("{ENTRY} WHERE sender = ?1 ORDER BY number DESC LIMIT ?2");
        self.read_async(move |c| collect(c, &sql, params![Party(sender), most], read)).await
    }
}

fn journal_error(error: DatabaseError) -> JournalError {
    match &error {
        DatabaseError::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
            if failure.code == ErrorCode::ConstraintViolation =>
        {
            JournalError::Taken
        }
        _ => JournalError::Storage(error.to_string()),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<JournalEntry> {
    let (Party(sender), Count(sequence), Text(hash)) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let outcome = match row.get::<_, Option<String>>(5)?.as_deref() {
        None => None,
        Some("final") => {
            let Count(height) = row.get(6)?;
            Some(TxOutcome::Final { height: Height(height) })
        }
        Some("refused") => Some(TxOutcome::Refused { reason: row.get(7)? }),
        Some("superseded") => Some(TxOutcome::Superseded),
        Some(other) => {
            let problem = format!("{other:?} is no outcome").into();
            return Err(rusqlite::Error::FromSqlConversionFailure(5, Type::Text, problem));
        }
    };
    Ok(JournalEntry { request_id: row.get(0)?, sender, sequence, hash, raw: row.get(4)?, outcome })
}

#[cfg(test)]
mod tests {
    use theta_types::SecretKey;

    use super::*;

    fn entry(request: &str, sequence: u64, hash: u8) -> JournalEntry {
        JournalEntry {
            request_id: request.into(),
            sender: SecretKey::from_bytes(&[1; 32]).unwrap().address(),
            sequence,
            hash: TxHash([hash; 32].into()),
            raw: vec![hash],
            outcome: None,
        }
    }

    #[tokio::test]
    async fn a_sequence_is_taken_until_its_transaction_was_refused() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Database::open(&folder.path().join("db")).unwrap();
        let first = entry("a", 1, 1);
        journal.record(first.clone()).await.unwrap();
        assert_eq!(journal.record(entry("b", 1, 2)).await, Err(JournalError::Taken));
        assert_eq!(journal.record(entry("a", 2, 3)).await, Err(JournalError::Taken));
        let refused = TxOutcome::Refused { reason: "no coins".into() };
        journal.conclude(first.hash, refused.clone()).await.unwrap();
        journal.record(entry("b", 1, 2)).await.unwrap();
        journal.conclude(entry("b", 1, 2).hash, TxOutcome::Final { height: Height(9) }).await.unwrap();
        assert_eq!(journal.record(entry("c", 1, 4)).await, Err(JournalError::Taken));
        assert_eq!(
            journal.record(entry("a", 5, 5)).await,
            Err(JournalError::Taken),
            "a request is sent once"
        );

        let kept = journal.of_request(first.sender, "a").await.unwrap().unwrap();
        assert_eq!(kept.outcome, Some(refused));
        assert_eq!(journal.open(first.sender).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_refused_request_that_is_repeated_under_another_name_keeps_both_outcomes() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Database::open(&folder.path().join("db")).unwrap();
        let (first, second) = (entry("a", 1, 1), entry("b", 1, 1));
        let refused = TxOutcome::Refused { reason: "no coins".into() };
        journal.record(first.clone()).await.unwrap();
        journal.conclude(first.hash, refused.clone()).await.unwrap();
        journal.record(second.clone()).await.unwrap();
        let done = TxOutcome::Final { height: Height(9) };
        journal.conclude(second.hash, done.clone()).await.unwrap();
        let outcome =
            async |request| journal.of_request(first.sender, request).await.unwrap().unwrap().outcome;
        assert_eq!((outcome("a").await, outcome("b").await), (Some(refused), Some(done)));
    }

    #[tokio::test]
    async fn open_transactions_are_found_after_a_restart_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let journal = Database::open(&path).unwrap();
        journal.record(entry("b", 2, 2)).await.unwrap();
        journal.record(entry("a", 1, 1)).await.unwrap();
        drop(journal);
        let open = Database::open(&path).unwrap().open(entry("a", 1, 1).sender).await.unwrap();
        assert_eq!(open, [entry("a", 1, 1), entry("b", 2, 2)]);
    }
}
