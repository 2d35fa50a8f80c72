//! Chains of reference nodes.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use theta_ledger::MempoolLimits;
use theta_state::{ChainDb, Genesis, MemoryNodes, Trie};
use theta_types::{Address, Block, BlockHash, ChainRules, Decode, Epoch, Height, SecretKey, Signature, Vote};

use super::Clock;
use crate::block_rules::{BlockRefusal, check_alone, check_in_chain};
use crate::engine::{Engine, Input, Output};
use crate::error::ChainError;
use crate::known::{Known, KnownBlocks};
use crate::network::{Network, Timing};
use crate::status::BlockStatus;
use crate::test_data::{chain_file, recorded_blocks};

struct Recorded {
    network: Network,
    genesis: Genesis,
    blocks: Vec<Block>,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.trim_start_matches("0x")).unwrap()
}

fn block_of(line: &Value, rules: &ChainRules) -> Block {
    Block::from_rlp(&bytes(text(line, "block")), &rules.forks).unwrap()
}

fn rules_of(chain: &str) -> Option<ChainRules> {
    let forks = String::from_utf8(chain_file(chain, "forks.json")?).unwrap();
    let chain_id = if chain == "staggered" { "testnet" } else { "privatenet" };
    Some(ChainRules::from_forks_json(chain_id, &forks).unwrap())
}

fn genesis_of(chain: &str) -> Option<Genesis> {
    Some(Genesis::read(&chain_file(chain, "genesis.gz")?[..]).unwrap())
}

fn money() -> Recorded {
    let rules = rules_of("money").unwrap();
    let genesis = genesis_of("money").unwrap();
    let lines = recorded_blocks("money").unwrap();
    let blocks = lines.iter().map(|line| block_of(line, &rules)).collect();
    let network = Network { rules, genesis_hash: genesis.hash(), timing: Timing::public() };
    Recorded { network, genesis, blocks }
}

fn follower(chain: &Recorded, db: ChainDb, clock: Clock) -> Engine {
    let genesis = chain.genesis.clone();
    Engine::open(db, chain.network.clone(), || Ok(genesis), None, MempoolLimits::default(), clock.now())
        .unwrap()
}

fn deliver(engine: &mut Engine, block: &Block, clock: Clock) -> Output {
    engine.handle(Input::Block(Box::new(block.clone())), clock.now()).unwrap()
}

#[test]
fn the_payment_chain_is_followed_and_becomes_final() {
    let chain = money();
    let clock = Clock::new();
    let db = ChainDb::in_memory().unwrap();
    let mut engine = follower(&chain, db.clone(), clock);
    let mut finalized = Vec::new();
    for block in &chain.blocks[1..] {
        let output = deliver(&mut engine, block, clock);
        assert!(output.refused.is_none(), "block {}: {:?}", block.header.height, output.refused);
        finalized.extend(output.finalized);
    }
    // The votes for the last two blocks are in no header.
    let last = chain.blocks.last().unwrap().header.height.0;
    assert_eq!(finalized.last().unwrap().0, Height(last - 2));
    let expected: Vec<_> =
        chain.blocks[1..=finalized.len()].iter().map(|block| (block.header.height, block.hash())).collect();
    assert_eq!(finalized, expected);

    // After a restart it stands where it stood.
    let memory = engine.memory().clone();
    drop(engine);
    let engine = follower(&chain, db, clock);
    assert_eq!(*engine.memory(), memory);
    assert_eq!(engine.tip(false).unwrap().known.height(), Height(last));
}

#[test]
fn blocks_may_come_in_any_order() {
    let chain = money();
    let clock = Clock::new();
    let mut engine = follower(&chain, ChainDb::in_memory().unwrap(), clock);
    // In groups of eight, each from the last to the first: the last but one is the first that fits.
    for group in chain.blocks[1..].chunks(8) {
        for block in group.iter().rev() {
            let output = deliver(&mut engine, block, clock);
            assert!(output.refused.is_none());
            if block.header.height != group[0].header.height {
                assert_eq!(output.missing, Some(block.header.parent));
            }
        }
    }
    let last = chain.blocks.last().unwrap();
    assert_eq!(engine.tip(false).unwrap().known.hash, last.hash());
    assert_eq!(engine.last_final().unwrap().known.height().0, last.header.height.0 - 2);
}

