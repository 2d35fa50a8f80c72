//! Who is a validator, what a majority is, and when votes commit a block (spec 01 sections 7.4 and 7.6).

use proptest::prelude::*;
use theta_types::*;

use crate::values;

fn keys(count: u8) -> Vec<SecretKey> {
    (1..=count).map(|seed| SecretKey::from_bytes(&[seed; 32]).unwrap()).collect()
}

fn set_of(keys: &[SecretKey], stakes: &[u64]) -> ValidatorSet {
    ValidatorSet::new(
        keys.iter()
            .zip(stakes)
            .map(|(key, stake)| Validator { address: key.address(), stake: Wei::from(*stake) }),
    )
}

fn block(seed: u8) -> BlockHash {
    BlockHash(B256::repeat_byte(seed))
}

#[test]
fn equal_stakes_are_ordered_by_the_checksummed_text_descending() {
    // Lower-case or raw order would put 0xdb… before 0xD1…, and 0xfB… before 0xF….
    let texts = [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];
    let mut pool = ValidatorCandidatePool::default();
    for text in texts {
        let holder = parse_address(text).unwrap();
        pool.sorted_candidates
            .push(StakeHolder { holder, stakes: vec![Stake::new(holder, Wei::from(100u64))] });
    }
    pool.sorted_candidates[0].stakes[0].amount = Wei::from(99u64);
    pool.sort();
    let order: Vec<_> = pool.sorted_candidates.iter().map(|one| checksum_text(&one.holder)).collect();
    assert_eq!(order, [texts[1], texts[2], texts[3], texts[0]]);
}

#[test]
fn withdrawn_stake_weighs_nothing_and_takes_a_place_no_longer() {
    let keys = keys(3);
    let mut pool = ValidatorCandidatePool::default();
    for (key, amount) in keys.iter().zip([5u64, 7, 9]) {
        let stakes = vec![Stake::new(key.address(), Wei::from(amount))];
        pool.sorted_candidates.push(StakeHolder { holder: key.address(), stakes });
    }
    pool.sorted_candidates[1].stakes[0].withdrawn = true;
    pool.sort();
    assert_eq!(pool.sorted_candidates[2].holder, keys[1].address(), "total 0 goes last");
    let set = ValidatorSet::select(&pool);
    assert_eq!(set.len(), 2);
    assert!(!set.contains(&keys[1].address()));
    assert_eq!(set.total_stake(), Wei::from(14u64));
}

#[test]
fn a_majority_is_more_than_two_thirds_of_the_stake() {
    let keys = keys(4);
    let set = set_of(&keys, &[1, 1, 1, 3]);
    let majority = |voters: &[usize]| {
        let voters: Vec<_> = voters.iter().map(|index| keys[*index].address()).collect();
        set.is_majority(&voters)
    };
    assert!(!majority(&[3, 0]), "4 of 6 is exactly two thirds");
    assert!(majority(&[3, 0, 1]));
    assert!(!majority(&[3, 3, 3]), "who votes twice counts once");
    assert!(!majority(&[]));
    assert!(!ValidatorSet::default().is_majority(&[]));
}

#[test]
fn a_certificate_commits_only_with_valid_votes_for_its_block() {
    let keys = keys(5);
    let set = set_of(&keys[..4], &[1, 1, 1, 1]);
    let vote = |index: usize, of: BlockHash, epoch| Vote::signed(of, Height(9), Epoch(epoch), &keys[index]);
    let certificate =
        |votes: Vec<Vote>| CommitCertificate { votes: VoteSet::from_iter(votes), block_hash: block(1) };
    let three = || (0..3).map(|index| vote(index, block(1), 1)).collect::<Vec<_>>();

    assert!(certificate(three()).is_valid(&set));
    assert!(!certificate(three()[..2].to_vec()).is_valid(&set), "two of four");
    assert!(!certificate(vec![]).is_valid(&set));
    assert!(
        !certificate([three(), vec![vote(3, block(2), 1)]].concat()).is_valid(&set),
        "a vote for another block"
    );
    assert!(!certificate([three(), vec![vote(0, block(1), 2)]].concat()).is_valid(&set), "a voter twice");
    assert!(
        certificate([three(), vec![vote(4, block(1), 1)]].concat()).is_valid(&set),
        "a stranger among them"
    );
    let mut forged = three();
    forged[0].voter = keys[3].address();
    assert!(!certificate(forged).is_valid(&set), "a signature of somebody else");
}

#[test]
fn the_height_of_a_vote_is_not_signed() {
    let key = &keys(1)[0];
    let mut vote = Vote::signed(block(1), Height(5), Epoch(2), key);
    let hash = vote.hash();
    vote.height = Height(6);
    assert!(vote.is_valid());
    assert_ne!(vote.hash(), hash);
    vote.epoch = Epoch(3);
    assert!(!vote.is_valid());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_set_is_chosen_from_the_first_candidates(pool in values::pool()) {
        let mut pool = pool;
        pool.sort();
        let set = ValidatorSet::select(&pool);
        prop_assert!(set.len() <= MAX_VALIDATORS);
        let members: Vec<_> = set.iter().cloned().collect();
        prop_assert!(members.windows(2).all(|pair| pair[0].address <= pair[1].address), "ascending");
        prop_assert!(members.iter().all(|member| !member.stake.is_zero()));
        let totals: Vec<_> = pool.sorted_candidates.iter().map(StakeHolder::total_stake).collect();
        prop_assert!(totals.windows(2).all(|pair| pair[0] >= pair[1]), "descending");
    }

    #[test]
    fn the_order_of_votes_does_not_matter(votes in proptest::collection::vec(values::vote(), 0..12)) {
        // Of equal keys the last stays, so each key is kept once.
        let forward: VoteSet = votes.iter().cloned().collect();
        let backward: VoteSet = forward.iter().cloned().collect::<Vec<_>>().into_iter().rev().collect();
        prop_assert_eq!(forward.to_rlp(), backward.to_rlp());
        let order: Vec<_> = forward.iter().map(|vote| vote.voter).collect();
        prop_assert!(order.is_sorted());

        let latest = forward.latest_per_voter();
        prop_assert_eq!(latest.len(), forward.voters().len());
        for vote in forward.iter() {
            prop_assert!(latest.iter().any(|kept| kept.voter == vote.voter && kept.epoch >= vote.epoch));
        }
    }
}
