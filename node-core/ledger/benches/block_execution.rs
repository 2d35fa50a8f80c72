//! Transactions per second of a full block: 512 signed sends, each between two of 10,000 accounts. Verified as somebody else's block, and
//! proposed as one's own. Disk is not part of it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use theta_ledger::{BlockRules, MAX_PROPOSED_TRANSACTIONS, execute_block, propose_block};
use theta_state::{GenesisBuilder, MemoryNodes, Trie};
use theta_types::{
    Block, ChainRules, Coins, Height, SecretKey, SendTx, Transaction, TxInput, TxOutput, ValidatorSet, Wei,
    keccak256,
};

const ACCOUNTS: usize = 10_000;
const FEE: u64 = 300_000_000_000_000_000;

struct Setting {
    rules: ChainRules,
    validator: SecretKey,
    validators: ValidatorSet,
    /// Saved, as the state of a running node is.
    state: Trie,
    sends: Vec<Vec<u8>>,
}

fn key(number: usize) -> SecretKey {
    SecretKey::from_bytes(keccak256(number.to_be_bytes()).as_slice()).unwrap()
}

impl Setting {
    fn new() -> Self {
        let rules = ChainRules::local();
        let keys: Vec<_> = (0..ACCOUNTS).map(key).collect();
        let validator = key(ACCOUNTS);
        let million = Wei::from_coins(1_000_000);
        let mut genesis = GenesisBuilder::new(rules.chain_id.clone(), 0)
            .fund(validator.address(), Coins::theta(million.clone()))
            .stake(validator.address(), validator.address(), million);
        for key in &keys {
            genesis = genesis.fund(key.address(), Coins::new(Wei::from_coins(10), Wei::from_coins(10)));
        }
        let state = genesis.build().unwrap().state().clone();
        let mut nodes = MemoryNodes::default();
        nodes.insert_all(state.unsaved_nodes());
        let state = Trie::open(Arc::new(nodes), state.root()).unwrap();

        let senders = keys.iter().take(MAX_PROPOSED_TRANSACTIONS);
        let sends = senders.zip(keys.iter().rev()).map(|(from, to)| {
            let coins = Coins::tfuel(Wei::from(1u64));
            let fee = Coins::tfuel(Wei::from(FEE));
            let mut tx = SendTx {
                inputs: vec![TxInput::unsigned(from.address(), &coins + &fee, 1)],
                outputs: vec![TxOutput { address: to.address(), coins }],
                fee,
            };
            tx.sign(&rules.chain_id, from);
            Transaction::from(tx).encode()
        });
        let sends = sends.collect();
        let validators = ValidatorSet::new([theta_types::Validator {
            address: validator.address(),
            stake: Wei::from_coins(1_000_000),
        }]);
        Self { rules, validator, validators, state, sends }
    }

    fn block_rules(&self) -> BlockRules<'_> {
        BlockRules::after(&self.rules, Height(10))
    }
}

fn blocks(criterion: &mut Criterion) {
    let setting = Setting::new();
    let propose = || {
        let Setting { validators, state, validator, sends, .. } = &setting;
        propose_block(setting.block_rules(), validators, state, validator, sends.clone()).unwrap()
    };
    let proposed = propose();
    assert!(proposed.refused.is_empty());
    let mut block = Block::default();
    block.header.state_hash = proposed.state.root();
    block.transactions = proposed.transactions;

    let mut group = criterion.benchmark_group("block of 512 sends");
    group.throughput(Throughput::Elements(MAX_PROPOSED_TRANSACTIONS as u64));
    group.sample_size(20);
    group.bench_function("execute", |bencher| {
        bencher.iter(|| {
            execute_block(setting.block_rules(), &setting.validators, &setting.state, &block).unwrap()
        });
    });
    group.bench_function("propose", |bencher| bencher.iter(propose));
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