fn secrets() -> HashMap<Address, SecretKey> {
    let keys: Value = serde_json::from_slice(&chain_file("money", "keys.json").unwrap()).unwrap();
    let secret = |entry: &Value| SecretKey::from_bytes(&bytes(text(entry, "secret"))).unwrap();
    keys.as_object().unwrap().values().map(secret).map(|secret| (secret.address(), secret)).collect()
}

#[test]
fn votes_for_a_final_block_are_not_believed_unsigned() {
    let chain = money();
    let clock = Clock::new();
    let mut engine = follower(&chain, ChainDb::in_memory().unwrap(), clock);
    for block in &chain.blocks[1..30] {
        deliver(&mut engine, block, clock);
    }
    // A block may commit one that is final already with any votes at all.
    let mut block = chain.blocks[30].clone();
    let votes = block.header.hcc.votes.clone();
    block.header.hcc.block_hash = chain.blocks[20].hash();
    block.header.hcc.votes = votes
        .iter()
        .map(|vote| Vote { block: chain.blocks[20].hash(), epoch: Epoch(1_000_000), ..vote.clone() })
        .collect();
    block.header.sign(&secrets()[&block.header.proposer]);
    let epoch = engine.memory().epoch;
    assert!(deliver(&mut engine, &block, clock).refused.is_none());
    assert_eq!(engine.tip(false).unwrap().known.hash, block.hash());
    assert_eq!(engine.memory().epoch, epoch);
}

/// A change to a block, and the rule that it breaks.
type Forgery = (fn(&mut Block), fn(&BlockRefusal) -> bool);

#[test]
fn a_changed_block_breaks_the_rule_that_it_breaks() {
    let chain = money();
    let clock = Clock::new();
    let mut engine = follower(&chain, ChainDb::in_memory().unwrap(), clock);
    for block in &chain.blocks[1..30] {
        deliver(&mut engine, block, clock);
    }
    let secrets = secrets();
    let signer = |block: &Block| secrets[&block.header.proposer].clone();

    let unsigned: [Forgery; 4] = [
        (
            |block| block.header.chain_id = "mainnet".to_owned(),
            |refusal| matches!(refusal, BlockRefusal::Header(_)),
        ),
        (
            |block| block.header.signature = Signature::empty(),
            |refusal| matches!(refusal, BlockRefusal::Header(_)),
        ),
        (|block| block.header.bloom = [1; 256].into(), |refusal| matches!(refusal, BlockRefusal::Header(_))),
        (|block| drop(block.transactions.pop()), |refusal| matches!(refusal, BlockRefusal::TransactionRoot)),
    ];
    let signed: [Forgery; 9] = [
        (|block| block.header.height = Height(31), |refusal| matches!(refusal, BlockRefusal::Height { .. })),
        (|block| block.header.epoch.0 = 1, |refusal| matches!(refusal, BlockRefusal::Epoch)),
        (
            |block| {
                let other =
                    block.header.hcc.votes.voters().into_iter().find(|voter| *voter != block.header.proposer);
                block.header.proposer = other.unwrap();
            },
            |refusal| matches!(refusal, BlockRefusal::Proposer),
        ),
        (
            |block| {
                block.header.hcc.block_hash = BlockHash::from_rlp(&[&[0xa0][..], &[7; 32]].concat()).unwrap()
            },
            |refusal| matches!(refusal, BlockRefusal::CommitNotAncestor),
        ),
        (
            |block| block.header.hcc.votes = Default::default(),
            |refusal| matches!(refusal, BlockRefusal::Certificate),
        ),
        (
            |block| {
                let two: Vec<Vote> = block.header.hcc.votes.iter().take(2).cloned().collect();
                block.header.hcc.votes = two.into_iter().collect();
            },
            |refusal| matches!(refusal, BlockRefusal::Certificate),
        ),
        (
            |block| {
                let mut votes: Vec<Vote> = block.header.hcc.votes.iter().cloned().collect();
                votes[0].epoch.0 += 1;
                block.header.hcc.votes = votes.into_iter().collect();
            },
            |refusal| matches!(refusal, BlockRefusal::Certificate),
        ),
        (|block| block.header.state_hash.0[0] ^= 1, |refusal| matches!(refusal, BlockRefusal::StateRoot)),
        (
            |block| {
                let coinbase = block.transactions[0].clone();
                block.transactions.push(coinbase);
                block.header.tx_root = theta_state::list_root(&block.transactions);
            },
            |refusal| matches!(refusal, BlockRefusal::Transaction { index: 1, .. }),
        ),
    ];
    let original = &chain.blocks[30];
    for (number, (change, is_right)) in unsigned.into_iter().enumerate() {
        let mut block = original.clone();
        change(&mut block);
        let refused = deliver(&mut engine, &block, clock).refused.expect("refused");
        assert!(is_right(&refused), "unsigned {number}: {refused}");
    }
    for (number, (change, is_right)) in signed.into_iter().enumerate() {
        let mut block = original.clone();
        change(&mut block);
        block.header.sign(&signer(&block));
        let refused = deliver(&mut engine, &block, clock).refused.expect("refused");
        assert!(is_right(&refused), "signed {number}: {refused}");
    }
    // What builds on an invalid block is invalid.
    let mut invalid = original.clone();
    invalid.header.state_hash.0[0] ^= 1;
    invalid.header.sign(&signer(&invalid));
    let mut child = chain.blocks[31].clone();
    child.header.parent = invalid.hash();
    child.header.sign(&signer(&child));
    assert!(matches!(deliver(&mut engine, &child, clock).refused, Some(BlockRefusal::Parent)));
    // The true block still fits.
    assert!(deliver(&mut engine, original, clock).refused.is_none());
    assert_eq!(engine.last_final().unwrap().known.hash, chain.blocks[28].hash());
    // A block below the final one comes too late.
    let late = deliver(
        &mut engine,
        &{
            let mut block = chain.blocks[20].clone();
            block.header.timestamp = 1u64.into();
            block.header.sign(&signer(&block));
            block
        },
        clock,
    );
    assert!(matches!(late.refused, Some(BlockRefusal::BelowFinal(_))));
}

