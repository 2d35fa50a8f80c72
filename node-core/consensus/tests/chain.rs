//! The chain as others see it: through its handle, in real time, on disk.
#![allow(clippy::unwrap_used, clippy::panic)]

mod local_chain;

use std::time::Duration;

use local_chain::{config, faucet, payment, somebody, start, validator, wait_for};
use theta_consensus::{
    BlockStatus, Chain, ChainError, ChainEvent, GenesisSource, SubmitError, TransactionStatus, local_network,
    verify,
};
use theta_ledger::{MempoolError, Refusal};
use theta_types::{ChainRules, Height, ResourceId, Transaction, TxHash, Wei};

async fn finalized(chain: &theta_consensus::ChainHandle, hash: TxHash) -> theta_consensus::TxPlace {
    for _ in 0..600 {
        if let TransactionStatus::Finalized(place) = chain.transaction(hash).await.unwrap() {
            return place;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("transaction {hash} did not become final");
}

#[tokio::test]
async fn a_payment_becomes_final_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let chain = start(folder.path(), 50);
    let (to, raw) = (somebody(7), payment(1, &somebody(7), 12));
    let hash = chain.submit_transaction(raw.clone()).await.unwrap();
    assert_eq!(hash, Transaction::hash_of_raw(&raw));
    let preview = chain.account_preview(&to.address()).await.unwrap();
    assert_eq!(preview.unwrap().balance.tfuel, Wei::from_coins(12));
    let place = finalized(&chain, hash).await;

    let account = chain.account(&to.address()).unwrap().unwrap();
    assert_eq!(account.balance.tfuel, Wei::from_coins(12));
    assert_eq!(chain.account(&faucet().address()).unwrap().unwrap().sequence, 1);
    assert_eq!(chain.account(&somebody(8).address()).unwrap(), None);
    assert_eq!(chain.split_rule(&ResourceId::from("nothing")).unwrap(), None);

    let block = chain.block(place.block).unwrap().unwrap();
    assert_eq!(block.block.transactions[place.index as usize], raw);
    assert!(block.status.is_final() && block.children.len() == 1);
    assert_eq!(chain.block_at(place.height).unwrap().unwrap(), block);
    let before = chain.account_at(&to.address(), Height(place.height.0 - 1)).unwrap();
    assert_eq!(before, Some(None));
    let after = chain.account_at(&to.address(), place.height).unwrap().unwrap();
    assert_eq!(after.unwrap().balance.tfuel, Wei::from_coins(12));

    let height = chain.status().final_height;
    chain.shutdown().await;
    assert!(matches!(chain.waiting_transactions().await, Err(ChainError::Stopped(_))));
    assert!(chain.stopped().is_some());

    let chain = start(folder.path(), 50);
    assert!(chain.status().final_height >= height);
    assert_eq!(chain.account(&to.address()).unwrap().unwrap().balance.tfuel, Wei::from_coins(12));
    wait_for(&chain, height.0 + 3).await;
    assert_eq!(chain.transaction(hash).await.unwrap(), TransactionStatus::Finalized(place));
    chain.shutdown().await;
}

#[tokio::test]
async fn events_tell_every_final_block_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let chain = start(folder.path(), 30);
    let mut events = chain.events();
    for expected in 1..=8 {
        let ChainEvent::Finalized { height, hash } =
            tokio::time::timeout(Duration::from_secs(60), events.recv()).await.unwrap().unwrap();
        assert_eq!(height, Height(expected));
        // Told means durable.
        let block = chain.block(hash).unwrap().unwrap();
        assert_eq!((block.status, block.block.header.height), (BlockStatus::DirectlyFinalized, height));
        assert!(chain.status().final_height >= height);
    }
    chain.shutdown().await;
}

#[tokio::test]
async fn status_says_where_the_chain_stands() {
    let folder = tempfile::tempdir().unwrap();
    let chain = start(folder.path(), 40);
    wait_for(&chain, 3).await;
    let status = chain.status();
    let (network, _) = local_network(validator().address(), faucet().address()).unwrap();
    assert_eq!(status.chain_id, "thetislocal");
    assert_eq!(status.address, validator().address());
    assert_eq!((status.genesis_hash, status.root_hash), (network.genesis_hash, network.genesis_hash));
    assert!(status.final_height >= Height(3) && status.tip_height > status.final_height);
    assert!(status.epoch > status.final_epoch);
    assert!(!status.syncing);
    assert_eq!(chain.block(status.final_hash).unwrap().unwrap().block.header.height, status.final_height);
    assert_eq!(chain.validator_candidates().unwrap().sorted_candidates.len(), 1);
    let genesis = chain.block_at(Height(0)).unwrap().unwrap();
    assert_eq!((genesis.hash, genesis.status), (network.genesis_hash, BlockStatus::Trusted));
    chain.shutdown().await;
}

