//! One validator alone.

use std::time::Duration;

use theta_ledger::MempoolLimits;
use theta_state::ChainDb;
use theta_types::{BlockHash, Coins, Epoch, Height, SendTx, Transaction, TxInput, TxOutput, Vote, Wei};

use super::{Clock, key, network_of};
use crate::engine::{Engine, Input, Outgoing, Output};
use crate::network::Network;
use theta_state::Genesis;

struct Alone {
    network: Network,
    genesis: Genesis,
    db: ChainDb,
    engine: Engine,
    clock: Clock,
}

impl Alone {
    fn new() -> Self {
        let (network, genesis) = network_of(&[(key(1), 50)], &key(9));
        let db = ChainDb::in_memory().unwrap();
        let clock = Clock::new();
        let engine = open(&db, &network, &genesis, clock);
        Self { network, genesis, db, engine, clock }
    }

    /// Lets time pass up to the next deadline.
    fn tick(&mut self) -> Output {
        self.clock.since = self.engine.next_deadline().duration_since(self.clock.start);
        self.engine.handle(Input::Time, self.clock.now()).unwrap()
    }

    /// As after a crash: what was in memory alone is gone.
    fn reopen(&mut self) {
        self.engine = open(&self.db, &self.network, &self.genesis, self.clock);
    }

    fn final_height(&self) -> Height {
        self.engine.last_final().unwrap().known.height()
    }
}

fn open(db: &ChainDb, network: &Network, genesis: &Genesis, clock: Clock) -> Engine {
    let genesis = genesis.clone();
    Engine::open(
        db.clone(),
        network.clone(),
        || Ok(genesis),
        Some(key(1)),
        MempoolLimits::default(),
        clock.now(),
    )
    .unwrap()
}

fn send(sequence: u64, to: u8) -> Vec<u8> {
    let fee = Coins::tfuel(Wei::from(300_000_000_000_000_000u64));
    let amount = Coins::tfuel(Wei::from_coins(3));
    let mut tx = SendTx {
        fee: fee.clone(),
        inputs: vec![TxInput::unsigned(key(9).address(), amount.clone() + fee, sequence)],
        outputs: vec![TxOutput { address: key(to).address(), coins: amount }],
    };
    tx.sign("thetislocal", &key(9));
    Transaction::from(tx).encode()
}

#[test]
fn it_makes_a_block_a_second_and_each_is_final_two_seconds_later() {
    let mut alone = Alone::new();
    // Epoch 0 has no proposer and ends by a timeout.
    while alone.clock.since < Duration::from_secs(2) {
        alone.tick();
    }
    assert_eq!(alone.engine.tip(false).unwrap().known.height(), Height(1));
    let mut finalized = Vec::new();
    while alone.clock.since < Duration::from_secs(22) {
        finalized.extend(alone.tick().finalized);
    }
    assert_eq!(alone.engine.tip(false).unwrap().known.height(), Height(21));
    assert_eq!(
        finalized.iter().map(|(height, _)| height.0).collect::<Vec<_>>(),
        (1..=19).collect::<Vec<_>>()
    );
}

#[test]
fn transactions_get_into_blocks_and_change_the_state() {
    let mut alone = Alone::new();
    for _ in 0..4 {
        alone.tick();
    }
    let sent: Vec<_> = (1..=3).map(|sequence| send(sequence, 5)).collect();
    for raw in &sent {
        alone.engine.submit(raw.clone(), alone.clock.now()).unwrap();
    }
    assert_eq!(alone.engine.waiting().len(), 3);
    let preview = alone.engine.preview(&key(5).address()).unwrap().unwrap();
    assert_eq!(preview.balance.tfuel, Wei::from_coins(9));
    for _ in 0..8 {
        alone.tick();
    }
    assert!(alone.engine.waiting().is_empty());
    for raw in &sent {
        let place = alone.engine.store().place(&Transaction::hash_of_raw(raw)).unwrap().unwrap();
        assert!(place.height <= alone.final_height());
    }
    let final_state = &alone.engine.last_final().unwrap().state;
    let account =
        theta_ledger::StateView::new(final_state, alone.final_height()).account(&key(5).address()).unwrap();
    assert_eq!(account.unwrap().balance.tfuel, Wei::from_coins(9));
}

#[test]
fn after_a_crash_at_any_step_it_contradicts_nothing_that_it_said() {
    // One run without a crash says where the steps are; then it crashes after each of them, with all that it had just said lost or sent.
    for crash_after in 1..14 {
        let mut alone = Alone::new();
        let mut said = Said::default();
        for step in 1..40 {
            let output = alone.tick();
            said.hear(&output);
            if step == crash_after || step % 7 == 0 {
                alone.reopen();
            }
        }
        assert!(alone.final_height() >= Height(8), "crash after {crash_after}: {}", alone.final_height());
    }
}

/// All votes and proposals so far, none of which may contradict another.
#[derive(Default)]
struct Said {
    votes: std::collections::HashMap<Height, BlockHash>,
    proposals: std::collections::HashMap<Epoch, BlockHash>,
}

impl Said {
    fn hear(&mut self, output: &Output) {
        for message in &output.outgoing {
            match message {
                Outgoing::Vote(Vote { height, block, .. }) => {
                    assert_eq!(
                        self.votes.entry(*height).or_insert(*block),
                        block,
                        "two votes at height {height}"
                    );
                }
                Outgoing::Proposal(proposal) => {
                    let (epoch, hash) = (proposal.block.header.epoch, proposal.block.hash());
                    assert_eq!(
                        *self.proposals.entry(epoch).or_insert(hash),
                        hash,
                        "two proposals for epoch {epoch}"
                    );
                }
            }
        }
    }
}

#[test]
fn another_networks_data_is_not_touched() {
    let alone = Alone::new();
    let (other, genesis) = network_of(&[(key(2), 50)], &key(9));
    let opened = Engine::open(
        alone.db.clone(),
        other,
        || Ok(genesis),
        Some(key(2)),
        MempoolLimits::default(),
        alone.clock.now(),
    );
    assert!(matches!(opened, Err(crate::ChainError::OtherChain { .. })));
}
