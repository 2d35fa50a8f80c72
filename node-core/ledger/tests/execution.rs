//! Sends, coinbases, rewards and the end of blocks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::network::{FEE, Network, fee, key, tfuel, whole};
use theta_ledger::{
    BlockExecutor, BlockRules, ExecuteError, LedgerError, Refusal, ResultCode, StateView, propose_block,
    rewards,
};
use theta_types::rlp::Encode;
use theta_types::{
    Account, Address, B256, ChainRules, CoinbaseTx, Coins, Height, SendTx, SignWrapper, Stake, StakeHolder,
    Transaction, TxInput, TxKind, TxOutput, ValidatorCandidatePool, Wei,
};

fn coinbase(network: &Network, outputs: Vec<TxOutput>) -> CoinbaseTx {
    let mut tx = CoinbaseTx {
        proposer: TxInput::unsigned(network.validator.address(), Coins::zero(), 0),
        outputs,
        block_height: network.height,
    };
    tx.sign(&network.rules.chain_id, &network.validator);
    tx
}

/// How one raw transaction fares as the first of a block.
fn outcome(network: &Network, transaction: impl Into<Transaction>) -> Option<Refusal> {
    let rules = BlockRules::after(&network.rules, network.height);
    let validators = network.validators();
    let mut executor = BlockExecutor::new(rules, &validators, &network.state).unwrap();
    match executor.execute(&transaction.into().encode()) {
        Ok(_) => None,
        Err(ExecuteError::Refused(refusal)) => Some(refusal),
        Err(ExecuteError::Ledger(error)) => panic!("{error}"),
    }
}

#[test]
fn a_send_moves_coins_and_burns_the_fee() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut network = Network::with_accounts(&[(&alice, 10)]);
    network.accept(network.send(&alice, bob.address(), &whole(3)));
    let (alice, bob) = (network.account(&alice.address()), network.account(&bob.address()));
    assert_eq!(alice.balance.tfuel + Wei::from(FEE), Wei::from_coins(7));
    assert_eq!(alice.sequence, 1);
    assert_eq!(bob.balance, whole(3));
    // A new account remembers the parent's height.
    assert_eq!((bob.sequence, bob.last_updated_height), (0, Height(110)));
}

#[test]
fn sends_of_one_block_see_each_other() {
    let (alice, bob, carol) = (key("alice"), key("bob"), key("carol"));
    let mut network = Network::with_accounts(&[(&alice, 10)]);
    let first = network.send(&alice, bob.address(), &whole(5));
    let mut second = SendTx {
        fee: fee(),
        inputs: vec![TxInput::unsigned(bob.address(), whole(1) + fee(), 1)],
        outputs: vec![TxOutput { address: carol.address(), coins: whole(1) }],
    };
    second.sign(&network.rules.chain_id, &bob);
    assert_eq!(network.block(vec![first.into(), second.into()]), [None, None]);
    assert_eq!(network.account(&carol.address()).balance, whole(1));
}

#[test]
fn both_wrappers_of_sign_bytes_count_from_their_fork_on() {
    let (alice, bob) = (key("alice"), key("bob"));
    for (wrapper_fork, accepted) in [(111, true), (112, false)] {
        let mut network = Network::with_accounts(&[(&alice, 10)]);
        network.rules.forks.tx_wrapper_extension = Height(wrapper_fork);
        let mut tx = network.send(&alice, bob.address(), &whole(3));
        tx.inputs[0].signature = alice.sign(&tx.sign_bytes(&network.rules.chain_id, SignWrapper::V2));
        let outcome = network.block(vec![tx.into()]).remove(0);
        assert_eq!(outcome.is_none(), accepted, "{outcome:?}");
    }
}

