//! What reference nodes refused is refused here, in the same words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::recorded::{self, RecordedRefusal};
use theta_ledger::{
    BlockRules, LedgerError, Mempool, MempoolError, MempoolLimits, Refusal, ResultCode, StateView,
    execute_block, keys,
};
use theta_state::Trie;
use theta_types::rlp::Encode;
use theta_types::{ChainRules, Height, Transaction, TxHash, TxInput};

fn state_at(folder: &Path, rules: &ChainRules, height: u64) -> Trie {
    let mut state = recorded::genesis_state(folder);
    for block in recorded::blocks(folder, rules).take_while(|block| block.block.header.height.0 <= height) {
        recorded::apply(&mut state, &block.changes);
    }
    state
}

#[test]
fn a_foreign_rule_for_the_providers_resource_is_refused() {
    let folder = recorded::folder("money");
    let rules = recorded::rules(&folder, "privatenet");
    let refused = recorded::refusals(&folder).into_iter().find(|refused| refused.kind == "split").unwrap();
    let state = state_at(&folder, &rules, refused.height);
    let mut mempool = Mempool::new(MempoolLimits::default());
    let rules = BlockRules::after(&rules, Height(refused.height));
    let error = mempool.insert(&rules, &state, refused.raw(), Instant::now()).unwrap_err();
    assert_eq!(error.to_string(), refused.words());
    let MempoolError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.code(), ResultCode::UnauthorizedToUpdateSplitRule);
}

#[test]
fn a_settled_voucher_is_refused_as_seen_and_after_a_minute_by_its_sequence() {
    let folder = recorded::folder("money");
    let rules = recorded::rules(&folder, "privatenet");
    let refused = recorded::refusals(&folder).into_iter().find(|refused| refused.kind == "pay").unwrap();
    let raw = refused.raw();
    let mut blocks = recorded::blocks(&folder, &rules);
    let settled = blocks.find(|block| block.block.transactions.contains(&raw)).unwrap();
    let parent = Height(settled.block.header.height.0 - 1);
    let mut state = state_at(&folder, &rules, parent.0);

    let now = Instant::now();
    let mut mempool = Mempool::new(MempoolLimits::default());
    mempool.insert(&BlockRules::after(&rules, parent), &state, raw.clone(), now).unwrap();
    recorded::apply(&mut state, &settled.changes);
    let rules = BlockRules::after(&rules, settled.block.header.height);
    mempool.after_block(&rules, &state, &settled.block.transactions, now).unwrap();
    assert!(mempool.is_empty());

    let error = mempool.insert(&rules, &state, raw.clone(), now + Duration::from_secs(59)).unwrap_err();
    assert_eq!(error.to_string(), refused.words());
    let error = mempool.insert(&rules, &state, raw, now + Duration::from_secs(61)).unwrap_err();
    assert!(matches!(error, MempoolError::Refused(Refusal::PaymentSequence { got: 1, last: 1 })), "{error}");
}

/// Errors that depend on nothing but the transaction and settled state.
fn state_alone_decides(words: &str) -> bool {
    const PREFIXES: [&str; 6] = [
        UNDECODABLE,
        "getOrMakeOutputs - Duplicated address: ",
        "Insufficient fee. ",
        "Signature verification failed, ",
        "Input total (",
        "Source and target address for the service payment cannot be identical: ",
    ];
    PREFIXES.iter().any(|prefix| words.starts_with(prefix))
}

fn admit(rules: &BlockRules<'_>, state: &Trie, raw: &[u8]) -> Result<TxHash, MempoolError> {
    Mempool::new(MempoolLimits::default()).insert(rules, state, raw.to_vec(), Instant::now())
}

/// The state with the sequences that a transaction expects of its senders.
fn with_sequences_of(raw: &[u8], state: &Trie, height: Height) -> Trie {
    let inputs: Vec<TxInput> = match Transaction::decode(raw).unwrap() {
        Transaction::Coinbase(tx) => vec![tx.proposer],
        Transaction::Send(tx) => tx.inputs,
        Transaction::ReserveFund(tx) => vec![tx.source],
        Transaction::ReleaseFund(tx) => vec![tx.source],
        Transaction::ServicePayment(_) => Vec::new(),
        Transaction::SplitRule(tx) => vec![tx.initiator],
    };
    let mut changed = state.clone();
    for input in inputs {
        let mut account = StateView::new(state, height).stored_account(&input.address).unwrap().unwrap();
        account.sequence = input.sequence.wrapping_sub(1);
        changed.insert(&keys::account(&input.address), account.to_rlp()).unwrap();
    }
    changed
}

