//! Everybody's way to the chain.

use std::sync::Arc;

use theta_ledger::{StateView, TxMemory};
use theta_state::Trie;
use theta_types::{
    Account, Address, Block, BlockHash, Decode, Height, ResourceId, SplitRule, TxHash,
    ValidatorCandidatePool, Vote,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::chain::Command;
use crate::chain_status::ChainStatus;
use crate::engine::{Engine, Outgoing};
use crate::error::{ChainError, SubmitError};
use crate::events::ChainEvent;
use crate::status::BlockStatus;
use crate::store::{ChainStore, TxPlace};

/// A handle on the running chain; clones are handles on the same one.
///
/// Plain functions read what is durable, from memory or with a few reads of the disk; the others ask the chain's task.
#[derive(Debug, Clone)]
pub struct ChainHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) store: ChainStore,
    pub(crate) published: watch::Receiver<Arc<Published>>,
    pub(crate) heights: watch::Receiver<Height>,
    pub(crate) events: broadcast::Sender<ChainEvent>,
    pub(crate) outgoing: broadcast::Sender<Outgoing>,
    pub(crate) stopped: watch::Receiver<Option<Arc<str>>>,
}

/// What the chain's task makes known after each step.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) status: ChainStatus,
    final_state: Trie,
    tip_state: Trie,
}

impl Published {
    pub(crate) fn of(engine: &Engine, unix_seconds: u64, was_syncing: bool) -> Result<Self, ChainError> {
        Ok(Self {
            status: ChainStatus::of(engine, unix_seconds, was_syncing)?,
            final_state: engine.last_final()?.state.clone(),
            tip_state: engine.tip(false)?.state.clone(),
        })
    }
}

/// A stored block with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// Its hash.
    pub hash: BlockHash,
    /// Itself.
    pub block: Block,
    /// How far it has come.
    pub status: BlockStatus,
    /// Blocks known to build on it.
    pub children: Vec<BlockHash>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Nothing is known of it.
    NotFound,
    /// It waits for a block, or its block waits to become final.
    Pending(Option<TxPlace>),
    /// It is in a final block.
    Finalized(TxPlace),
    /// It waited for a block and was dropped within the last minute: by then it could not be executed any more.
    Abandoned,
}

impl ChainHandle {
    /// Where the chain stands.
    pub fn status(&self) -> ChainStatus {
        self.published.borrow().status.clone()
    }

    /// Gives a signed transaction to the mempool.
    ///
    /// # Errors
    /// It is refused, the mempool is full, or the chain has stopped.
    pub async fn submit_transaction(&self, raw: Vec<u8>) -> Result<TxHash, SubmitError> {
        Ok(self.ask(|answer| Command::Submit { raw, answer }).await??)
    }

