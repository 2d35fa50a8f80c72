//! The chain in this process, as wallet and market see a chain.

use async_trait::async_trait;
use theta_consensus::{ChainHandle, SubmitError, TransactionStatus};
use theta_ledger::MempoolError;
use theta_types::{Account, Address, Height, ResourceId, SplitRule, Transaction, TxHash};
use theta_wallet::{ChainAccess, ChainError, TxStatus};
use tokio::sync::watch;

/// A [`ChainHandle`] as [`ChainAccess`].
#[derive(Debug)]
pub struct OwnChain {
    chain: ChainHandle,
    heights: watch::Receiver<Height>,
}

impl OwnChain {
    /// Over a running chain.
    pub fn new(chain: ChainHandle) -> Self {
        Self { heights: chain.final_heights(), chain }
    }
}

fn unreachable(error: theta_consensus::ChainError) -> ChainError {
    ChainError::Unreachable(error.to_string())
}

#[async_trait]
impl ChainAccess for OwnChain {
    fn chain_id(&self) -> String {
        self.chain.status().chain_id
    }

    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, ChainError> {
        let hash = Transaction::hash_of_raw(&raw);
        match self.chain.submit_transaction(raw).await {
            Ok(hash) => Ok(hash),
            Err(SubmitError::NotTaken(MempoolError::AlreadySeen)) => Ok(hash),
            // These pass by themselves: the same bytes may be taken after the next block.
            Err(SubmitError::NotTaken(
                error @ (MempoolError::Full | MempoolError::TooManyOfSender(_) | MempoolError::Ledger(_)),
            )) => Err(ChainError::Unreachable(error.to_string())),
            Err(SubmitError::NotTaken(error)) => Err(ChainError::Refused(error.to_string())),
            Err(SubmitError::Chain(error)) => Err(unreachable(error)),
        }
    }

    async fn account(&self, address: Address) -> Result<Option<Account>, ChainError> {
        self.chain.account(&address).map_err(unreachable)
    }

    async fn finalized_height(&self) -> Result<Height, ChainError> {
        Ok(self.chain.status().final_height)
    }

    async fn split_rule(&self, resource_id: &str) -> Result<Option<SplitRule>, ChainError> {
        self.chain.split_rule(&ResourceId::from(resource_id)).map_err(unreachable)
    }

    async fn transaction(&self, hash: TxHash) -> Result<TxStatus, ChainError> {
        Ok(match self.chain.transaction(hash).await.map_err(unreachable)? {
            TransactionStatus::NotFound => TxStatus::NotFound,
            TransactionStatus::Pending(_) => TxStatus::Pending,
            TransactionStatus::Finalized(place) => TxStatus::Finalized { height: place.height },
            TransactionStatus::Abandoned => TxStatus::Abandoned,
        })
    }

    fn heights(&self) -> watch::Receiver<Height> {
        self.heights.clone()
    }
}
