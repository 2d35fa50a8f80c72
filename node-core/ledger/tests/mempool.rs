//! What waits for a block, and what is turned away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::network::{FEE, Network, fee, key, tfuel, whole};
use theta_ledger::{
    BlockRules, LedgerError, Mempool, MempoolError, MempoolLimits, Refusal, TxMemory, execute_block,
};
use theta_types::{
    Address, Block, Coins, SecretKey, SendTx, Transaction, TxHash, TxInput, TxKind, TxOutput, ValidatorSet,
    Wei,
};

const BOB: Address = Address::repeat_byte(0xb0);

fn send(network: &Network, from: &SecretKey, sequence: u64, amount: u64, extra_fee: u64) -> Vec<u8> {
    let fee = fee() + tfuel(extra_fee);
    let mut tx = SendTx {
        inputs: vec![TxInput::unsigned(from.address(), tfuel(amount) + fee.clone(), sequence)],
        outputs: vec![TxOutput { address: BOB, coins: tfuel(amount) }],
        fee,
    };
    tx.sign(&network.rules.chain_id, from);
    Transaction::from(tx).encode()
}

struct Node {
    network: Network,
    mempool: Mempool,
    now: Instant,
}

impl Node {
    fn new(accounts: &[(&SecretKey, u64)], limits: MempoolLimits) -> Self {
        Self { network: Network::with_accounts(accounts), mempool: Mempool::new(limits), now: Instant::now() }
    }

    fn insert(&mut self, raw: &[u8]) -> Result<TxHash, MempoolError> {
        let rules = BlockRules::after(&self.network.rules, self.network.height);
        self.mempool.insert(&rules, &self.network.state, raw.to_vec(), self.now)
    }

    fn block_of(&mut self, raws: Vec<Vec<u8>>) {
        let refused = self.network.raw_block(raws.clone());
        assert!(refused.iter().all(Option::is_none), "{refused:?}");
        let rules = BlockRules::after(&self.network.rules, self.network.height);
        self.mempool.after_block(&rules, &self.network.state, &raws, self.now).unwrap();
    }
}

#[test]
fn consecutive_sequences_queue_and_gaps_do_not() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 10)], MempoolLimits::default());
    let raws: Vec<_> = (1..=3).map(|sequence| send(&node.network, &alice, sequence, 1, 0)).collect();
    node.insert(&raws[0]).unwrap();
    let gap = node.insert(&raws[2]).unwrap_err();
    assert_eq!(gap.to_string(), "ValidateInputAdvanced: Got 3, expected 2. (acc.seq=1)");
    node.insert(&raws[1]).unwrap();
    node.insert(&raws[2]).unwrap();
    assert_eq!(node.mempool.candidates(10, node.now), raws);
    assert_eq!(node.mempool.candidates(2, node.now), raws[..2]);

    let rules = BlockRules::after(&node.network.rules, node.network.height);
    let preview = node.mempool.preview(&rules, &node.network.state, &alice.address()).unwrap().unwrap();
    assert_eq!(preview.sequence, 3);
    assert_eq!(node.network.account(&alice.address()).sequence, 0);
}

#[test]
fn the_same_bytes_are_taken_once() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 10)], MempoolLimits::default());
    let raw = send(&node.network, &alice, 1, 1, 0);
    node.insert(&raw).unwrap();
    assert_eq!(node.insert(&raw).unwrap_err().to_string(), "Transaction already seen");
    assert_eq!(node.mempool.len(), 1);
}

#[test]
fn what_is_refused_is_not_remembered() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 10)], MempoolLimits::default());
    let second = send(&node.network, &alice, 2, 1, 0);
    let hash = Transaction::hash_of_raw(&second);
    assert!(matches!(node.insert(&second), Err(MempoolError::Refused(Refusal::Sequence { .. }))));
    assert_eq!(node.mempool.memory_of(&hash, node.now), None);
    let first = send(&node.network, &alice, 1, 1, 0);
    node.insert(&first).unwrap();
    node.insert(&second).unwrap();
    assert_eq!(node.mempool.memory_of(&hash, node.now), Some(TxMemory::Pending));
}

#[test]
fn better_fees_come_first_but_never_out_of_sequence() {
    let (alice, carol) = (key("alice"), key("carol"));
    let mut node = Node::new(&[(&alice, 10), (&carol, 10)], MempoolLimits::default());
    let plain = send(&node.network, &alice, 1, 1, 0);
    let rich = send(&node.network, &alice, 2, 1, FEE);
    let middle = send(&node.network, &carol, 1, 1, FEE / 2);
    for raw in [&plain, &rich, &middle] {
        node.insert(raw).unwrap();
    }
    assert_eq!(node.mempool.candidates(10, node.now), [middle, plain, rich]);
}

#[test]
fn a_block_takes_its_transactions_out_and_those_that_fail_by_then() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 10)], MempoolLimits::default());
    let first = send(&node.network, &alice, 1, 1, 0);
    let second = send(&node.network, &alice, 2, 2, 0);
    let rival = send(&node.network, &alice, 2, 3, 0);
    node.insert(&first).unwrap();
    node.insert(&second).unwrap();
    // Another proposer's block brings the first and another second one.
    node.block_of(vec![first.clone(), rival]);
    assert!(node.mempool.is_empty());
    let memory = |raw: &Vec<u8>| node.mempool.memory_of(&Transaction::hash_of_raw(raw), node.now);
    assert_eq!(memory(&first), Some(TxMemory::Pending));
    assert_eq!(memory(&second), Some(TxMemory::Abandoned));
}

