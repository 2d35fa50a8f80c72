//! The vectors of spec 02 that concern what this version executes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use support::network::{FEE, Network, Payment, key, tfuel};
use support::vectors;
use theta_ledger::{BlockRules, Refusal, ResultCode, StateView, execute_block, fees};
use theta_state::{MemoryNodes, Trie};
use theta_types::rlp::Encode;
use theta_types::{
    Account, Address, B256, Block, ChainRules, Coins, Height, ReleaseFundTx, ReservedFund, ResourceId,
    SecretKey, SendTx, SplitRule, Transaction, TxInput, TxOutput, ValidatorSet, Wei,
};

/// Kinds that the tests of this crate go through.
const HERE: [&str; 10] = [
    "apply_block",
    "fees",
    "input_advanced",
    "mempool",
    "release_fund",
    "reserve_fund",
    "reserved_fund_release",
    "service_payment",
    "split_payment",
    "split_rule_delete_expired",
];

/// Kinds of other crates: keys, tries, chain ids, validator sets, proposers. `test_key` is used here, too.
const ELSEWHERE: [&str; 9] = [
    "chain_id",
    "een_weight",
    "genesis",
    "go_math_rand",
    "hash_stream",
    "majority",
    "storage_root",
    "test_key",
    "trie_root",
];

/// Kinds that wait for stakes, guardians, elite edge nodes and contracts. `vcp_order` alone is about sorting, and is tested here.
const LATER: [&str; 15] = [
    "deposit_stake_v2",
    "een_sampling_statistics",
    "een_vote_merge",
    "evm_code",
    "evm_create",
    "evm_tx_sequence",
    "intrinsic_gas",
    "memory_gas",
    "opcode_byte",
    "opcode_two_operand",
    "precompile",
    "reward_samples",
    "stake_ops",
    "validator_guardian_reward",
    "vcp_ops",
];

