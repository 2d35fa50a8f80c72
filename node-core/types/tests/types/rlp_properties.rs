//! For every decoder: what was written is read back, what is read is written back as it was, and no bytes make it panic.

use proptest::collection::vec;
use proptest::prelude::*;
use theta_types::rlp::Reader;
use theta_types::*;

use crate::values;

/// Writes and reads back; then reads the same bytes changed in one place, cut, and lengthened. What is still read must be written back
/// as exactly the bytes that were read: a value has one form.
fn one_form<T: Encode + Clone + PartialEq + std::fmt::Debug>(
    value: &T,
    damage: &Damage,
    decode: impl Fn(&[u8]) -> Result<T, RlpError>,
) -> Result<(), TestCaseError> {
    let rlp = value.to_rlp();
    prop_assert_eq!(decode(&rlp), Ok(value.clone()));
    let changed = damage.apply(&rlp);
    if let Ok(read) = decode(&changed) {
        prop_assert_eq!(read.to_rlp(), changed);
    }
    prop_assert!(decode(&rlp[..rlp.len() - 1]).is_err(), "cut");
    prop_assert!(decode(&[&rlp[..], &[0x80]].concat()).is_err(), "lengthened");
    Ok(())
}

/// For types that put their votes in order: reading twice gives the same.
fn settles<T: Encode + Clone + PartialEq + std::fmt::Debug>(
    value: &T,
    damage: &Damage,
    decode: impl Fn(&[u8]) -> Result<T, RlpError>,
) -> Result<(), TestCaseError> {
    let rlp = value.to_rlp();
    prop_assert_eq!(decode(&rlp), Ok(value.clone()));
    if let Ok(read) = decode(&damage.apply(&rlp)) {
        prop_assert_eq!(decode(&read.to_rlp()), Ok(read));
    }
    prop_assert!(decode(&rlp[..rlp.len() - 1]).is_err(), "cut");
    Ok(())
}

#[derive(Debug, Clone)]
struct Damage {
    at: prop::sample::Index,
    bytes: Vec<u8>,
}

