//! The wallet's journal of transactions, in memory.

use std::sync::Mutex;

use async_trait::async_trait;
use theta_types::{Address, TxHash};
use theta_wallet::{JournalEntry, JournalError, TxJournal, TxOutcome};

#[derive(Debug, Default)]
pub struct MemoryJournal {
    entries: Mutex<Vec<JournalEntry>>,
}

impl MemoryJournal {
    pub fn entries(&self) -> Vec<JournalEntry> {
        self.entries.lock().unwrap().clone()
    }
}

#[async_trait]
impl TxJournal for MemoryJournal {
    async fn record(&self, entry: JournalEntry) -> Result<(), JournalError> {
        let mut entries = self.entries.lock().unwrap();
        let taken = entries.iter().any(|other| {
            let refused = matches!(other.outcome, Some(TxOutcome::Refused { .. }));
            other.request_id == entry.request_id || (other.sequence == entry.sequence && !refused)
        });
        if taken {
            return Err(JournalError::Taken);
        }
        entries.push(entry);
        Ok(())
    }

    async fn conclude(&self, hash: TxHash, outcome: TxOutcome) -> Result<(), JournalError> {
        let mut entries = self.entries.lock().unwrap();
        let open = |entry: &&mut JournalEntry| entry.hash == hash && entry.outcome.is_none();
        for entry in entries.iter_mut().filter(open) {
            entry.outcome = Some(outcome.clone());
        }
        Ok(())
    }

    async fn open(&self, _: Address) -> Result<Vec<JournalEntry>, JournalError> {
        let entries = self.entries.lock().unwrap();
        Ok(entries.iter().filter(|entry| entry.outcome.is_none()).cloned().collect())
    }

    async fn of_request(&self, _: Address, id: &str) -> Result<Option<JournalEntry>, JournalError> {
        let entries = self.entries.lock().unwrap();
        Ok(entries.iter().find(|entry| entry.request_id == id).cloned())
    }
}
