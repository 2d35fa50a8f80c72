//! What the methods ask of a chain. The node's own chain answers, by its handle.

use async_trait::async_trait;
use theta_consensus::{ChainError, ChainHandle, ChainStatus, StoredBlock, SubmitError, TransactionStatus};
use theta_types::{Account, Address, BlockHash, Height, ResourceId, SplitRule, TxHash};
use tokio::sync::watch;

/// A chain that answers questions and takes transactions.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// Where the chain stands.
    fn status(&self) -> ChainStatus;

    /// An account in the last final state, with reserves that have ended back in its balance.
    async fn account(&self, address: &Address) -> Result<Option<Account>, ChainError>;

    /// The account as it will be once everything that waits is in a block.
    async fn account_preview(&self, address: &Address) -> Result<Option<Account>, ChainError>;

    /// The account as it was stored at a height. The outer `None` says that no final block has this height.
    async fn account_at(
        &self,
        address: &Address,
        height: Height,
    ) -> Result<Option<Option<Account>>, ChainError>;

    /// The split rule of a resource after the newest block.
    async fn split_rule(&self, resource_id: &ResourceId) -> Result<Option<SplitRule>, ChainError>;

    /// A stored block, final or not.
    async fn block(&self, hash: BlockHash) -> Result<Option<StoredBlock>, ChainError>;

    /// The final block of a height.
    async fn final_block(&self, height: Height) -> Result<Option<StoredBlock>, ChainError>;

    /// A stored block of a height, final or not; the last one of several.
    async fn any_block(&self, height: Height) -> Result<Option<StoredBlock>, ChainError>;

    /// What became of a transaction.
    async fn transaction(&self, hash: TxHash) -> Result<TransactionStatus, ChainError>;

    /// Hands a raw transaction in; it is in the mempool then.
    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, SubmitError>;

    /// Height of the last final block, as it grows.
    fn final_heights(&self) -> watch::Receiver<Height>;
}

#[async_trait]
impl Chain for ChainHandle {
    fn status(&self) -> ChainStatus {
        self.status()
    }

    async fn account(&self, address: &Address) -> Result<Option<Account>, ChainError> {
        self.account(address)
    }

    async fn account_preview(&self, address: &Address) -> Result<Option<Account>, ChainError> {
        self.account_preview(address).await
    }

    async fn account_at(
        &self,
        address: &Address,
        height: Height,
    ) -> Result<Option<Option<Account>>, ChainError> {
        self.account_at(address, height)
    }

    async fn split_rule(&self, resource_id: &ResourceId) -> Result<Option<SplitRule>, ChainError> {
        self.newest_split_rule(resource_id)
    }

    async fn block(&self, hash: BlockHash) -> Result<Option<StoredBlock>, ChainError> {
        self.block(hash)
    }

    async fn final_block(&self, height: Height) -> Result<Option<StoredBlock>, ChainError> {
        self.block_at(height)
    }

    async fn any_block(&self, height: Height) -> Result<Option<StoredBlock>, ChainError> {
        match self.blocks_at(height)?.last() {
            Some((hash, _)) => self.block(*hash),
            None => Ok(None),
        }
    }

    async fn transaction(&self, hash: TxHash) -> Result<TransactionStatus, ChainError> {
        self.transaction(hash).await
    }

    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, SubmitError> {
        self.submit_transaction(raw).await
    }

    fn final_heights(&self) -> watch::Receiver<Height> {
        self.final_heights()
    }
}