#[test]
fn transactions_stay_until_a_block_holds_them() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 10)], MempoolLimits::default());
    let raws: Vec<_> = (1..=2).map(|sequence| send(&node.network, &alice, sequence, 1, 0)).collect();
    for raw in &raws {
        node.insert(raw).unwrap();
    }
    node.block_of(Vec::new());
    assert_eq!(node.mempool.candidates(10, node.now), raws);
    node.block_of(vec![raws[0].clone()]);
    assert_eq!(node.mempool.candidates(10, node.now), raws[1..]);
}

#[test]
fn a_transaction_waits_a_minute() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 10)], MempoolLimits::default());
    let raw = send(&node.network, &alice, 1, 1, 0);
    let hash = node.insert(&raw).unwrap();
    node.now += Duration::from_secs(59);
    node.block_of(Vec::new());
    assert_eq!(node.mempool.waiting(), [hash]);
    node.now += Duration::from_secs(1);
    assert!(node.mempool.candidates(10, node.now).is_empty());
    node.block_of(Vec::new());
    assert!(node.mempool.is_empty());
    assert_eq!(node.mempool.memory_of(&hash, node.now), None);
    // And may come again.
    node.insert(&raw).unwrap();
}

#[test]
fn every_bound_holds() {
    let (alice, carol) = (key("alice"), key("carol"));
    let limits = MempoolLimits { per_sender: 3, transactions: 4, ..MempoolLimits::default() };
    let mut node = Node::new(&[(&alice, 100), (&carol, 100)], limits);
    for sequence in 1..=3 {
        let raw = send(&node.network, &alice, sequence, 1, 0);
        node.insert(&raw).unwrap();
    }
    let fourth = send(&node.network, &alice, 4, 1, 0);
    assert!(
        matches!(node.insert(&fourth), Err(MempoolError::TooManyOfSender(sender)) if sender == alice.address())
    );
    let other = send(&node.network, &carol, 1, 1, 0);
    node.insert(&other).unwrap();
    let fifth = send(&node.network, &carol, 2, 1, 0);
    assert!(matches!(node.insert(&fifth), Err(MempoolError::Full)));

    let limits = MempoolLimits { transaction_bytes: fifth.len() - 1, ..MempoolLimits::default() };
    let mut node = Node::new(&[(&carol, 100)], limits);
    let first = send(&node.network, &carol, 1, 1, 0);
    assert!(matches!(node.insert(&first), Err(MempoolError::TooLarge(_))));

    let limits = MempoolLimits { bytes: 2 * first.len() + 1, ..MempoolLimits::default() };
    let mut node = Node::new(&[(&carol, 100)], limits);
    node.insert(&first).unwrap();
    node.insert(&fifth).unwrap();
    let third = send(&node.network, &carol, 3, 1, 0);
    assert!(matches!(node.insert(&third), Err(MempoolError::Full)));
}

#[test]
fn the_memory_is_bounded_and_forgets_the_oldest() {
    let alice = key("alice");
    let limits = MempoolLimits { remembered: 2, ..MempoolLimits::default() };
    let mut node = Node::new(&[(&alice, 10)], limits);
    let raws: Vec<_> = (1..=3).map(|sequence| send(&node.network, &alice, sequence, 1, 0)).collect();
    let hashes: Vec<_> = raws.iter().map(|raw| node.insert(raw).unwrap()).collect();
    assert_eq!(node.mempool.memory_of(&hashes[0], node.now), None);
    assert_eq!(node.mempool.memory_of(&hashes[2], node.now), Some(TxMemory::Pending));
}

#[test]
fn coinbases_and_slashes_are_unauthorized() {
    let mut node = Node::new(&[], MempoolLimits::default());
    let coinbase = theta_types::CoinbaseTx {
        proposer: TxInput::unsigned(node.network.validator.address(), Coins::zero(), 0),
        outputs: vec![TxOutput { address: BOB, coins: whole(1_000_000) }],
        block_height: node.network.height,
    };
    let coinbase = Transaction::from(coinbase).encode();
    for raw in [coinbase, vec![1, 0xc0]] {
        let refusal = node.insert(&raw).unwrap_err();
        assert_eq!(refusal.to_string(), "Unauthorized transaction, should skip");
    }
}

#[test]
fn kinds_of_later_versions_are_refused_by_name_in_mempool_and_block() {
    let mut node = Node::new(&[], MempoolLimits::default());
    let later = [
        TxKind::SmartContract,
        TxKind::DepositStake,
        TxKind::WithdrawStake,
        TxKind::DepositStakeV2,
        TxKind::StakeRewardDistribution,
    ];
    for kind in later {
        let raw = vec![kind.number() as u8, 0xc0];
        let said = format!("{} transactions are not supported by this version of Thetis", kind.name());
        assert_eq!(node.insert(&raw).unwrap_err().to_string(), said);

        let block = Block { transactions: vec![raw], ..Block::default() };
        let Network { rules, state, height, .. } = &node.network;
        let executed =
            execute_block(BlockRules::after(rules, *height), &ValidatorSet::default(), state, &block);
        let Err(LedgerError::InvalidTransaction { index: 0, refusal }) = executed else {
            panic!("a block with it is not refused")
        };
        assert!(matches!(*refusal, Refusal::UnsupportedKind(named) if named == kind), "{refusal}");
    }
}

#[test]
fn spending_more_than_there_is_is_noticed_across_pending_transactions() {
    let alice = key("alice");
    let mut node = Node::new(&[(&alice, 1)], MempoolLimits::default());
    let half = Wei::from_coins(1).to_u64().unwrap() / 2;
    let first = send(&node.network, &alice, 1, half, 0);
    node.insert(&first).unwrap();
    let second = send(&node.network, &alice, 2, half, 0);
    let refusal = node.insert(&second).unwrap_err();
    assert!(refusal.to_string().starts_with("Insufficient fund: balance is "), "{refusal}");
}