#[test]
fn sends_are_refused_for_the_first_rule_that_they_break() {
    let (alice, bob, carol) = (key("alice"), key("bob"), key("carol"));
    let contract = key("contract");
    let mut network = Network::with_accounts(&[(&alice, 10), (&bob, 10), (&contract, 10)]);
    let code_hash = B256::repeat_byte(0xde);
    network.set_account(&Account { code_hash, ..network.account(&contract.address()) });
    let chain_id = network.rules.chain_id.clone();
    let good = network.send(&alice, carol.address(), &whole(3));

    let mut nobody = good.clone();
    nobody.inputs.clear();
    assert_eq!(network.refuse(nobody), Refusal::NoInputOrOutput);

    let mut twice = good.clone();
    twice.inputs.push(twice.inputs[0].clone());
    assert_eq!(network.refuse(twice), Refusal::DuplicateInput(alice.address()));

    let mut to_itself = good.clone();
    to_itself.outputs[0].address = alice.address();
    let refusal = network.refuse(to_itself);
    assert_eq!(refusal.to_string(), format!("getOrMakeOutputs - Duplicated address: {}", alice.address()));

    let mut unknown = good.clone();
    unknown.inputs[0].address = carol.address();
    unknown.outputs[0].address = alice.address();
    assert_eq!(network.refuse(unknown), Refusal::UnknownAddress(carol.address()));

    let mut to_contract = good.clone();
    to_contract.outputs[0].address = contract.address();
    to_contract.sign(&chain_id, &alice);
    assert_eq!(network.refuse(to_contract), Refusal::Contract(contract.address()));
    let from_contract = network.send(&contract, carol.address(), &whole(1));
    assert_eq!(network.refuse(from_contract), Refusal::Contract(contract.address()));

    let mut too_many = good.clone();
    too_many.outputs = (0..512u16)
        .map(|n| TxOutput { address: Address::left_padding_from(&n.to_be_bytes()), coins: tfuel(1) })
        .collect();
    assert_eq!(network.refuse(too_many), Refusal::TooManyAccounts(513));

    let mut gap = good.clone();
    gap.inputs[0].sequence = 3;
    gap.sign(&chain_id, &alice);
    let refusal = network.refuse(gap);
    assert_eq!(refusal.to_string(), "ValidateInputAdvanced: Got 3, expected 1. (acc.seq=0)");
    assert_eq!(refusal.code(), ResultCode::InvalidSequence);

    let refusal = network.refuse(network.send(&alice, carol.address(), &whole(10)));
    assert_eq!(
        refusal.to_string(),
        "Insufficient fund: balance is 10000000000000000000 ThetaWei, 10000000000000000000 TFuelWei, tried to send \
         0 ThetaWei, 10300000000000000000 TFuelWei"
    );

    let mut forged = good.clone();
    forged.inputs[0].signature = bob.sign(&forged.sign_bytes(&chain_id, SignWrapper::V1));
    assert!(matches!(network.refuse(forged), Refusal::Signature { code: ResultCode::InvalidSignature, .. }));

    let mut cheap = good.clone();
    cheap.fee = tfuel(FEE - 1);
    cheap.sign(&chain_id, &alice);
    let refusal = network.refuse(cheap);
    assert_eq!(
        refusal.to_string(),
        "Insufficient fee. Transaction fee needs to be at least 300000000000000000 TFuelWei"
    );

    let mut unbalanced = good.clone();
    unbalanced.outputs[0].coins = whole(2);
    unbalanced.sign(&chain_id, &alice);
    assert!(matches!(network.refuse(unbalanced), Refusal::Unbalanced { .. }));

    network.accept(good);
}

#[test]
fn kinds_to_come_are_refused_by_name() {
    let network = Network::with_accounts(&[]);
    let rules = BlockRules::after(&network.rules, network.height);
    let validators = network.validators();
    let mut executor = BlockExecutor::new(rules, &validators, &network.state).unwrap();
    for (number, expected) in [
        (1u8, "Unknown tx type"),
        (7, "SmartContractTx transactions are not supported by this version of Thetis"),
        (8, "DepositStakeTx transactions are not supported by this version of Thetis"),
        (9, "WithdrawStakeTx transactions are not supported by this version of Thetis"),
        (10, "DepositStakeTxV2 transactions are not supported by this version of Thetis"),
        (11, "StakeRewardDistributionTx transactions are not supported by this version of Thetis"),
        (12, "Error decoding tx: Unknown TX type: 12"),
    ] {
        let refusal = executor.execute(&[number, 0xc0]).unwrap_err();
        assert_eq!(refusal.to_string(), expected, "{:?}", TxKind::from_number(number.into()));
    }
}