/// The words that a recorded refusal meets here on one state.
fn words_here(refused: &RecordedRefusal, rules: &BlockRules<'_>, state: &Trie) -> String {
    let raw = refused.raw();
    let mut found = admit(rules, state, &raw);
    if let Err(MempoolError::Refused(Refusal::Sequence { .. })) = found
        && !refused.words().starts_with("ValidateInputAdvanced")
    {
        // Earlier transactions of the same senders were pending. The sequences were right, then.
        found = admit(rules, &with_sequences_of(&raw, state, rules.parent_height()), &raw);
    }
    match found {
        Ok(hash) => format!("accepted as {hash}"),
        // The words of decoders differ.
        Err(MempoolError::Refused(Refusal::Undecodable(_))) if refused.words().starts_with(UNDECODABLE) => {
            refused.words().to_owned()
        }
        Err(error) => error.to_string(),
    }
}

const UNDECODABLE: &str = "Error decoding tx: ";

/// The recorded height is that of the last finalized block; the node was some blocks further.
const BLOCKS_NOT_FINAL: u64 = 4;

/// Goes through a recorded chain; whatever was refused of the kinds that this version executes is refused here as well.
fn compare_refusals(chain: &str, chain_id: &str) {
    let Some(folder) = recorded::shared_folder(chain) else { return };
    let rules = recorded::rules(&folder, chain_id);
    let (mut open, out_of_reach): (Vec<_>, Vec<_>) =
        // Transactions in Ethereum's form and kinds to come are out of reach.
        recorded::refusals(&folder).into_iter().partition(|refused| matches!(refused.raw().first(), Some(2..=6)));
    let total = open.len();
    let mut state = recorded::genesis_state(&folder);
    let mut pending = 0;
    let mut words = String::new();
    for block in recorded::blocks(&folder, &rules) {
        recorded::apply(&mut state, &block.changes);
        let height = block.block.header.height;
        let rules = BlockRules::after(&rules, height);
        open.retain(|refused| {
            if height.0 < refused.height {
                return true;
            }
            words = words_here(refused, &rules, &state);
            if words == refused.words() {
                return false;
            }
            let last = height.0 == refused.height + BLOCKS_NOT_FINAL;
            if last {
                let kind = &refused.kind;
                assert!(
                    !state_alone_decides(refused.words()),
                    "{kind} at {height}: {words}, recorded {}",
                    refused.words()
                );
                pending += 1;
            }
            !last
        });
    }
    let (open, out_of_reach) = (open.len(), out_of_reach.len());
    println!(
        "{chain}: {} of {total} in the same words, {pending} depended on pending transactions, {open} came at the end, \
         {out_of_reach} of kinds to come",
        total - pending - open
    );
    assert!(pending + open < total / 3);
}

#[test]
fn refusals_of_the_privatenet_recording_have_the_same_words() {
    compare_refusals("privatenet", "privatenet");
}

#[test]
fn refusals_of_the_staggered_recording_have_the_same_words() {
    compare_refusals("staggered", "testnet");
}

#[test]
fn a_block_with_a_refused_transaction_is_invalid_and_says_which() {
    let folder = recorded::folder("money");
    let rules = recorded::rules(&folder, "privatenet");
    let state = recorded::genesis_state(&folder);
    let mut validators = recorded::Validators::default();
    let mut blocks = recorded::blocks(&folder, &rules);
    let genesis = blocks.next().unwrap();
    validators.note(&genesis, &state);
    let mut first = blocks.next().unwrap();
    let refused = recorded::refusals(&folder).into_iter().find(|refused| refused.kind == "pay").unwrap();
    first.block.transactions.push(refused.raw());
    let result = execute_block(
        BlockRules::after(&rules, Height(0)),
        validators.after(&genesis.hash),
        &state,
        &first.block,
    );
    match result {
        Err(LedgerError::InvalidTransaction { index: 1, refusal }) => {
            assert!(Transaction::decode(&refused.raw()).is_ok(), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
}