#[test]
fn every_kind_of_vector_is_accounted_for() {
    let listed: BTreeSet<_> =
        HERE.iter().chain(&ELSEWHERE).chain(&LATER).chain(&["vcp_order"]).copied().collect();
    let entries = vectors::all();
    let found: BTreeSet<_> = entries.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(found, listed);
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

fn wei(value: &Value, field: &str) -> Wei {
    text(value, field).parse().unwrap()
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Multiples of the smallest fee.
fn units(value: &Value) -> Coins {
    Coins::tfuel(Wei::from(FEE) * value.as_u64().unwrap())
}

fn address(name: &str) -> Address {
    vectors::test_key(name).address()
}

#[test]
fn five_sends_lead_to_the_recorded_root() {
    for vector in vectors::of_kind("apply_block") {
        let rules = ChainRules { chain_id: text(&vector, "chain_id").into(), ..ChainRules::mainnet() };
        let height = Height(number(&vector, "parent_height"));
        let mut state = Trie::empty(Arc::new(MemoryNodes::default()));
        for account in accounts(&vector["accounts_before"]) {
            state.insert(&theta_ledger::keys::account(&account.address), account.to_rlp()).unwrap();
        }
        assert_eq!(hex::encode(state.root()), text(&vector, "state_root_before"));

        let mut block = Block::default();
        block.header.state_hash =
            B256::from_slice(&hex::decode(text(&vector, "expected_state_root")).unwrap());
        for send in vector["sends"].as_array().unwrap() {
            let from = vectors::test_key(text(send, "from"));
            let fee = Coins::tfuel(wei(send, "fee_tfuelwei"));
            let coins = Coins::theta(wei(send, "thetawei"));
            let mut tx = SendTx {
                inputs: vec![TxInput::unsigned(from.address(), &coins + &fee, number(send, "sequence"))],
                outputs: vec![TxOutput { address: address(text(send, "to")), coins }],
                fee,
            };
            tx.sign(&rules.chain_id, &from);
            block.transactions.push(Transaction::from(tx).encode());
        }
        let rules = BlockRules::after(&rules, height);
        let executed = execute_block(rules, &ValidatorSet::default(), &state, &block).unwrap();
        let view = StateView::new(&executed.state, height.next());
        for expected in accounts(&vector["accounts_after"]) {
            assert_eq!(view.stored_account(&expected.address).unwrap().unwrap(), expected);
        }
    }
}

fn accounts(list: &Value) -> Vec<Account> {
    let account = |entry: &Value| Account {
        address: text(entry, "address").parse().unwrap(),
        sequence: number(entry, "sequence"),
        balance: Coins::new(wei(entry, "thetawei"), wei(entry, "tfuelwei")),
        reserved_funds: Vec::new(),
        last_updated_height: Height(number(entry, "last_updated_block_height")),
        storage_root: text(entry, "root").parse().unwrap(),
        code_hash: text(entry, "code_hash").parse().unwrap(),
    };
    list.as_array().unwrap().iter().map(account).collect()
}

#[test]
fn smallest_fees_follow_the_height() {
    let chain = ChainRules::mainnet();
    for vector in vectors::of_kind("fees") {
        for case in vector["cases"].as_array().unwrap() {
            let rules = BlockRules::after(&chain, Height(number(case, "height") - 1));
            assert_eq!(
                fees::minimum_send_fee(&rules, number(case, "accounts") as usize),
                wei(case, "send"),
                "{case}"
            );
            if case.get("regular").is_some() {
                assert_eq!(fees::minimum_fee(&rules), wei(case, "regular"), "{case}");
            }
        }
    }
}

#[test]
fn payments_are_shared_out_as_the_rule_says() {
    for vector in vectors::of_kind("split_payment") {
        let parties: BTreeMap<&str, SecretKey> =
            ["alice", "bob", "carol"].into_iter().map(|name| (name, key(name))).collect();
        let (payer, initiator) = (key("payer"), key("initiator"));
        let mut network = Network::with_accounts(&[
            (&payer, 1_000),
            (&initiator, 1_000),
            (&parties["alice"], 1_000),
            (&parties["bob"], 1_000),
            (&parties["carol"], 1_000),
        ]);
        let split =
            |split: &Value| (parties[split[0].as_str().unwrap()].address(), split[1].as_u64().unwrap());
        let splits: Vec<_> = vector["splits"].as_array().unwrap().iter().map(split).collect();
        network.accept(network.split(&initiator, "rid", &splits, 500));
        let full = Coins::tfuel(wei(&vector, "full_amount_tfuelwei"));
        network.accept(network.reserve(&payer, &full, &(&full + &tfuel(1)), "rid"));

        let before: BTreeMap<_, _> =
            parties.iter().map(|(name, party)| (*name, network.tfuel_of(party))).collect();
        let target = text(&vector, "target");
        let what = Payment { reserve: 1, sequence: 1, resource: "rid" };
        network.accept(network.payment(&payer, &parties[target], &full, what));
        for (name, part) in vector["expected"].as_object().unwrap() {
            let part: Wei = part.as_str().unwrap().parse().unwrap();
            let fee = Wei::from(if name == target { FEE } else { 0 });
            let after = network.tfuel_of(&parties[name.as_str()]);
            assert_eq!(after + fee, &before[name.as_str()] + &part, "{name}");
            // A payment moves nobody's sequence.
            assert_eq!(network.account(&parties[name.as_str()].address()).sequence, 0);
        }
        assert_eq!(network.account(&initiator.address()).sequence, 1);
    }
}

#[test]
fn payments_flow_and_expire_as_recorded() {
    for vector in vectors::of_kind("service_payment") {
        let parties: BTreeMap<&str, SecretKey> =
            ["alice", "bob", "carol"].into_iter().map(|name| (name, key(name))).collect();
        let mut network = Network::empty(ChainRules::privatenet(), Height(100));
        for (name, balance) in [("alice", 10_000u64), ("bob", 3_000), ("carol", 3_000)] {
            let balance = units(&balance.into());
            network.set_account(&Account { balance, ..Account::new(parties[name].address(), Height(0)) });
        }
        let reserve =
            network.reserve(&parties["alice"], &units(&1_000.into()), &units(&1_001.into()), "rid001");
        network.accept(reserve);

        if let Some(blocks) = vector.get("advance_blocks") {
            network.height = Height(network.height.0 + blocks.as_u64().unwrap());
            let what = Payment { reserve: 1, sequence: 1, resource: "rid001" };
            let late = network.payment(&parties["alice"], &parties["bob"], &units(&1.into()), what);
            let refusal = network.refuse(late);
            assert_eq!(u64::from(refusal.code().number()), number(&vector, "expected_code"));
            continue;
        }
        for payment in vector["payments"].as_array().unwrap() {
            let target = &parties[text(payment, "to")];
            let what = Payment { reserve: 1, sequence: number(payment, "payment_seq"), resource: "rid001" };
            let tx = network.payment(&parties["alice"], target, &units(&payment["amount"]), what);
            network.accept(tx);
            let reserved = network.account(&parties["alice"].address()).reserved_funds.remove(0);
            assert_eq!(reserved.used_fund, units(&payment["used_after"]), "{payment}");
            assert_eq!(
                Coins::tfuel(network.tfuel_of(target)),
                units(&payment["target_balance_after"]),
                "{payment}"
            );
        }
    }
}

#[test]
fn reservations_are_accepted_and_refused_as_recorded() {
    for vector in vectors::of_kind("reserve_fund") {
        for case in vector["cases"].as_array().unwrap() {
            let payer = key("payer");
            let mut network = Network::empty(ChainRules::privatenet(), Height(100));
            let balance = units(&vector["balance_fee_units"]);
            network.set_account(&Account { balance, ..Account::new(payer.address(), Height(0)) });
            let fund = if case["fund"].is_null() { Coins::zero() } else { units(&case["fund"]) };
            let mut tx = network.reserve(&payer, &fund, &units(&case["collateral"]), "rid");
            tx.duration = number(&vector, "duration");
            tx.sign(&network.rules.chain_id, &payer);
            let outcome = network.block(vec![tx.into()]).remove(0);
            let code = outcome.map_or(ResultCode::Ok, |refusal| refusal.code());
            assert_eq!(u64::from(code.number()), number(case, "code"), "{case}");
        }
    }
}

#[test]
fn a_release_never_succeeds() {
    for vector in vectors::of_kind("release_fund") {
        let reserve = &vector["reserve"];
        let payer = key("payer");
        let mut network = Network::empty(ChainRules::mainnet(), Height(number(reserve, "view_height")));
        let balance = Coins::tfuel(Wei::from_coins(10));
        network.set_account(&Account { balance, ..Account::new(payer.address(), Height(0)) });
        let (fund, collateral) =
            (Coins::tfuel(wei(reserve, "fund")), Coins::tfuel(wei(reserve, "collateral")));
        let mut tx = network.reserve(&payer, &fund, &collateral, "rid");
        tx.duration = number(reserve, "duration");
        tx.sign(&network.rules.chain_id, &payer);
        network.accept(tx);
        let end = Height(number(reserve, "view_height") + number(reserve, "duration"));

        let minimum = fees::minimum_fee(&BlockRules::after(&network.rules, network.height));
        let low = Coins::tfuel(minimum.checked_sub(&Wei::from(1u64)).unwrap());
        let enough = Coins::tfuel(minimum.clone());
        let theta = Coins::new(Wei::from(100u64), minimum);
        let cases = vector["cases"].as_array().unwrap();
        let late = number(reserve, "view_height") + 9_999;
        for (case, (fee, height, sequence)) in cases.iter().zip([
            (low, None, 1),
            (theta, None, 1),
            (enough.clone(), None, 1),
            (enough.clone(), Some(late), 99),
            (enough, Some(late), 1),
        ]) {
            if let Some(height) = height {
                network.height = Height(height);
            }
            let mut tx = ReleaseFundTx {
                fee,
                source: TxInput::unsigned(payer.address(), Coins::zero(), network.next_sequence(&payer)),
                reserve_sequence: sequence,
            };
            tx.sign(&network.rules.chain_id, &payer);
            let refusal = network.refuse(tx);
            assert_eq!(u64::from(refusal.code().number()), number(case, "code"), "{case}: {refusal}");
            if height.is_none() && refusal.code() == ResultCode::ReleaseFundCheckFailed {
                assert_eq!(refusal, Refusal::NotReleasable(Height(end.0 + 5)));
            }
        }
        assert_eq!(cases.len(), 5);
    }
}

#[test]
fn reserves_come_back_five_blocks_after_their_end() {
    for vector in vectors::of_kind("reserved_fund_release") {
        let owner = key("owner").address();
        let fund = |end: &Value| ReservedFund {
            collateral: tfuel(11),
            initial_fund: tfuel(10),
            used_fund: tfuel(3),
            resource_ids: vec![ResourceId::from("rid")],
            end_height: Height(end.as_u64().unwrap()),
            reserve_sequence: end.as_u64().unwrap(),
            transfer_records: Vec::new(),
        };
        let reserved_funds: Vec<_> = vector["end_heights"].as_array().unwrap().iter().map(fund).collect();
        let count = reserved_funds.len() as u64;
        let mut network = Network::empty(ChainRules::privatenet(), Height(0));
        network.set_account(&Account { reserved_funds, ..Account::new(owner, Height(0)) });
        for check in vector["checks"].as_array().unwrap() {
            let view = StateView::new(&network.state, Height(number(check, "height")));
            let account = view.account(&owner).unwrap().unwrap();
            let remaining = number(check, "remaining");
            assert_eq!(account.reserved_funds.len() as u64, remaining, "{check}");
            assert_eq!(account.balance, tfuel((count - remaining) * 18));
            // Nothing is stored until the account is.
            assert_eq!(view.stored_account(&owner).unwrap().unwrap().reserved_funds.len() as u64, count);
        }
    }
}

#[test]
fn ended_split_rules_are_cleared_away() {
    for vector in vectors::of_kind("split_rule_delete_expired") {
        let mut network = Network::empty(ChainRules::privatenet(), Height(0));
        let rules = vector["rules"].as_object().unwrap();
        for (resource, end) in rules {
            let rule = SplitRule {
                initiator_address: Address::repeat_byte(1),
                resource_id: ResourceId::from(resource.as_str()),
                splits: Vec::new(),
                end_height: Height(end.as_u64().unwrap()),
            };
            let key = theta_ledger::keys::split_rule(&rule.resource_id);
            network.state.insert(&key, rule.to_rlp()).unwrap();
        }
        for check in vector["checks"].as_array().unwrap() {
            let mut view = StateView::new(&network.state, Height(number(check, "delete_expired_at")));
            view.delete_ended_split_rules().unwrap();
            let left = rules
                .keys()
                .filter(|resource| view.split_rule(&ResourceId::from(resource.as_str())).unwrap().is_some());
            let expected =
                check["left"].as_array().unwrap().iter().map(|resource| resource.as_str().unwrap());
            assert_eq!(
                left.collect::<BTreeSet<_>>(),
                expected.map(String::from).collect::<Vec<_>>().iter().collect()
            );
        }
    }
}

#[test]
fn inputs_are_checked_for_sequence_balance_and_signature() {
    let (sender, receiver) = (key("sender"), key("receiver"));
    for vector in vectors::of_kind("input_advanced") {
        for case in vector["cases"].as_array().unwrap() {
            let mut network = Network::with_accounts(&[(&sender, 10)]);
            let mut tx = network.send(&sender, receiver.address(), &tfuel(1));
            match text(case, "what") {
                "unsigned" => tx.inputs[0].signature = theta_types::Signature::empty(),
                "signed, sequence account+1" => {}
                "account sequence 1, tx sequence 1" => {
                    network.accept(network.send(&sender, receiver.address(), &tfuel(2)));
                }
                "balance 2 ThetaWei, larger input" => {
                    let account = network.account(&sender.address());
                    let balance = Coins::new(Wei::from(2u64), account.balance.tfuel.clone());
                    network.set_account(&Account { balance, ..account });
                    tx = network.send(&sender, receiver.address(), &Coins::theta(Wei::from(3u64)));
                }
                other => panic!("unknown case {other}"),
            }
            let outcome = network.block(vec![tx.into()]).remove(0);
            match (case["result"].as_str(), case["code"].as_u64()) {
                (Some("ok"), _) => assert_eq!(outcome, None),
                (Some("error"), _) => assert!(outcome.is_some()),
                (_, Some(code)) => assert_eq!(u64::from(outcome.unwrap().code().number()), code, "{case}"),
                _ => panic!("{case}"),
            }
        }
    }
}

#[test]
fn candidates_are_sorted_by_stake_and_checksummed_address() {
    use theta_types::{Stake, StakeHolder, ValidatorCandidatePool};

    for vector in vectors::of_kind("vcp_order") {
        let mut pool = ValidatorCandidatePool::default();
        let mut deposit = |source: &str, holder: &str, amount: Wei| {
            let stake = Stake::new(source.parse().unwrap(), amount);
            pool.sorted_candidates.push(StakeHolder { holder: holder.parse().unwrap(), stakes: vec![stake] });
        };
        let expected = if let Some(deposits) = vector["deposits"].as_array() {
            for entry in deposits {
                deposit(text(entry, "source"), text(entry, "holder"), wei(entry, "amount"));
            }
            &vector["expected_holders"]
        } else {
            for holder in vector["equal_stake_holders"].as_array().unwrap() {
                deposit(holder.as_str().unwrap(), holder.as_str().unwrap(), Wei::from_coins(1));
            }
            &vector["expected_holders_checksummed"]
        };
        pool.sort();
        let holders: Vec<_> = pool.sorted_candidates.iter().map(|candidate| candidate.holder).collect();
        let expected: Vec<Address> = expected
            .as_array()
            .unwrap()
            .iter()
            .map(|holder| holder.as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(holders, expected);
    }
}
