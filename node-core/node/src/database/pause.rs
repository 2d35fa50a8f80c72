//! The owner's pause, which outlives a restart.

use rusqlite::params;

use super::{
    Database, DatabaseError,
    values::{Count, first, run},
};

/// The owner wants the machine for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Until a Unix time in seconds; absent means until resumed.
    pub until: Option<u64>,
}

impl Database {
    /// The pause that was kept last, also when its time is over.
    pub async fn pause(&self) -> Result<Option<Pause>, DatabaseError> {
        self.read_async(|c| {
            first(c, "SELECT until FROM pause", [], |row| {
                Ok(Pause { until: row.get::<_, Option<Count>>(0)?.map(|until| until.0) })
            })
        })
        .await
    }

    /// Keeps a pause, or that there is none.
    pub async fn keep_pause(&self, pause: Option<Pause>) -> Result<(), DatabaseError> {
        self.write_async(move |tx| {
            match pause {
                Some(Pause { until }) => run(
                    tx,
                    "INSERT INTO pause (only_one, until) VALUES (1, ?1)
                     ON CONFLICT (only_one) DO UPDATE SET until = excluded.until",
                    params![until.map(Count)],
                )?,
                None => run(tx, "DELETE FROM pause", [])?,
            };
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_is_kept_until_it_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Database::open(&folder.path().join("db")).unwrap();
        assert_eq!(open().pause().await.unwrap(), None);
        for pause in [Pause { until: Some(1_000) }, Pause { until: None }] {
            open().keep_pause(Some(pause)).await.unwrap();
            assert_eq!(open().pause().await.unwrap(), Some(pause));
        }
        open().keep_pause(None).await.unwrap();
        assert_eq!(open().pause().await.unwrap(), None);
    }
}
