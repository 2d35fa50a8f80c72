//! Votes that were seen.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use theta_types::{Address, BlockHash, Epoch, Vote, VoteSet};

/// Blocks that are voted for but not known: more than a few at a time are somebody's play.
const MAX_UNKNOWN: usize = 64;

/// For every voter the latest vote of all and the latest for each block. Whoever adds a vote has checked that the voter is a validator,
/// so the number of voters bounds everything here.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    latest: BTreeMap<Address, Vote>,
    by_block: HashMap<BlockHash, BTreeMap<Address, Vote>>,
    unknown: VecDeque<BlockHash>,
    latest_changed: bool,
    changed: BTreeSet<BlockHash>,
    dropped: BTreeSet<BlockHash>,
}

/// What changed since it was asked last, to be stored.
#[derive(Debug, Default)]
pub(crate) struct VoteChanges {
    pub(crate) latest: Option<VoteSet>,
    pub(crate) blocks: Vec<(BlockHash, VoteSet)>,
    pub(crate) dropped: Vec<BlockHash>,
}

impl Votes {
    pub(crate) fn restored(latest: VoteSet, blocks: Vec<(BlockHash, VoteSet)>) -> Self {
        let by_voter = |votes: &VoteSet| votes.iter().map(|vote| (vote.voter, vote.clone())).collect();
        Self {
            latest: by_voter(&latest),
            by_block: blocks.iter().map(|(block, votes)| (*block, by_voter(votes))).collect(),
            ..Self::default()
        }
    }

    /// Adds a vote; `false` when it says nothing new.
    pub(crate) fn add(&mut self, vote: &Vote, block_is_known: bool) -> bool {
        if !block_is_known && !self.by_block.contains_key(&vote.block) {
            if self.unknown.len() >= MAX_UNKNOWN
                && let Some(oldest) = self.unknown.pop_front()
            {
                self.drop_block(oldest);
            }
            self.unknown.push_back(vote.block);
        }
        let newer = |old: Option<&Vote>| old.is_none_or(|old| old.epoch < vote.epoch);
        let on_block = self.by_block.entry(vote.block).or_default();
        let newer_on_block = newer(on_block.get(&vote.voter));
        if newer_on_block {
            on_block.insert(vote.voter, vote.clone());
            self.changed.insert(vote.block);
            self.dropped.remove(&vote.block);
        }
        let newer_of_all = newer(self.latest.get(&vote.voter));
        if newer_of_all {
            self.latest.insert(vote.voter, vote.clone());
            self.latest_changed = true;
        }
        newer_on_block || newer_of_all
    }

    /// Who voted for the block.
    pub(crate) fn voters(&self, block: &BlockHash) -> impl Iterator<Item = &Address> {
        self.by_block.get(block).into_iter().flat_map(BTreeMap::keys)
    }

    /// Each voter's latest vote for the block.
    pub(crate) fn on(&self, block: &BlockHash) -> impl Iterator<Item = &Vote> {
        self.by_block.get(block).into_iter().flat_map(BTreeMap::values)
    }

    /// The latest votes of all, one per voter, that are of this epoch or a later one.
    pub(crate) fn since(&self, epoch: Epoch) -> impl Iterator<Item = &Vote> {
        self.latest.values().filter(move |vote| vote.epoch >= epoch)
    }

    /// The latest votes of all, one per voter.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Vote> {
        self.latest.values()
    }

    /// Forgets the votes for all blocks but these. Votes for unknown blocks stay: their blocks may come.
    pub(crate) fn keep_only(&mut self, keep: impl Fn(&BlockHash) -> bool) {
        self.unknown.retain(|block| !keep(block));
        let drop: Vec<_> = self
            .by_block
            .keys()
            .filter(|block| !keep(block) && !self.unknown.contains(block))
            .copied()
            .collect();
        for block in drop {
            self.drop_block(block);
        }
    }

    pub(crate) fn take_changes(&mut self) -> VoteChanges {
        let latest =
            std::mem::take(&mut self.latest_changed).then(|| self.latest.values().cloned().collect());
        let blocks = std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|block| Some((block, self.by_block.get(&block)?.values().cloned().collect())))
            .collect();
        VoteChanges { latest, blocks, dropped: std::mem::take(&mut self.dropped).into_iter().collect() }
    }

    fn drop_block(&mut self, block: BlockHash) {
        if self.by_block.remove(&block).is_some() {
            self.changed.remove(&block);
            self.dropped.insert(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use theta_types::{B256, Height, SecretKey};

    use super::*;

    fn block(byte: u8) -> BlockHash {
        BlockHash(B256::repeat_byte(byte))
    }

    fn vote(key: u8, on: u8, epoch: u64) -> Vote {
        Vote::signed(block(on), Height(1), Epoch(epoch), &SecretKey::from_bytes(&[key; 32]).unwrap())
    }

    #[test]
    fn a_voter_counts_once_with_its_latest_vote() {
        let mut votes = Votes::default();
        assert!(votes.add(&vote(1, 1, 5), true));
        assert!(votes.add(&vote(1, 2, 6), true));
        assert!(!votes.add(&vote(1, 1, 4), true), "an older vote says nothing new");
        assert!(votes.add(&vote(2, 1, 3), true));
        assert_eq!(votes.voters(&block(1)).count(), 2);
        assert_eq!(votes.since(Epoch(4)).count(), 1);
        assert_eq!(votes.latest().map(|vote| vote.epoch.0).sum::<u64>(), 9);
    }

    #[test]
    fn votes_for_unknown_blocks_are_few() {
        let mut votes = Votes::default();
        for number in 0..1_000u64 {
            let on = BlockHash(B256::from(theta_types::keccak256(number.to_be_bytes())));
            votes.add(&Vote { block: on, ..vote(1, 1, number) }, false);
        }
        assert_eq!(votes.by_block.len(), MAX_UNKNOWN);
        votes.add(&vote(1, 9, 5_000), true);
        votes.keep_only(|kept| *kept == block(9));
        assert_eq!(votes.by_block.len(), MAX_UNKNOWN + 1);
    }

    #[test]
    fn changes_are_told_once() {
        let mut votes = Votes::default();
        votes.add(&vote(1, 1, 5), true);
        let changes = votes.take_changes();
        assert_eq!((changes.latest.unwrap().len(), changes.blocks.len()), (1, 1));
        let changes = votes.take_changes();
        assert!(changes.latest.is_none() && changes.blocks.is_empty() && changes.dropped.is_empty());
        votes.keep_only(|_| false);
        assert_eq!(votes.take_changes().dropped, [block(1)]);
    }
}