#[tokio::test]
async fn a_bad_transaction_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let chain = start(folder.path(), 200);
    let refused = |result| match result {
        Err(SubmitError::NotTaken(MempoolError::Refused(refusal))) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    let gap = chain.submit_transaction(payment(5, &somebody(7), 1)).await;
    assert!(matches!(refused(gap), Refusal::Sequence { got: 5, expected: 1, .. }));
    let garbage = chain.submit_transaction(vec![2, 0xff, 0xff]).await;
    assert!(matches!(refused(garbage), Refusal::Undecodable(_)));
    let mut forged = payment(1, &somebody(7), 1);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(chain.submit_transaction(forged).await.is_err());

    let raw = payment(1, &somebody(7), 1);
    chain.submit_transaction(raw.clone()).await.unwrap();
    let again = chain.submit_transaction(raw).await;
    assert!(matches!(again, Err(SubmitError::NotTaken(MempoolError::AlreadySeen))));
    assert_eq!(chain.transaction(TxHash::ZERO).await.unwrap(), TransactionStatus::NotFound);
    chain.shutdown().await;
}

#[tokio::test]
async fn a_follower_gets_the_same_chain_from_the_validators_messages() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let validating = start(one.path(), 40);
    let mut outgoing = validating.outgoing();
    let mut following = config(two.path(), 40);
    following.validator = None;
    let follower = Chain::start(following).unwrap();
    validating.submit_transaction(payment(1, &somebody(7), 3)).await.unwrap();
    let (from, to) = (validating.clone(), follower.clone());
    let carrier = tokio::spawn(async move {
        // Blocks from before the subscription.
        let mut height = Height(1);
        while let Some((hash, _)) = from.blocks_at(height).unwrap().first().copied() {
            to.deliver_block(from.block(hash).unwrap().unwrap().block).await.unwrap();
            height = height.next();
        }
        while let Ok(message) = outgoing.recv().await {
            let delivered = match message {
                theta_consensus::Outgoing::Vote(vote) => to.deliver_vote(vote).await,
                theta_consensus::Outgoing::Proposal(proposal) => to.deliver_block(proposal.block).await,
            };
            if delivered.is_err() {
                return;
            }
        }
    });
    wait_for(&follower, 6).await;
    for height in 0..=6 {
        let block = follower.block_at(Height(height)).unwrap().unwrap();
        assert_eq!(block.hash, validating.block_at(Height(height)).unwrap().unwrap().hash);
    }
    assert!(follower.account(&somebody(7).address()).unwrap().is_some());
    follower.shutdown().await;
    validating.shutdown().await;
    carrier.abort();
}

#[tokio::test]
async fn a_folder_has_one_owner_and_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let chain = start(folder.path(), 50);
    let second = Chain::start(config(folder.path(), 50));
    assert!(second.unwrap_err().to_string().contains("in use"));
    chain.shutdown().await;

    let (network, genesis) = local_network(somebody(5).address(), somebody(6).address()).unwrap();
    let mut other = config(folder.path(), 50);
    other.network = network;
    other.genesis = GenesisSource::Made(Box::new(genesis));
    assert!(matches!(Chain::start(other), Err(ChainError::OtherChain { .. })));
}

#[tokio::test]
async fn the_chain_ends_with_its_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    drop(start(folder.path(), 50));
    for _ in 0..500 {
        if let Ok(chain) = Chain::start(config(folder.path(), 50)) {
            chain.shutdown().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the database is still in use");
}

#[tokio::test]
async fn what_ran_is_verified_from_genesis() {
    let folder = tempfile::tempdir().unwrap();
    let chain = start(folder.path(), 30);
    for sequence in 1..=20 {
        chain.submit_transaction(payment(sequence, &somebody(7), 1)).await.unwrap();
    }
    wait_for(&chain, 12).await;
    let in_use = verify(folder.path(), &ChainRules::local(), None, |_| {});
    assert!(in_use.unwrap_err().to_string().contains("in use"));
    let genesis = chain.status().genesis_hash;
    chain.shutdown().await;

    let mut heights = Vec::new();
    let report = verify(folder.path(), &ChainRules::local(), Some(genesis), |progress| {
        heights.push(progress.height.0)
    });
    let report = report.unwrap();
    assert!(report.final_height >= Height(12));
    assert_eq!(heights, (0..=report.final_height.0).collect::<Vec<_>>());
    // A coinbase in each block but the first, and the payments.
    assert_eq!(report.transactions, report.blocks - 1 + 20);
    // Checking changes nothing.
    assert_eq!(verify(folder.path(), &ChainRules::local(), None, |_| {}).unwrap(), report);
    let other = verify(folder.path(), &ChainRules::local(), Some(theta_types::BlockHash::ZERO), |_| {});
    assert!(other.is_err());
    assert!(verify(folder.path(), &ChainRules::privatenet(), None, |_| {}).is_err());
    let nothing = tempfile::tempdir().unwrap();
    assert!(verify(nothing.path(), &ChainRules::local(), None, |_| {}).is_err());
}
