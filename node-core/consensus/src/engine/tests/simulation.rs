//! Several validators in one simulated network: delays, losses, crashes. Everything follows from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use theta_ledger::MempoolLimits;
use theta_state::{ChainDb, Genesis};
use theta_types::{Address, Block, BlockHash, Epoch, Height, SecretKey, Vote, keccak256};

use super::{Clock, key, network_of};
use crate::engine::{Engine, Input, Outgoing, Output};
use crate::network::Network;

struct Node {
    key: SecretKey,
    db: ChainDb,
    engine: Option<Engine>,
}

#[derive(Debug, Clone)]
enum Message {
    Vote(Vote),
    Block(Box<Block>),
    Restart,
}

struct Delivery {
    at: Duration,
    number: u64,
    to: usize,
    message: Message,
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Delivery {}
impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Simulation {
    network: Network,
    genesis: Genesis,
    nodes: Vec<Node>,
    clock: Clock,
    queue: BinaryHeap<Reverse<Delivery>>,
    sent: u64,
    seed: u64,
    draws: u64,
    /// Of a hundred messages so many are lost.
    loss: u64,
    /// Of a thousand events so many are the last that a node sees before it crashes. What it had to say is lost.
    crashes: u64,
    finalized: BTreeMap<Height, BlockHash>,
    votes: HashMap<(Address, Height), BlockHash>,
    proposals: HashMap<(Address, Epoch), BlockHash>,
    asked: HashSet<(usize, BlockHash, u64)>,
}

impl Simulation {
    fn new(stakes: &[u64], seed: u64) -> Self {
        let keys: Vec<_> = (1..).zip(stakes).map(|(byte, stake)| (key(byte), *stake)).collect();
        let (network, genesis) = network_of(&keys, &key(99));
        let clock = Clock::new();
        let mut simulation = Self {
            network,
            genesis,
            nodes: Vec::new(),
            clock,
            queue: BinaryHeap::new(),
            sent: 0,
            seed,
            draws: 0,
            loss: 0,
            crashes: 0,
            finalized: BTreeMap::new(),
            votes: HashMap::new(),
            proposals: HashMap::new(),
            asked: HashSet::new(),
        };
        for (key, _) in keys {
            simulation.nodes.push(Node { key, db: ChainDb::in_memory().unwrap(), engine: None });
            simulation.start(simulation.nodes.len() - 1);
        }
        simulation
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.draws += 1;
        let drawn = keccak256([self.seed.to_be_bytes(), self.draws.to_be_bytes()].concat());
        u64::from_be_bytes(drawn[..8].try_into().unwrap()) % below
    }

    fn start(&mut self, index: usize) {
        let genesis = self.genesis.clone();
        let node = &mut self.nodes[index];
        let engine = Engine::open(
            node.db.clone(),
            self.network.clone(),
            || Ok(genesis),
            Some(node.key.clone()),
            MempoolLimits::default(),
            self.clock.now(),
        );
        node.engine = Some(engine.unwrap());
    }

    fn stop(&mut self, index: usize) {
        self.nodes[index].engine = None;
    }

    fn send(&mut self, to: usize, message: Message, delay: Duration) {
        self.sent += 1;
        self.queue.push(Reverse(Delivery { at: self.clock.since + delay, number: self.sent, to, message }));
    }

    fn run_for(&mut self, seconds: u64) {
        let end = self.clock.since + Duration::from_secs(seconds);
        loop {
            let deadline = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(index, node)| {
                    let deadline = node.engine.as_ref()?.next_deadline();
                    Some((deadline.saturating_duration_since(self.clock.start), index))
                })
                .min();
            let delivery = self.queue.peek().map(|Reverse(delivery)| delivery.at);
            let next = deadline.map(|(at, _)| at).into_iter().chain(delivery).min().unwrap_or(end);
            if next >= end {
                self.clock.since = end;
                return;
            }
            self.clock.since = self.clock.since.max(next);
            if delivery.is_some_and(|at| deadline.is_none_or(|(deadline, _)| at <= deadline)) {
                let Some(Reverse(Delivery { to, message, .. })) = self.queue.pop() else { return };
                match message {
                    Message::Restart => self.start(to),
                    Message::Vote(vote) => self.handle(to, Input::Vote(vote)),
                    Message::Block(block) => self.handle(to, Input::Block(block)),
                }
            } else if let Some((_, index)) = deadline {
                self.handle(index, Input::Time);
            }
        }
    }

    fn handle(&mut self, index: usize, input: Input) {
        let now = self.clock.now();
        let Some(engine) = &mut self.nodes[index].engine else { return };
        let output = engine.handle(input, now).unwrap();
        assert!(
            output.refused.is_none()
                || matches!(
                    output.refused,
                    Some(crate::BlockRefusal::BelowFinal(_) | crate::BlockRefusal::Parent)
                ),
            "{:?}",
            output.refused
        );
        self.check(&output);
        if self.draw(1_000) < self.crashes {
            self.stop(index);
            let delay = Duration::from_millis(100 + self.draw(3_000));
            self.send(index, Message::Restart, delay);
            return;
        }
        for message in output.outgoing {
            let messages = match message {
                Outgoing::Vote(vote) => vec![Message::Vote(vote)],
                Outgoing::Proposal(proposal) => {
                    let votes = proposal.votes.iter().cloned().map(Message::Vote);
                    votes.chain([Message::Block(Box::new(proposal.block))]).collect()
                }
            };
            for to in (0..self.nodes.len()).filter(|to| *to != index) {
                for message in messages.clone() {
                    let delay = Duration::from_millis(5 + self.draw(80));
                    if self.draw(100) >= self.loss {
                        self.send(to, message, delay);
                    }
                }
            }
        }
        if let Some(missing) = output.missing {
            self.fetch(index, missing);
        }
    }

