//! The market on a real local chain: blocks, finality and mempool of theta-consensus.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edge_jobs::{ChatMessage, ChatOrder, Role, Sampling};
use edge_market::requester::{ChatEvent, OpenPurse};
use support::{
    fee, milli,
    network::{CHAT_MODEL, Disk, Node, NodeSettings, Wires},
    wallet,
    worker::TestWorker,
};
use theta_consensus::{
    Chain, ChainConfig, ChainHandle, GenesisSource, SubmitError, Timing, TransactionStatus, local_network,
};
use theta_ledger::{MempoolError, MempoolLimits};
use theta_types::{
    Account, Address, ChainRules, Coins, Height, ResourceId, SecretKey, SendTx, SplitRule, Transaction,
    TxHash, TxInput, TxOutput, Wei,
};
use theta_wallet::{ChainAccess, ChainError, TxStatus};
use tokio::sync::watch;

/// A running chain as the market sees it.
struct Access(ChainHandle);

fn unreachable(error: theta_consensus::ChainError) -> ChainError {
    ChainError::Unreachable(error.to_string())
}

#[async_trait]
impl ChainAccess for Access {
    fn chain_id(&self) -> String {
        self.0.status().chain_id
    }

    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, ChainError> {
        let hash = Transaction::hash_of_raw(&raw);
        match self.0.submit_transaction(raw).await {
            Ok(hash) => Ok(hash),
            Err(SubmitError::NotTaken(MempoolError::AlreadySeen)) => Ok(hash),
            Err(SubmitError::NotTaken(error)) => Err(ChainError::Refused(error.to_string())),
            Err(SubmitError::Chain(error)) => Err(unreachable(error)),
        }
    }

    async fn account(&self, address: Address) -> Result<Option<Account>, ChainError> {
        self.0.account(&address).map_err(unreachable)
    }

    async fn finalized_height(&self) -> Result<Height, ChainError> {
        Ok(self.0.status().final_height)
    }

    async fn split_rule(&self, resource: &str) -> Result<Option<SplitRule>, ChainError> {
        self.0.split_rule(&ResourceId::from(resource)).map_err(unreachable)
    }

    async fn transaction(&self, hash: TxHash) -> Result<TxStatus, ChainError> {
        Ok(match self.0.transaction(hash).await.map_err(unreachable)? {
            TransactionStatus::NotFound => TxStatus::NotFound,
            TransactionStatus::Pending(_) => TxStatus::Pending,
            TransactionStatus::Finalized(place) => TxStatus::Finalized { height: place.height },
            TransactionStatus::Abandoned => TxStatus::Abandoned,
        })
    }

    fn heights(&self) -> watch::Receiver<Height> {
        self.0.final_heights()
    }
}

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

async fn wait_for(chain: &ChainHandle, height: u64) {
    let mut heights = chain.final_heights();
    let reached = heights.wait_for(|last| *last >= Height(height));
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the chain goes on").unwrap();
}

/// 1,000 TFuel for each, in one send.
async fn fund(chain: &ChainHandle, faucet: &SecretKey, to: &[Address]) {
    let fee = Coins::tfuel(fee() * (to.len() as u64 + 1)).percent(50);
    let amount = Coins::tfuel(Wei::from_coins(1_000));
    let sum: Coins = to.iter().map(|_| amount.clone()).sum();
    let mut tx = SendTx {
        fee: fee.clone(),
        inputs: vec![TxInput::unsigned(faucet.address(), sum + fee, 1)],
        outputs: to.iter().map(|address| TxOutput { address: *address, coins: amount.clone() }).collect(),
    };
    tx.sign(&chain.status().chain_id, faucet);
    chain.submit_transaction(Transaction::from(tx).encode()).await.unwrap();
    let height = chain.status().final_height.0;
    wait_for(chain, height + 4).await;
    for address in to {
        assert_eq!(chain.account(address).unwrap().unwrap().balance, amount);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_ordered_paid_settled_and_adds_up_on_a_real_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (validator, faucet) = (key(201), key(202));
    let (mut network, genesis) = local_network(validator.address(), faucet.address()).unwrap();
    network.timing = Timing {
        min_block_interval: Duration::from_millis(60),
        max_epoch_length: Duration::from_millis(120),
    };
    let chain = Chain::start(ChainConfig {
        data_dir: folder.path().to_owned(),
        network,
        genesis: GenesisSource::Made(Box::new(genesis)),
        validator: Some(validator),
        mempool: MempoolLimits::default(),
    })
    .unwrap();
    wait_for(&chain, 3).await;
    let (payer, provider) = (wallet(1), wallet(2));
    fund(&chain, &faucet, &[payer.address(), provider.address()]).await;

    let access: Arc<dyn ChainAccess> = Arc::new(Access(chain.clone()));
    let wires = Wires::default();
    let mut settings = NodeSettings::default();
    settings.payee.settle_at_fees = 3;
    let start = |wallet, settings| {
        Node::start_on(
            access.clone(),
            ChainRules::local(),
            &wires,
            wallet,
            TestWorker::honest(),
            settings,
            Disk::default(),
        )
    };
    let requester = start(payer, settings.clone());
    let provider = start(provider, settings.clone());
    provider.announce_to(&access.chain_id(), &[&requester]).await;

    let order = ChatOrder {
        model: CHAT_MODEL.into(),
        messages: vec![ChatMessage { role: Role::User, content: "Count.".into() }],
        max_tokens: Some(480),
        sampling: Sampling::default(),
        stop: vec![],
        continues: false,
    };
    let mut run = requester.requester.chat(order, Arc::new(OpenPurse));
    let mut paid = None;
    while let Some(event) = run.next().await {
        if let ChatEvent::Finished { paid: sum, .. } = event.unwrap() {
            paid = Some(sum);
        }
    }
    // 480 tokens are 30 units of 0.05.
    assert_eq!(paid, Some(milli(1_500)));
    assert_eq!(provider.payee.settle_all(Duration::from_secs(20)).await.unwrap(), Wei::zero());
    let earnings = provider.payee.earnings().await.unwrap();
    assert_eq!(&earnings.settled + &earnings.signed, milli(1_500));
    assert!(earnings.signed <= fee());

    let account = chain.account(&requester.address()).unwrap().unwrap();
    let reserve = &account.reserved_funds[0];
    assert_eq!(reserve.used_fund.tfuel, earnings.settled);
    let settlements = reserve.transfer_records.len() as u64;
    // Each node paid for its own rule; the provider for each settlement, the payer for its reserve.
    let own = chain.account(&provider.address()).unwrap().unwrap().balance.tfuel;
    assert_eq!(own + fee() * (settlements + 1), Wei::from_coins(1_000) + earnings.settled.clone());
    let locked = reserve.returned_on_release().tfuel;
    assert_eq!(
        account.balance.tfuel + locked + fee() * 2 + earnings.settled,
        Wei::from_coins(1_000),
        "wei for wei"
    );
    chain.shutdown().await;
}
