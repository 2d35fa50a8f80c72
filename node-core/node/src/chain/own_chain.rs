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
            // One that the mempool dropped is remembered too, and not taken again as long as it is.
            Err(SubmitError::NotTaken(error @ MempoolError::AlreadySeen)) => {
                match self.chain.transaction(hash).await.map_err(unreachable)? {
                    TransactionStatus::Pending(_) | TransactionStatus::Finalized(_) => Ok(hash),
                    TransactionStatus::Abandoned | TransactionStatus::NotFound => Err(
                        ChainError::Unreachable(format!("{error}, and was dropped: it may be taken later")),
                    ),
                }
            }
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

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use theta_consensus::{Chain, ChainConfig, GenesisSource, Outgoing, Timing, local_network};
    use theta_ledger::MempoolLimits;
    use theta_types::{Coins, SecretKey, SendTx, TxInput, TxOutput, Wei};

    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn start(folder: &Path, validator: Option<SecretKey>) -> ChainHandle {
        let (mut network, genesis) = local_network(key(1).address(), key(2).address()).unwrap();
        let interval = Duration::from_millis(40);
        network.timing = Timing { min_block_interval: interval, max_epoch_length: interval * 2 };
        let genesis = GenesisSource::Made(Box::new(genesis));
        let (data_dir, mempool) = (folder.to_path_buf(), MempoolLimits::default());
        Chain::start(ChainConfig { data_dir, network, genesis, validator, mempool }).unwrap()
    }

    /// The faucet's first payment, of so many TFuel.
    fn payment(tfuel: u64) -> Vec<u8> {
        let fee = Coins::tfuel(Wei::from(300_000_000_000_000_000u64));
        let amount = Coins::tfuel(Wei::from_coins(tfuel));
        let mut tx = SendTx {
            fee: fee.clone(),
            inputs: vec![TxInput::unsigned(key(2).address(), amount.clone() + fee, 1)],
            outputs: vec![TxOutput { address: key(7).address(), coins: amount }],
        };
        tx.sign("thetislocal", &key(2));
        Transaction::from(tx).encode()
    }

    #[tokio::test]
    async fn a_transaction_that_the_chain_gave_up_is_not_reported_as_taken() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (validating, following) = (start(one.path(), Some(key(1))), start(two.path(), None));
        let access = OwnChain::new(following.clone());
        let given_up = payment(3);
        let hash = access.submit(given_up.clone()).await.unwrap();
        assert_eq!(access.submit(given_up.clone()).await, Ok(hash), "what waits may be submitted again");

        // The others' blocks bring another payment in its place.
        let mut outgoing = validating.outgoing();
        validating.submit_transaction(payment(4)).await.unwrap();
        let (from, to) = (validating.clone(), following.clone());
        let carrier = tokio::spawn(async move {
            let mut height = Height(1);
            while let Some((block, _)) = from.blocks_at(height).unwrap().first().copied() {
                to.deliver_block(from.block(block).unwrap().unwrap().block).await.unwrap();
                height = height.next();
            }
            while let Ok(message) = outgoing.recv().await {
                let delivered = match message {
                    Outgoing::Vote(vote) => to.deliver_vote(vote).await,
                    Outgoing::Proposal(proposal) => to.deliver_block(proposal.block).await,
                };
                if delivered.is_err() {
                    return;
                }
            }
        });
        let dropped = async {
            while access.transaction(hash).await != Ok(TxStatus::Abandoned) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), dropped).await.unwrap();
        assert!(matches!(access.submit(given_up).await, Err(ChainError::Unreachable(_))));

        following.shutdown().await;
        validating.shutdown().await;
        carrier.abort();
    }
}