    /// The account in the last final state, with reserves that have ended back in its balance.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn account(&self, address: &Address) -> Result<Option<Account>, ChainError> {
        let published = self.published();
        Ok(StateView::new(&published.final_state, published.status.final_height).account(address)?)
    }

    /// The account as it was stored at a height: `Ok(None)` when there was none, `Err` of [`ChainError::Trie`] when that state is not
    /// available any more. The outer `None` says that no final block has this height.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn account_at(
        &self,
        address: &Address,
        height: Height,
    ) -> Result<Option<Option<Account>>, ChainError> {
        let Some(state) = self.state_at(height)? else {
            return Ok(None);
        };
        Ok(Some(StateView::new(&state, height).stored_account(address)?))
    }

    /// The account as it will be once everything that waits is in a block.
    ///
    /// # Errors
    /// The state cannot be read, or the chain has stopped.
    pub async fn account_preview(&self, address: &Address) -> Result<Option<Account>, ChainError> {
        let address = *address;
        self.ask(|answer| Command::Preview { address, answer }).await?
    }

    /// The split rule of a resource in the last final state, ended or not.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn split_rule(&self, resource: &ResourceId) -> Result<Option<SplitRule>, ChainError> {
        let published = self.published();
        Ok(StateView::new(&published.final_state, published.status.final_height).split_rule(resource)?)
    }

    /// The split rule of a resource in the state of the newest block, which need not be final.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn newest_split_rule(&self, resource: &ResourceId) -> Result<Option<SplitRule>, ChainError> {
        let published = self.published();
        Ok(StateView::new(&published.tip_state, published.status.tip_height).split_rule(resource)?)
    }

    /// The validator candidates in the last final state.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn validator_candidates(&self) -> Result<ValidatorCandidatePool, ChainError> {
        let value = self.published().final_state.get(theta_ledger::keys::VALIDATOR_CANDIDATES)?;
        value.map_or_else(
            || Ok(ValidatorCandidatePool::default()),
            |value| {
                ValidatorCandidatePool::from_rlp(&value)
                    .map_err(|error| ChainError::damaged(format!("validator candidates: {error}")))
            },
        )
    }

    /// The last final state, with its height. It stays as it is while the chain goes on.
    pub fn final_state(&self) -> (Height, Trie) {
        let published = self.published();
        (published.status.final_height, published.final_state.clone())
    }

    /// The state after the final block of a height.
    ///
    /// # Errors
    /// That state is not available any more.
    pub fn state_at(&self, height: Height) -> Result<Option<Trie>, ChainError> {
        let Some(hash) = self.store.final_at(height)? else {
            return Ok(None);
        };
        let block =
            self.store.block(hash)?.ok_or_else(|| ChainError::damaged(format!("block {hash} is missing")))?;
        Ok(Some(self.store.state(block.header.state_hash)?))
    }

    /// A block, final or not.
    ///
    /// # Errors
    /// The database failed or is damaged.
    pub fn block(&self, hash: BlockHash) -> Result<Option<StoredBlock>, ChainError> {
        let Some(block) = self.store.block(hash)? else {
            return Ok(None);
        };
        let height = block.header.height;
        let Some(mark) = self.store.mark(height, hash)? else {
            return Err(ChainError::damaged(format!("block {hash} is not in the index of heights")));
        };
        let mut children = Vec::new();
        for (child, _) in self.store.blocks_at(height.next())? {
            if self.store.block(child)?.is_some_and(|child| child.header.parent == hash) {
                children.push(child);
            }
        }
        Ok(Some(StoredBlock { hash, block, status: mark.status, children }))
    }

    /// The final block of a height.
    ///
    /// # Errors
    /// As [`ChainHandle::block`].
    pub fn block_at(&self, height: Height) -> Result<Option<StoredBlock>, ChainError> {
        match self.store.final_at(height)? {
            Some(hash) => self.block(hash),
            None => Ok(None),
        }
    }

    /// All stored blocks of a height, final or not.
    ///
    /// # Errors
    /// The database failed or is damaged.
    pub fn blocks_at(&self, height: Height) -> Result<Vec<(BlockHash, BlockStatus)>, ChainError> {
        let blocks = self.store.blocks_at(height)?;
        Ok(blocks.into_iter().map(|(hash, mark)| (hash, mark.status)).collect())
    }

    /// What became of a transaction.
    ///
    /// # Errors
    /// The database failed, or the chain has stopped.
    pub async fn transaction(&self, hash: TxHash) -> Result<TransactionStatus, ChainError> {
        if let Some(place) = self.store.place(&hash)? {
            let mark = self.store.mark(place.height, place.block)?;
            return Ok(if mark.is_some_and(|mark| mark.status.is_final()) {
                TransactionStatus::Finalized(place)
            } else {
                TransactionStatus::Pending(Some(place))
            });
        }
        Ok(match self.ask(|answer| Command::MemoryOf { transaction: hash, answer }).await? {
            Some(TxMemory::Pending) => TransactionStatus::Pending(None),
            Some(TxMemory::Abandoned) => TransactionStatus::Abandoned,
            None => TransactionStatus::NotFound,
        })
    }

    /// Names of the transactions that wait for a block.
    ///
    /// # Errors
    /// The chain has stopped.
    pub async fn waiting_transactions(&self) -> Result<Vec<TxHash>, ChainError> {
        self.ask(|answer| Command::Waiting { answer }).await
    }

    /// What happens from now on. A listener that lags more than a thousand events behind loses the oldest, and is told so.
    pub fn events(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }

    /// The height of the last final block, whenever it grows.
    pub fn final_heights(&self) -> watch::Receiver<Height> {
        self.heights.clone()
    }

    /// Votes and proposals that the others should get.
    pub fn outgoing(&self) -> broadcast::Receiver<Outgoing> {
        self.outgoing.subscribe()
    }

    /// Hands over a block that came from somewhere. It is checked like any other.
    ///
    /// # Errors
    /// The chain has stopped.
    pub async fn deliver_block(&self, block: Block) -> Result<(), ChainError> {
        self.send(Command::Block(Box::new(block))).await
    }

    /// Hands over a vote that came from somewhere.
    ///
    /// # Errors
    /// The chain has stopped.
    pub async fn deliver_vote(&self, vote: Vote) -> Result<(), ChainError> {
        self.send(Command::Vote(vote)).await
    }

    /// Ends the chain's task. Returns when the database is closed; at once when the chain has stopped before.
    pub async fn shutdown(&self) {
        // An error says that there is nothing to end.
        let _ = self.ask(|answer| Command::Shutdown { answer }).await;
    }

    /// Why the chain has stopped; `None` while it runs.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.stopped.borrow().clone()
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ChainError> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        answered.await.map_err(|_| self.gone())
    }

    async fn send(&self, command: Command) -> Result<(), ChainError> {
        self.commands.send(command).await.map_err(|_| self.gone())
    }

    fn gone(&self) -> ChainError {
        ChainError::Stopped(self.stopped().unwrap_or_else(|| Arc::from("its task has ended")))
    }
}