    /// Stands for the download of a block from a peer that has it.
    fn fetch(&mut self, to: usize, hash: BlockHash) {
        if !self.asked.insert((to, hash, self.clock.since.as_secs())) {
            return;
        }
        let others = self.nodes.iter().enumerate().filter(|(index, _)| *index != to);
        let found = others.filter_map(|(_, node)| node.engine.as_ref()?.store().block(hash).unwrap()).next();
        if let Some(block) = found {
            self.send(to, Message::Block(Box::new(block)), Duration::from_millis(50));
        }
    }

    /// What must hold whatever happens: one final block a height, one vote a height, one proposal an epoch.
    fn check(&mut self, output: &Output) {
        for (height, hash) in &output.finalized {
            assert_eq!(
                self.finalized.entry(*height).or_insert(*hash),
                hash,
                "two final blocks at height {height}"
            );
        }
        for message in &output.outgoing {
            match message {
                Outgoing::Vote(vote) => {
                    let block = self.votes.entry((vote.voter, vote.height)).or_insert(vote.block);
                    assert_eq!(*block, vote.block, "two votes at height {}", vote.height);
                }
                Outgoing::Proposal(proposal) => {
                    let header = &proposal.block.header;
                    let block = self
                        .proposals
                        .entry((header.proposer, header.epoch))
                        .or_insert(proposal.block.hash());
                    assert_eq!(*block, proposal.block.hash(), "two proposals for epoch {}", header.epoch);
                }
            }
        }
    }

    fn final_height(&self) -> u64 {
        self.finalized.keys().last().map_or(0, |height| height.0)
    }

    fn lowest_final_height(&self) -> u64 {
        let heights = self
            .nodes
            .iter()
            .filter_map(|node| Some(node.engine.as_ref()?.last_final().unwrap().known.height().0));
        heights.min().unwrap()
    }
}

#[test]
fn four_validators_make_a_block_a_second_and_agree() {
    let mut simulation = Simulation::new(&[50, 50, 50, 50], 1);
    simulation.run_for(32);
    assert!(simulation.lowest_final_height() >= 22, "{}", simulation.lowest_final_height());
}

#[test]
fn a_quarter_of_the_stake_may_be_away_and_half_may_not() {
    let mut simulation = Simulation::new(&[50, 50, 50, 50], 2);
    simulation.stop(0);
    simulation.run_for(40);
    let three = simulation.final_height();
    assert!(three >= 8, "{three}");

    simulation.stop(1);
    simulation.run_for(4);
    let stopped = simulation.final_height();
    simulation.run_for(20);
    assert_eq!(simulation.final_height(), stopped, "half of the stake made a block final");

    simulation.start(1);
    simulation.start(0);
    simulation.run_for(30);
    assert!(
        simulation.lowest_final_height() >= stopped + 8,
        "{} after {stopped}",
        simulation.lowest_final_height()
    );
}

#[test]
fn stake_decides_and_not_the_number_of_heads() {
    let mut simulation = Simulation::new(&[400, 20, 20, 20], 3);
    for small in 1..4 {
        simulation.stop(small);
    }
    simulation.run_for(30);
    assert!(simulation.final_height() >= 15, "{}", simulation.final_height());
    let mut simulation = Simulation::new(&[400, 100, 100, 100], 3);
    for small in 1..4 {
        simulation.stop(small);
    }
    simulation.run_for(30);
    assert_eq!(simulation.final_height(), 0, "four sevenths of the stake made a block final");
}

#[test]
fn lost_messages_delay_and_do_not_divide() {
    for seed in 10..12 {
        let mut simulation = Simulation::new(&[50, 60, 40, 50], seed);
        simulation.loss = 25;
        simulation.run_for(60);
        let with_losses = simulation.final_height();
        simulation.loss = 0;
        simulation.run_for(20);
        let lowest = simulation.lowest_final_height();
        assert!(with_losses >= 4 && lowest >= with_losses + 8, "seed {seed}: {with_losses}, {lowest}");
    }
}

#[test]
fn crashes_at_any_moment_divide_nobody() {
    for seed in 20..23 {
        let mut simulation = Simulation::new(&[50, 60, 40, 50], seed);
        simulation.crashes = 8;
        simulation.loss = 5;
        simulation.run_for(60);
        simulation.crashes = 0;
        simulation.loss = 0;
        simulation.run_for(20);
        assert!(simulation.lowest_final_height() >= 12, "seed {seed}: {}", simulation.lowest_final_height());
    }
}
