//! Blocks of reference nodes lead to the reference's states.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use support::{difference, recorded};
use theta_ledger::{BlockRules, LedgerError, execute_block};
use theta_types::{BlockHash, ChainRules, Height, TxError};

struct Replay {
    executed: usize,
    transactions: usize,
    /// Blocks that were taken from the recording because they hold what this version does not execute, by reason.
    passed_over: std::collections::BTreeMap<String, usize>,
}

/// Executes every block on the state before it, and compares root and changes. A block that is out of this version's reach is taken as
/// recorded, and counted by reason, until the state itself is out of reach.
fn replay(folder: &Path, rules: &ChainRules) -> Replay {
    let mut result = Replay { executed: 0, transactions: 0, passed_over: Default::default() };
    let mut state = recorded::genesis_state(folder);
    let mut validators = recorded::Validators::default();
    let mut parent: Option<(BlockHash, Height)> = None;
    for block in recorded::blocks(folder, rules) {
        let header = &block.block.header;
        let Some((parent_hash, parent_height)) = parent else {
            assert_eq!(state.root(), header.state_hash, "genesis");
            validators.note(&block, &state);
            parent = Some((block.hash, header.height));
            continue;
        };
        assert_eq!((header.parent, block.block.hash()), (parent_hash, block.hash));
        let rules = BlockRules::after(rules, parent_height);
        match execute_block(rules, validators.after(&parent_hash), &state, &block.block) {
            Ok(executed) => {
                let found = difference::effective(&executed.changes, &state);
                assert_eq!(difference::between(&found, &block.changes), None, "block {}", header.height);
                result.executed += 1;
                result.transactions += executed.transactions.len();
                state = executed.state;
            }
            Err(LedgerError::UnsupportedPool(pool)) => {
                *result.passed_over.entry(format!("{pool}, from block {}", header.height)).or_default() += 1;
                return result;
            }
            Err(error) => {
                let unsupported = block.block.transactions.iter().find_map(|raw| {
                    match theta_types::Transaction::decode(raw) {
                        Err(TxError::Unsupported(kind)) => Some(kind),
                        _ => None,
                    }
                });
                let Some(kind) = unsupported else {
                    panic!("block {}: {error}", header.height);
                };
                *result.passed_over.entry(kind.name().to_owned()).or_default() += 1;
                recorded::apply(&mut state, &block.changes);
                assert_eq!(state.root(), header.state_hash, "recorded changes of block {}", header.height);
            }
        }
        validators.note(&block, &state);
        parent = Some((block.hash, header.height));
    }
    result
}

#[test]
fn the_money_chain_replays_with_every_state_root_and_change() {
    let folder = recorded::folder("money");
    let replay = replay(&folder, &recorded::rules(&folder, "privatenet"));
    assert_eq!((replay.executed, replay.transactions), (79, 86));
    assert!(replay.passed_over.is_empty());
}

/// The forks of this chain come one after the other: early blocks are under the first rules, with fees of 10^12 and validators in the
/// coinbase.
#[test]
fn blocks_before_and_at_the_first_forks_lead_to_the_recorded_states() {
    let Some(folder) = recorded::shared_folder("staggered") else { return };
    let replay = replay(&folder, &recorded::rules(&folder, "testnet"));
    println!("executed {} blocks, {} transactions", replay.executed, replay.transactions);
    for (reason, count) in &replay.passed_over {
        println!("passed over {count}: {reason}");
    }
    assert!(replay.executed >= 30);
}

#[test]
fn a_block_with_another_state_root_is_refused() {
    let folder = recorded::folder("money");
    let rules = recorded::rules(&folder, "privatenet");
    let state = recorded::genesis_state(&folder);
    let mut validators = recorded::Validators::default();
    let mut blocks = recorded::blocks(&folder, &rules);
    let genesis = blocks.next().unwrap();
    validators.note(&genesis, &state);
    let mut first = blocks.next().unwrap();
    first.block.header.state_hash.0[31] ^= 1;
    let result = execute_block(
        BlockRules::after(&rules, Height(0)),
        validators.after(&genesis.hash),
        &state,
        &first.block,
    );
    assert!(matches!(result, Err(LedgerError::StateRoot { .. })), "{result:?}");
}
