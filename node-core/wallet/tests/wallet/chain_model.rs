//! A chain in memory that keeps the rules of sequences, and can be told to fail. The real one is tested where it is wired: this crate
//! must not know it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use theta_types::*;
use theta_wallet::*;
use tokio::sync::watch;

/// What happens to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing special.
    None,
    /// It does not arrive.
    Lost,
    /// It arrives; the answer does not.
    AnswerLost,
    /// The node says no.
    Refused,
    /// It is taken, and forgotten.
    Dropped,
}

#[derive(Default)]
struct State {
    height: u64,
    sequences: BTreeMap<Address, u64>,
    mempool: Vec<(TxHash, Address, u64)>,
    executed: BTreeMap<TxHash, u64>,
    /// Every distinct transaction that was ever submitted, by sequence.
    submitted: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    faults: VecDeque<Fault>,
}

#[derive(Clone)]
pub struct ChainModel {
    state: Arc<Mutex<State>>,
    heights: watch::Sender<Height>,
}

impl ChainModel {
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        let state = State { faults: faults.into_iter().collect(), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), heights: watch::Sender::new(Height(0)) }
    }

    /// Makes a block of what the mempool has, final at once.
    pub fn advance(&self) {
        let mut state = self.state.lock().unwrap();
        state.height += 1;
        let (height, waiting) = (state.height, std::mem::take(&mut state.mempool));
        for (hash, sender, sequence) in waiting {
            let last = state.sequences.entry(sender).or_default();
            if sequence == *last + 1 {
                *last = sequence;
                state.executed.insert(hash, height);
            }
        }
        drop(state);
        self.heights.send_replace(Height(height));
    }

    /// Somebody else uses the key.
    pub fn use_sequence_elsewhere(&self, address: Address) {
        *self.state.lock().unwrap().sequences.entry(address).or_default() += 1;
    }

    pub fn executed(&self) -> usize {
        self.state.lock().unwrap().executed.len()
    }

    /// The distinct transactions that were submitted with a sequence.
    pub fn submitted(&self, sequence: u64) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().submitted.get(&sequence).into_iter().flatten().cloned().collect()
    }

    pub fn was_executed(&self, raw: &[u8]) -> bool {
        self.state.lock().unwrap().executed.contains_key(&Transaction::hash_of_raw(raw))
    }
}

fn sender_of(raw: &[u8]) -> (Address, u64) {
    match Transaction::decode(raw).unwrap() {
        Transaction::Send(tx) => (tx.inputs[0].address, tx.inputs[0].sequence),
        Transaction::ReserveFund(tx) => (tx.source.address, tx.source.sequence),
        Transaction::SplitRule(tx) => (tx.initiator.address, tx.initiator.sequence),
        other => panic!("unexpected {other:?}"),
    }
}

#[async_trait]
impl ChainAccess for ChainModel {
    fn chain_id(&self) -> String {
        "thetislocal".into()
    }

    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, ChainError> {
        let hash = Transaction::hash_of_raw(&raw);
        let (sender, sequence) = sender_of(&raw);
        let mut state = self.state.lock().unwrap();
        state.submitted.entry(sequence).or_default().insert(raw);
        let fault = state.faults.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::Lost => return Err(ChainError::Unreachable("lost".into())),
            Fault::Refused => return Err(ChainError::Refused("told to".into())),
            Fault::Dropped => return Ok(hash),
            Fault::None | Fault::AnswerLost => {}
        }
        let next = state.sequences.get(&sender).copied().unwrap_or(0) + 1;
        let waits = state.mempool.iter().any(|(waiting, ..)| *waiting == hash);
        let answer = if waits {
            Ok(hash)
        } else if sequence != next {
            Err(ChainError::Refused(format!("Got {sequence}, expected {next}")))
        } else {
            state.mempool.push((hash, sender, sequence));
            Ok(hash)
        };
        if fault == Fault::AnswerLost { Err(ChainError::Unreachable("answer lost".into())) } else { answer }
    }

    async fn account(&self, address: Address) -> Result<Option<Account>, ChainError> {
        let sequence = self.state.lock().unwrap().sequences.get(&address).copied();
        Ok(sequence.map(|sequence| Account { sequence, ..Account::new(address, Height(0)) }))
    }

    async fn finalized_height(&self) -> Result<Height, ChainError> {
        Ok(Height(self.state.lock().unwrap().height))
    }

    async fn split_rule(&self, _: &str) -> Result<Option<SplitRule>, ChainError> {
        Ok(None)
    }

    async fn transaction(&self, hash: TxHash) -> Result<TxStatus, ChainError> {
        let state = self.state.lock().unwrap();
        Ok(match state.executed.get(&hash) {
            Some(height) => TxStatus::Finalized { height: Height(*height) },
            None if state.mempool.iter().any(|(waiting, ..)| *waiting == hash) => TxStatus::Pending,
            None => TxStatus::NotFound,
        })
    }

    fn heights(&self) -> watch::Receiver<Height> {
        self.heights.subscribe()
    }
}

/// A journal that outlives the sender. It keeps the rules that the trait states.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    entries: Arc<Mutex<Vec<JournalEntry>>>,
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
        for entry in entries.iter_mut().filter(|entry| entry.hash == hash && entry.outcome.is_none()) {
            entry.outcome = Some(outcome.clone());
        }
        Ok(())
    }

    async fn open(&self, _: Address) -> Result<Vec<JournalEntry>, JournalError> {
        Ok(self.entries().into_iter().filter(|entry| entry.outcome.is_none()).collect())
    }

    async fn of_request(&self, _: Address, request_id: &str) -> Result<Option<JournalEntry>, JournalError> {
        Ok(self.entries().into_iter().find(|entry| entry.request_id == request_id))
    }
}
