//! Whole blocks: executing one that somebody made, and choosing the transactions of one's own.

use theta_state::Trie;
use theta_types::{
    Block, CoinbaseTx, Coins, SecretKey, Transaction, TxHash, TxInput, TxOutput, ValidatorSet,
};

use crate::block_rules::BlockRules;
use crate::error::{ExecuteError, LedgerError};
use crate::executor::BlockExecutor;
use crate::refusal::Refusal;
use crate::rewards::rewards;
use crate::view::StateChanges;

/// Regular transactions that a proposer takes into a block. Others' blocks are not held to it (spec 02 section 3.1).
pub const MAX_PROPOSED_TRANSACTIONS: usize = 512;

/// Bytes of regular transactions that a proposer takes into a block. A rule of this implementation: the chain has none.
pub const MAX_PROPOSED_BYTES: usize = 4 * 1024 * 1024;

/// What a block does.
#[derive(Debug, Clone)]
pub struct ExecutedBlock {
    /// Its transactions, decoded, in order.
    pub transactions: Vec<Transaction>,
    /// Everything that it changes in the parent's state.
    pub changes: StateChanges,
    /// The state after it. Its new nodes are not saved yet.
    pub state: Trie,
}

/// Executes a block on its parent's post-state, and insists on the state root in its header (spec 02 section 3.2). `validators` is the
/// parent's next validator set. Headers, certificates and the transactions' root are the caller's business.
///
/// # Errors
/// The block is invalid, the state cannot be read, or this version cannot follow the chain. Nothing has changed then.
pub fn execute_block(
    rules: BlockRules<'_>,
    validators: &ValidatorSet,
    parent: &Trie,
    block: &Block,
) -> Result<ExecutedBlock, LedgerError> {
    if block.header.guardian_votes.is_some() {
        return Err(LedgerError::UnsupportedVotes("guardian votes"));
    }
    if block.header.edge_node_votes.is_some() {
        return Err(LedgerError::UnsupportedVotes("votes of elite edge nodes"));
    }
    let mut executor = BlockExecutor::new(rules, validators, parent)?;
    let mut transactions = Vec::with_capacity(block.transactions.len());
    for (index, raw) in block.transactions.iter().enumerate() {
        match executor.execute(raw) {
            Ok(transaction) => transactions.push(transaction),
            Err(ExecuteError::Refused(refusal)) => {
                return Err(LedgerError::InvalidTransaction { index, refusal: Box::new(refusal) });
            }
            Err(ExecuteError::Ledger(error)) => return Err(error),
        }
    }
    let changes = executor.finish()?;
    let state = changed(parent, &changes)?;
    if state.root() != block.header.state_hash {
        return Err(LedgerError::StateRoot { computed: state.root(), header: block.header.state_hash });
    }
    Ok(ExecutedBlock { transactions, changes, state })
}

/// The contents of an own block.
#[derive(Debug, Clone)]
pub struct ProposedBlock {
    /// Raw transactions, coinbase first.
    pub transactions: Vec<Vec<u8>>,
    /// Everything that they change in the parent's state.
    pub changes: StateChanges,
    /// The state after them, whose root belongs in the header.
    pub state: Trie,
    /// Candidates that were refused, and why.
    pub refused: Vec<(TxHash, Refusal)>,
}

/// Makes the contents of the block after `parent`: a coinbase signed by `proposer`, who has to be among `validators`, then those of the
/// candidates that can be executed, in their order (spec 02 section 3.1). Each is tried by itself: one that is refused leaves no trace.
///
/// # Errors
/// The state cannot be read, `proposer` is no validator, or this version cannot follow the chain.
pub fn propose_block(
    rules: BlockRules<'_>,
    validators: &ValidatorSet,
    parent: &Trie,
    proposer: &SecretKey,
    candidates: impl IntoIterator<Item = Vec<u8>>,
) -> Result<ProposedBlock, LedgerError> {
    let mut executor = BlockExecutor::new(rules, validators, parent)?;
    let mut transactions = vec![coinbase(&rules, validators, &executor, proposer)?];
    if let Err(error) = executor.execute(&transactions[0]) {
        return Err(match error {
            ExecuteError::Refused(refusal) => {
                LedgerError::InvalidTransaction { index: 0, refusal: Box::new(refusal) }
            }
            ExecuteError::Ledger(error) => error,
        });
    }

    let mut refused = Vec::new();
    let mut bytes = 0usize;
    for raw in candidates {
        if transactions.len() > MAX_PROPOSED_TRANSACTIONS {
            break;
        }
        let with_this = bytes.saturating_add(raw.len());
        if with_this > MAX_PROPOSED_BYTES {
            continue;
        }
        match executor.execute(&raw) {
            Ok(_) => {
                bytes = with_this;
                transactions.push(raw);
            }
            Err(ExecuteError::Refused(refusal)) => refused.push((Transaction::hash_of_raw(&raw), refusal)),
            Err(ExecuteError::Ledger(error)) => return Err(error),
        }
    }
    let changes = executor.finish()?;
    let state = changed(parent, &changes)?;
    Ok(ProposedBlock { transactions, changes, state, refused })
}

fn coinbase(
    rules: &BlockRules<'_>,
    validators: &ValidatorSet,
    executor: &BlockExecutor<'_>,
    proposer: &SecretKey,
) -> Result<Vec<u8>, LedgerError> {
    let rewards = rewards(rules, validators, executor.view())?;
    let mut tx = CoinbaseTx {
        proposer: TxInput::unsigned(proposer.address(), Coins::zero(), 0),
        outputs: rewards
            .into_iter()
            .map(|(address, reward)| TxOutput { address, coins: Coins::tfuel(reward) })
            .collect(),
        block_height: rules.parent_height(),
    };
    tx.sign(rules.chain_id(), proposer);
    Ok(Transaction::from(tx).encode())
}

fn changed(parent: &Trie, changes: &StateChanges) -> Result<Trie, LedgerError> {
    let mut state = parent.clone();
    for (key, value) in changes {
        match value {
            Some(value) => state.insert(key, value.as_slice())?,
            None => state.remove(key)?,
        }
    }
    Ok(state)
}