/// A recorded chain without execution: the states come from the recording.
struct Replay {
    blocks: HashMap<BlockHash, Known>,
    states: HashMap<BlockHash, Trie>,
}

impl KnownBlocks for Replay {
    fn known(&self, hash: BlockHash) -> Result<Option<Known>, ChainError> {
        Ok(self.blocks.get(&hash).cloned())
    }

    fn state_value(&self, block: &Known, key: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        Ok(self.states[&block.hash].get(key)?.map(|value| value.to_vec()))
    }
}

/// Headers, certificates, proposers and validator sets of a whole chain, of which validators join and leave, and with contracts, guardians
/// and edge nodes that are not executed here.
fn check_headers(chain: &str) {
    let Some(lines) = recorded_blocks(chain) else { return };
    let rules = rules_of(chain).unwrap();
    let genesis = genesis_of(chain).unwrap();
    let mut replay = Replay { blocks: HashMap::new(), states: HashMap::new() };
    let mut state = Trie::empty(Arc::new(MemoryNodes::default()));
    for entry in genesis.state().entries(b"") {
        let (key, value) = entry.unwrap();
        state.insert(&key, value).unwrap();
    }
    let mut sets = Vec::new();
    for line in &lines {
        let block = block_of(line, &rules);
        let hash = block.hash();
        assert_eq!(hash.to_string(), text(line, "hash"));
        for (key, value) in line["state_changes"].as_object().unwrap() {
            let value = value.as_str().map(bytes).unwrap_or_default();
            state.insert(&bytes(key), value).unwrap();
        }
        assert_eq!(state.root(), block.header.state_hash, "state of block {}", block.header.height);
        let first = block.header.height == Height(0);
        if !first {
            let parent = replay.blocks[&block.header.parent].clone();
            check_alone(&block, &rules).unwrap();
            let checked = check_in_chain(&block, &parent, &replay, &rules, Height(0)).unwrap();
            checked.unwrap_or_else(|refusal| panic!("block {}: {refusal}", block.header.height));
        }
        let known = Known {
            hash,
            block: Arc::new(block),
            status: if first { BlockStatus::Trusted } else { BlockStatus::IndirectlyFinalized },
            validator_update: line["validator_update"].as_bool().unwrap_or(false),
        };
        replay.states.insert(hash, state.clone());
        replay.blocks.insert(hash, known.clone());
        let set = replay.validators_of(&known).unwrap();
        if sets.last() != Some(&set) {
            sets.push(set);
        }
    }
    if chain != "money" {
        assert!(
            sets.len() >= 3,
            "{chain} was recorded with validators that join and leave, {} sets seen",
            sets.len()
        );
    }
}

#[test]
fn headers_of_the_payment_chain_keep_every_rule() {
    check_headers("money");
}

#[test]
fn headers_of_a_chain_with_changing_validators_keep_every_rule() {
    check_headers("privatenet");
}

#[test]
fn headers_of_a_chain_with_staggered_forks_keep_every_rule() {
    check_headers("staggered");
}