impl Damage {
    fn apply(&self, rlp: &[u8]) -> Vec<u8> {
        let mut changed = rlp.to_vec();
        let at = self.at.index(changed.len());
        for (place, byte) in changed[at..].iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
        changed
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        any::<u8>(),
        Just(0x00),
        Just(0x80),
        Just(0x81),
        Just(0xb8),
        Just(0xbf),
        Just(0xc0),
        Just(0xff)
    ];
    (any::<prop::sample::Index>(), vec(byte, 1..4)).prop_map(|(at, bytes)| Damage { at, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_and_fixed_bytes(number in any::<u64>(), flag: bool, wei in values::wei(), address in values::address(), hash in values::hash(), damage in damage()) {
        one_form(&number, &damage, u64::from_rlp)?;
        one_form(&(number as u32), &damage, u32::from_rlp)?;
        one_form(&(number as u16), &damage, u16::from_rlp)?;
        one_form(&flag, &damage, bool::from_rlp)?;
        one_form(&wei, &damage, Wei::from_rlp)?;
        one_form(&address, &damage, Address::from_rlp)?;
        one_form(&hash, &damage, B256::from_rlp)?;
        one_form(&TxHash(hash), &damage, TxHash::from_rlp)?;
        one_form(&Height(number), &damage, Height::from_rlp)?;
        one_form(&Timestamp::from(number), &damage, Timestamp::from_rlp)?;
    }

    #[test]
    fn state_objects(account in values::account(), rule in values::split_rule(), pool in values::pool(), stake in values::stake(), damage in damage()) {
        one_form(&account, &damage, Account::from_rlp)?;
        one_form(&rule, &damage, SplitRule::from_rlp)?;
        one_form(&pool, &damage, ValidatorCandidatePool::from_rlp)?;
        one_form(&stake, &damage, Stake::from_rlp)?;
        one_form(&HeightList { heights: vec![Height(stake.return_height.0); 3] }, &damage, HeightList::from_rlp)?;
    }

    #[test]
    fn small_parts(coins in values::coins(), signature in values::signature(), resource in values::resource_id(), input in values::input(), damage in damage()) {
        one_form(&coins, &damage, Coins::from_rlp)?;
        one_form(&signature, &damage, Signature::from_rlp)?;
        one_form(&resource, &damage, ResourceId::from_rlp)?;
        one_form(&input, &damage, TxInput::from_rlp)?;
    }

    #[test]
    fn votes_and_blocks(vote in values::vote(), votes in values::vote_set(), header in values::header(), proposal in values::proposal(), damage in damage()) {
        let forks = values::forks();
        one_form(&vote, &damage, Vote::from_rlp)?;
        settles(&votes, &damage, VoteSet::from_rlp)?;
        settles(&CommitCertificate { votes, block_hash: vote.block }, &damage, CommitCertificate::from_rlp)?;
        settles(&header, &damage, |rlp| BlockHeader::from_rlp(rlp, &forks))?;
        settles(&proposal.block, &damage, |rlp| Block::from_rlp(rlp, &forks))?;
        settles(&proposal, &damage, |rlp| Proposal::from_rlp(rlp, &forks))?;
    }

    #[test]
    fn aggregated_votes(guardians in values::guardian_votes(), edge_nodes in values::edge_node_votes(), damage in damage()) {
        settles(&guardians, &damage, GuardianVotes::from_rlp)?;
        settles(&edge_nodes, &damage, EdgeNodeVotes::from_rlp)?;
    }

    #[test]
    fn transactions(tx in values::transaction(), damage in damage(), trailing in vec(any::<u8>(), 0..9)) {
        let raw = tx.encode();
        prop_assert_eq!(Transaction::decode(&raw), Ok(tx.clone()));
        if let Ok(read) = Transaction::decode(&damage.apply(&raw)) {
            // What lies behind the body is ignored, so only as much as was read comes back.
            prop_assert!(damage.apply(&raw).starts_with(&read.encode()));
        }
        prop_assert!(Transaction::decode(&raw[..raw.len() - 1]).is_err());

        let longer = [raw.clone(), trailing].concat();
        prop_assert_eq!(Transaction::decode(&longer), Ok(tx.clone()));
        prop_assert_eq!(tx.hash() == Transaction::hash_of_raw(&longer), raw == longer);
    }

    #[test]
    fn public_keys(secret in any::<[u8; 32]>(), damage in damage()) {
        if let Ok(key) = SecretKey::from_bytes(&secret) {
            one_form(&key.public_key(), &damage, PublicKey::from_rlp)?;
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..300), start in prop_oneof![Just(0xc0u8), Just(0xf8), Just(0xff), any::<u8>()]) {
        let forks = values::forks();
        for bytes in [bytes.clone(), [&[start], &bytes[..]].concat()] {
            let _ = u64::from_rlp(&bytes);
            let _ = bool::from_rlp(&bytes);
            let _ = Wei::from_rlp(&bytes);
            let _ = Account::from_rlp(&bytes);
            let _ = SplitRule::from_rlp(&bytes);
            let _ = ValidatorCandidatePool::from_rlp(&bytes);
            let _ = HeightList::from_rlp(&bytes);
            let _ = PublicKey::from_rlp(&bytes);
            let _ = VoteSet::from_rlp(&bytes);
            let _ = CommitCertificate::from_rlp(&bytes);
            let _ = GuardianVotes::from_rlp(&bytes);
            let _ = EdgeNodeVotes::from_rlp(&bytes);
            let _ = BlockHeader::from_rlp(&bytes, &forks);
            let _ = Block::from_rlp(&bytes, &forks);
            let _ = Proposal::from_rlp(&bytes, &forks);
            for kind in 0..13u8 {
                let _ = Transaction::decode(&[&[kind], &bytes[..]].concat());
            }
            let mut reader = Reader::new(&bytes);
            while reader.raw_item().is_ok() {}
        }
    }
}
