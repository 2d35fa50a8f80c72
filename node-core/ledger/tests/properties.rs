//! What holds whatever is thrown at the ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use support::network::{Network, Payment, key, tfuel};
use theta_ledger::{BlockExecutor, BlockRules, Mempool, MempoolLimits};
use theta_types::{Coins, SecretKey, Transaction, Wei};

fn people() -> Vec<SecretKey> {
    ["ann", "ben", "cleo", "dan"].into_iter().map(key).collect()
}

const RESOURCES: [&str; 3] = ["r0", "r1", "r2"];

/// What somebody tries; much of it is refused.
#[derive(Debug, Clone)]
enum Attempt {
    Send { from: usize, to: usize, wei: u64 },
    Reserve { payer: usize, fund: u64, collateral: u64, resource: usize },
    Rule { initiator: usize, resource: usize, splits: Vec<(usize, u64)>, duration: u64 },
    Pay { payer: usize, target: usize, wei: u64, reserve: u64, sequence: u64, resource: usize },
    Again { nth: usize },
    Wait { blocks: u64 },
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let who = 0..4usize;
    let wei = 0..4_000_000_000_000_000_000u64;
    prop_oneof![
        3 => (who.clone(), who.clone(), wei.clone()).prop_map(|(from, to, wei)| Attempt::Send { from, to, wei }),
        3 => (who.clone(), wei.clone(), wei.clone(), 0..3usize).prop_map(|(payer, fund, more, resource)| {
            Attempt::Reserve { payer, fund, collateral: fund.saturating_add(more), resource }
        }),
        2 => (who.clone(), 0..3usize, prop::collection::vec((who.clone(), 0..60u64), 0..3), 0..20u64)
            .prop_map(|(initiator, resource, splits, duration)| Attempt::Rule { initiator, resource, splits, duration }),
        5 => (who.clone(), who, wei, 1..4u64, 0..5u64, 0..3usize).prop_map(
            |(payer, target, wei, reserve, sequence, resource)| {
                Attempt::Pay { payer, target, wei, reserve, sequence, resource }
            }
        ),
        1 => (0..20usize).prop_map(|nth| Attempt::Again { nth }),
        1 => (1..400u64).prop_map(|blocks| Attempt::Wait { blocks }),
    ]
}

fn transaction(network: &Network, people: &[SecretKey], attempt: &Attempt) -> Option<Transaction> {
    Some(match attempt {
        Attempt::Send { from, to, wei } => {
            network.send(&people[*from], people[*to].address(), &tfuel(*wei)).into()
        }
        Attempt::Reserve { payer, fund, collateral, resource } => {
            network.reserve(&people[*payer], &tfuel(*fund), &tfuel(*collateral), RESOURCES[*resource]).into()
        }
        Attempt::Rule { initiator, resource, splits, duration } => {
            let splits: Vec<_> = splits.iter().map(|(who, part)| (people[*who].address(), *part)).collect();
            network.split(&people[*initiator], RESOURCES[*resource], &splits, *duration).into()
        }
        Attempt::Pay { payer, target, wei, reserve, sequence, resource } => {
            let what = Payment { reserve: *reserve, sequence: *sequence, resource: RESOURCES[*resource] };
            network.payment(&people[*payer], &people[*target], &tfuel(*wei), what).into()
        }
        Attempt::Again { .. } | Attempt::Wait { .. } => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Balances, reserves and collaterals together change by what the coinbase mints less the fees, wei for wei. Blocks are proposed and
    /// verified on the way, and refused transactions leave no trace.
    #[test]
    fn coins_change_by_coinbase_less_fees(attempts in prop::collection::vec(attempt(), 1..40)) {
        let people = people();
        let mut network =
            Network::with_accounts(&people.iter().map(|person| (person, 20)).collect::<Vec<_>>());
        let mut tried = Vec::new();
        for attempt in attempts {
            if let Attempt::Wait { blocks } = attempt {
                // Heights only matter as numbers; nothing is minted between checkpoints.
                network.height = theta_types::Height(network.height.0 + blocks);
                continue;
            }
            let tx = match (&attempt, transaction(&network, &people, &attempt)) {
                (_, Some(tx)) => tx,
                (Attempt::Again { nth }, None) => match tried.get(*nth) {
                    Some(tx) => Transaction::clone(tx),
                    None => continue,
                },
                _ => continue,
            };
            tried.push(tx.clone());
            let before = network.total();
            let root = network.state.root();
            let minted = if network.height.next().is_checkpoint() { Wei::from_coins(4_800) } else { Wei::zero() };
            let refused = network.block(vec![tx.clone()]).remove(0).is_some();
            let burnt = if refused { Coins::zero() } else { tx.fee().cloned().unwrap_or_default() };
            prop_assert_eq!(network.total() + burnt, before + Coins::tfuel(minted.clone()));
            if refused && minted.is_zero() {
                prop_assert_eq!(network.state.root(), root);
            }
        }
    }

    /// Bytes from anywhere are refused or executed, and nothing else.
    #[test]
    fn arbitrary_bytes_never_panic(
        head in 0..14u8,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let network = Network::with_accounts(&[]);
        let rules = BlockRules::after(&network.rules, network.height);
        let validators = network.validators();
        let mut executor = BlockExecutor::new(rules, &validators, &network.state).unwrap();
        let mut mempool = Mempool::new(MempoolLimits::default());
        for raw in [bytes.clone(), [&[head][..], &bytes].concat()] {
            prop_assert!(executor.execute(&raw).is_err());
            prop_assert!(mempool.insert(&rules, &network.state, raw, std::time::Instant::now()).is_err());
        }
    }

    /// Real transactions with damaged bytes are refused, or are what they were.
    #[test]
    fn damaged_transactions_never_panic_nor_create_coins(
        which in 0..4usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let people = people();
        let mut network =
            Network::with_accounts(&people.iter().map(|person| (person, 20)).collect::<Vec<_>>());
        network.accept(network.reserve(&people[0], &tfuel(5), &tfuel(6), "r0"));
        let attempt = [
            Attempt::Send { from: 1, to: 2, wei: 5 },
            Attempt::Reserve { payer: 1, fund: 5, collateral: 6, resource: 0 },
            Attempt::Rule { initiator: 1, resource: 0, splits: vec![(1, 5)], duration: 5 },
            Attempt::Pay { payer: 0, target: 1, wei: 3, reserve: 1, sequence: 1, resource: 0 },
        ];
        let raw = transaction(&network, &people, &attempt[which]).unwrap().encode();
        let mut damaged = raw.clone();
        for (at, byte) in damage {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        let cut = raw[..cut.index(raw.len())].to_vec();
        let before = network.total();
        for raw in [damaged, cut] {
            network.raw_block(vec![raw]);
        }
        let after = network.total();
        prop_assert!(before.tfuel >= after.tfuel);
        prop_assert_eq!(before.theta, after.theta);
    }
}