#[test]
fn a_trailing_byte_is_ignored_but_part_of_the_transaction() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut network = Network::with_accounts(&[(&alice, 10)]);
    let mut raw = Transaction::from(network.send(&alice, bob.address(), &whole(3))).encode();
    raw.push(0xff);
    assert_eq!(network.raw_block(vec![raw]), [None]);
    assert_eq!(network.account(&bob.address()).balance, whole(3));
}

#[test]
fn a_checkpoint_pays_the_sources_of_the_stakes() {
    let mut network = Network::empty(ChainRules::privatenet(), Height(199));
    let (first, second) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let mut withdrawn = Stake::new(second, Wei::from_coins(9_000_000));
    (withdrawn.withdrawn, withdrawn.return_height) = (true, Height(100_000));
    let stakes =
        vec![Stake::new(first, Wei::from_coins(1_000_000)), Stake::new(second, Wei::from_coins(2_000_000))];
    let pool = ValidatorCandidatePool {
        sorted_candidates: vec![
            StakeHolder { holder: network.validator.address(), stakes },
            StakeHolder { holder: second, stakes: vec![withdrawn, Stake::new(first, Wei::from_coins(1))] },
        ],
    };
    network.state.insert(b"ls/vcp", pool.to_rlp()).unwrap();

    // 200 is no checkpoint, 201 is.
    network.block(Vec::new());
    assert_eq!(network.view().stored_account(&first).unwrap(), None);
    network.block(Vec::new());
    let reward = |thetas: u64| Wei::from(Wei::from_coins(4_800).as_biguint() * thetas / 3_000_001u64);
    assert_eq!(network.account(&first).balance, Coins::tfuel(reward(1_000_001)));
    assert_eq!(network.account(&second).balance, Coins::tfuel(reward(2_000_000)));
    assert_eq!(network.account(&first).last_updated_height, Height(200));
}

#[test]
fn before_validators_earn_every_coinbase_lists_them_with_nothing() {
    let network = Network::empty(ChainRules::mainnet(), Height(100));
    let rules = BlockRules::after(&network.rules, network.height);
    let rewards = rewards(&rules, &network.validators(), &network.view()).unwrap();
    assert_eq!(rewards, [(network.validator.address(), Wei::zero())].into());
}

#[test]
fn a_coinbase_that_breaks_a_rule_is_refused() {
    let network = Network::with_accounts(&[]);
    let chain_id = &network.rules.chain_id;
    assert_eq!(outcome(&network, coinbase(&network, Vec::new())), None);

    let mut stranger = coinbase(&network, Vec::new());
    stranger.proposer.address = key("stranger").address();
    stranger.sign(chain_id, &key("stranger"));
    assert_eq!(outcome(&network, stranger), Some(Refusal::NotAValidator(key("stranger").address())));

    let mut forged = coinbase(&network, Vec::new());
    forged.sign(chain_id, &key("stranger"));
    assert!(matches!(
        outcome(&network, forged),
        Some(Refusal::Signature { code: ResultCode::GenericError, .. })
    ));

    let mut own_height = coinbase(&network, Vec::new());
    own_height.block_height = network.height.next();
    own_height.sign(chain_id, &network.validator);
    let expected = Refusal::CoinbaseHeight { got: network.height.next(), expected: network.height };
    assert_eq!(outcome(&network, own_height), Some(expected));

    // Block 201 is a checkpoint.
    let output = |coins| TxOutput { address: network.validator.address(), coins };
    let generous = coinbase(&network, vec![output(whole(4_801))]);
    let at_200 = Network::empty(ChainRules::privatenet(), Height(200));
    let right = coinbase(&at_200, vec![output(whole(4_800))]);
    assert_eq!(outcome(&at_200, right.clone()), None);
    assert_eq!(outcome(&network, generous), Some(Refusal::CoinbaseOutputs { outputs: 1, rewards: 0 }));
    let generous = coinbase(&at_200, vec![output(whole(4_801))]);
    assert!(matches!(outcome(&at_200, generous), Some(Refusal::CoinbaseReward { .. })));
    let stingy = coinbase(&at_200, Vec::new());
    assert_eq!(outcome(&at_200, stingy), Some(Refusal::CoinbaseOutputs { outputs: 0, rewards: 1 }));
    let doubled = coinbase(&at_200, vec![output(whole(2_400)), output(whole(2_400))]);
    assert_eq!(outcome(&at_200, doubled), Some(Refusal::DuplicateOutput(network.validator.address())));

    let rules = BlockRules::after(&at_200.rules, at_200.height);
    let validators = at_200.validators();
    let mut executor = BlockExecutor::new(rules, &validators, &at_200.state).unwrap();
    let right = Transaction::from(right).encode();
    executor.execute(&right).unwrap();
    let second = executor.execute(&right);
    assert!(matches!(second, Err(ExecuteError::Refused(Refusal::SecondCoinbase))), "{second:?}");
}

