//! What makes a block valid, apart from its transactions (spec 03 section 2.8).

use theta_ledger::{LedgerError, Refusal};
use theta_state::list_root;
use theta_types::{Block, ChainRules, HeaderError, HeaderForm, Height};

use crate::error::ChainError;
use crate::known::{Known, KnownBlocks};
use crate::proposer::proposer;

/// Steps from a block's parent within which the block that it commits has to be found.
const MAX_COMMIT_DISTANCE: usize = 1_999;

/// The rule that a block breaks. It will never be valid, nor will anything that builds on it; who sent it is wrong or dishonest.
#[derive(Debug, thiserror::Error)]
pub enum BlockRefusal {
    /// S1 to S3: the header by itself.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// S4: the transactions are not those that the header commits to.
    #[error("TxHash does not match")]
    TransactionRoot,
    /// C1: as high as a final block, or lower.
    #[error("height {0} is final already")]
    BelowFinal(Height),
    /// C2: not one higher than its parent.
    #[error("height {height} does not follow the parent's height {parent}")]
    Height {
        /// The block's.
        height: Height,
        /// Its parent's.
        parent: Height,
    },
    /// C3: not of a later epoch than its parent.
    #[error("the epoch is not later than the parent's")]
    Epoch,
    /// C4: it builds on a block that is invalid, or that conflicts with a final one.
    #[error("the parent is invalid or conflicts with a final block")]
    Parent,
    /// C5: what it commits is not among its ancestors.
    #[error("the committed block is not an ancestor")]
    CommitNotAncestor,
    /// C6: the votes do not commit the block that they are for.
    #[error("the commit certificate is not valid")]
    Certificate,
    /// C7 and C8: the validators changed, and it does not confirm its parent directly.
    #[error("after a change of validators a block has to commit its parent")]
    UnconfirmedValidators,
    /// C9: not the proposer's turn.
    #[error("not the turn of this proposer")]
    Proposer,
    /// C10 and C11: votes of guardians or edge nodes where none belong.
    #[error("guardian or edge node votes outside a checkpoint")]
    VotesOutsideCheckpoint,
    /// C12: a transaction cannot be executed.
    #[error("transaction {index} is refused: {refusal}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Why.
        refusal: Box<Refusal>,
    },
    /// C12: the transactions lead to another state.
    #[error("StateHash does not match")]
    StateRoot,
}

/// How a check ended: `Err` when it could not be made, `Ok(Err)` when the block breaks a rule.
pub(crate) type Checked = Result<Result<(), BlockRefusal>, ChainError>;

/// S1 to S4: what can be checked without any other block.
pub(crate) fn check_alone(block: &Block, rules: &ChainRules) -> Result<(), BlockRefusal> {
    block.header.validate(&rules.chain_id)?;
    if list_root(&block.transactions) != block.header.tx_root {
        return Err(BlockRefusal::TransactionRoot);
    }
    Ok(())
}

/// C2 to C11, but for votes of guardians and edge nodes, against an executed parent. What commits a final block up to the `settled` height
/// needs no votes any more, and the network may have accepted it without (C6).
pub(crate) fn check_in_chain(
    block: &Block,
    parent: &Known,
    blocks: &impl KnownBlocks,
    rules: &ChainRules,
    settled: Height,
) -> Checked {
    let header = &block.header;
    if header.height != parent.height().next() || header.form != HeaderForm::at(header.height, &rules.forks) {
        return Ok(Err(BlockRefusal::Height { height: header.height, parent: parent.height() }));
    }
    if header.epoch <= parent.header().epoch {
        return Ok(Err(BlockRefusal::Epoch));
    }
    let has_votes = header.guardian_votes.is_some() || header.edge_node_votes.is_some();
    if has_votes && !header.height.is_checkpoint() {
        return Ok(Err(BlockRefusal::VotesOutsideCheckpoint));
    }
    let commits_parent = header.hcc.block_hash == parent.hash;
    if parent.validator_update && !commits_parent {
        return Ok(Err(BlockRefusal::UnconfirmedValidators));
    }
    let grandparent = parent.header().parent;
    if !grandparent.is_zero() && !commits_parent {
        let grandparent = blocks.known(grandparent)?;
        if grandparent.is_none_or(|grandparent| grandparent.validator_update) {
            return Ok(Err(BlockRefusal::UnconfirmedValidators));
        }
    }
    if proposer(&blocks.validators_after(parent)?, header.epoch) != Some(header.proposer) {
        return Ok(Err(BlockRefusal::Proposer));
    }
    check_commit(block, parent, blocks, settled)
}

/// C5 and C6.
fn check_commit(block: &Block, parent: &Known, blocks: &impl KnownBlocks, settled: Height) -> Checked {
    let hcc = &block.header.hcc;
    let mut committed = parent.clone();
    for _ in 0..MAX_COMMIT_DISTANCE {
        if committed.hash == hcc.block_hash {
            break;
        }
        match blocks.known(committed.header().parent)? {
            Some(ancestor) => committed = ancestor,
            None => break,
        }
    }
    if committed.hash != hcc.block_hash {
        return Ok(Err(BlockRefusal::CommitNotAncestor));
    }
    let is_settled = committed.status.is_final() && committed.height() <= settled;
    if !is_settled && !hcc.is_valid(&blocks.validators_of(&committed)?) {
        return Ok(Err(BlockRefusal::Certificate));
    }
    Ok(Ok(()))
}

/// Sorts the ways in which execution fails: the block's fault, or not.
pub(crate) fn blame(error: LedgerError) -> Result<BlockRefusal, ChainError> {
    match error {
        LedgerError::InvalidTransaction { index, refusal } => match *refusal {
            // Others can execute it, so the block may well be valid: this node cannot follow.
            Refusal::UnsupportedKind(_) => Err(LedgerError::InvalidTransaction { index, refusal }.into()),
            _ => Ok(BlockRefusal::Transaction { index, refusal }),
        },
        LedgerError::StateRoot { .. } => Ok(BlockRefusal::StateRoot),
        other => Err(other.into()),
    }
}