#[test]
fn withdrawn_stakes_return_and_the_candidates_are_sorted_at_every_end_of_block() {
    let mut network = Network::empty(ChainRules::privatenet(), Height(100));
    let source = key("source");
    let account = Account { balance: whole(1), ..Account::new(source.address(), Height(0)) };
    network.set_account(&account);
    let mut returning = Stake::new(source.address(), Wei::from_coins(500));
    (returning.withdrawn, returning.return_height) = (true, Height(102));
    let gone = Address::repeat_byte(0xee);
    let pool = ValidatorCandidatePool {
        // The wrong way round: the one without stake comes first.
        sorted_candidates: vec![
            StakeHolder { holder: gone, stakes: vec![returning] },
            StakeHolder {
                holder: network.validator.address(),
                stakes: vec![Stake::new(network.validator.address(), Wei::from_coins(2_000_000))],
            },
        ],
    };
    network.state.insert(b"ls/vcp", pool.to_rlp()).unwrap();

    for (height, candidates) in [(101, 2), (102, 2), (103, 1)] {
        network.block(Vec::new());
        assert_eq!(network.height, Height(height));
        let pool = network.view().validator_candidates().unwrap().unwrap();
        assert_eq!(pool.sorted_candidates.len(), candidates, "after block {height}");
        assert_eq!(pool.sorted_candidates[0].holder, network.validator.address());
    }
    let returned = network.account(&source.address());
    assert_eq!(returned.balance, whole(1) + Coins::theta(Wei::from_coins(500)));
}

#[test]
fn a_state_with_guardians_or_edge_nodes_is_not_followed() {
    for (state_key, pool) in [
        (&b"ls/gcp"[..], "guardian pool"),
        (b"ls/eentas", "pool of elite edge nodes"),
        (b"ls/een/12345678901234567890", "pool of elite edge nodes"),
        (b"ls/eensrk/300", "pool of elite edge nodes"),
    ] {
        let mut network = Network::with_accounts(&[]);
        network.state.insert(state_key, vec![0xc1, 0xc0]).unwrap();
        let rules = BlockRules::after(&network.rules, network.height);
        let validators = network.validators();
        let result = propose_block(rules, &validators, &network.state, &network.validator, Vec::new());
        assert!(matches!(result, Err(LedgerError::UnsupportedPool(named)) if named == pool), "{result:?}");
    }
}

#[test]
fn a_proposer_takes_no_more_than_its_share() {
    let alice = key("alice");
    let mut network = Network::with_accounts(&[(&alice, 1_000)]);
    let mut sends = Vec::new();
    for sequence in 1..=520u64 {
        let mut tx = network.send(&alice, key("bob").address(), &tfuel(1));
        tx.inputs[0].sequence = sequence;
        tx.sign(&network.rules.chain_id, &alice);
        sends.push(Transaction::from(tx).encode());
    }
    let rules = BlockRules::after(&network.rules, network.height);
    let validators = network.validators();
    let proposed = propose_block(rules, &validators, &network.state, &network.validator, sends).unwrap();
    assert_eq!(proposed.transactions.len(), 1 + theta_ledger::MAX_PROPOSED_TRANSACTIONS);
    let view = StateView::new(&proposed.state, network.height.next());
    assert_eq!(view.account(&alice.address()).unwrap().unwrap().sequence, 512);
    network.state = proposed.state;
}
