//! Values of every type, for property tests.

use proptest::collection::vec;
use proptest::prelude::*;
use theta_types::*;

pub fn wei() -> impl Strategy<Value = Wei> {
    prop_oneof![
        Just(Wei::zero()),
        any::<u64>().prop_map(Wei::from),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Wei::from_be_bytes(&bytes)),
    ]
}

pub fn coins() -> impl Strategy<Value = Coins> {
    (wei(), wei()).prop_map(|(theta, tfuel)| Coins { theta, tfuel })
}

/// A few addresses only, so that they meet.
pub fn address() -> impl Strategy<Value = Address> {
    prop_oneof![(0u8..4).prop_map(Address::repeat_byte), any::<[u8; 20]>().prop_map(Address::from)]
}

pub fn hash() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::from)
}

pub fn signature() -> impl Strategy<Value = Signature> {
    prop_oneof![Just(0usize), Just(65), 0usize..80]
        .prop_flat_map(|length| vec(any::<u8>(), length))
        .prop_map(Signature::from)
}

pub fn resource_id() -> impl Strategy<Value = ResourceId> {
    prop_oneof![
        "[a-z<>&\u{2028}é]{0,12}".prop_map(ResourceId::from),
        vec(any::<u8>(), 0..70).prop_map(|bytes| ResourceId::from(bytes.as_slice())),
    ]
}

pub fn input() -> impl Strategy<Value = TxInput> {
    (address(), coins(), any::<u64>(), signature())
        .prop_map(|(address, coins, sequence, signature)| TxInput { address, coins, sequence, signature })
}

pub fn output() -> impl Strategy<Value = TxOutput> {
    (address(), coins()).prop_map(|(address, coins)| TxOutput { address, coins })
}

pub fn split() -> impl Strategy<Value = Split> {
    (address(), any::<u64>()).prop_map(|(address, percentage)| Split { address, percentage })
}

pub fn service_payment() -> impl Strategy<Value = ServicePaymentTx> {
    (coins(), input(), input(), any::<u64>(), any::<u64>(), resource_id()).prop_map(
        |(fee, source, target, payment_sequence, reserve_sequence, resource_id)| ServicePaymentTx {
            fee,
            source,
            target,
            payment_sequence,
            reserve_sequence,
            resource_id,
        },
    )
}

pub fn transaction() -> impl Strategy<Value = Transaction> {
    prop_oneof![
        (input(), vec(output(), 0..4), any::<u64>()).prop_map(|(proposer, outputs, height)| {
            CoinbaseTx { proposer, outputs, block_height: Height(height) }.into()
        }),
        (coins(), vec(input(), 0..4), vec(output(), 0..4)).prop_map(|(fee, inputs, outputs)| SendTx {
            fee,
            inputs,
            outputs
        }
        .into()),
        (coins(), input(), coins(), vec(resource_id(), 0..4), any::<u64>()).prop_map(
            |(fee, source, collateral, resource_ids, duration)| {
                ReserveFundTx { fee, source, collateral, resource_ids, duration }.into()
            }
        ),
        (coins(), input(), any::<u64>()).prop_map(|(fee, source, reserve_sequence)| ReleaseFundTx {
            fee,
            source,
            reserve_sequence
        }
        .into()),
        service_payment().prop_map(Transaction::from),
        (coins(), resource_id(), input(), vec(split(), 0..4), any::<u64>()).prop_map(
            |(fee, resource_id, initiator, splits, duration)| {
                SplitRuleTx { fee, resource_id, initiator, splits, duration }.into()
            }
        ),
    ]
}

pub fn reserved_fund() -> impl Strategy<Value = ReservedFund> {
    let records = vec(service_payment().prop_map(|service_payment| TransferRecord { service_payment }), 0..3);
    (coins(), coins(), coins(), vec(resource_id(), 0..3), any::<u64>(), any::<u64>(), records).prop_map(
        |(collateral, initial_fund, used_fund, resource_ids, end, reserve_sequence, transfer_records)| {
            ReservedFund {
                collateral,
                initial_fund,
                used_fund,
                resource_ids,
                end_height: Height(end),
                reserve_sequence,
                transfer_records,
            }
        },
    )
}

pub fn account() -> impl Strategy<Value = Account> {
    (address(), any::<u64>(), coins(), vec(reserved_fund(), 0..3), any::<u64>(), hash(), hash()).prop_map(
        |(address, sequence, balance, reserved_funds, height, storage_root, code_hash)| Account {
            address,
            sequence,
            balance,
            reserved_funds,
            last_updated_height: Height(height),
            storage_root,
            code_hash,
        },
    )
}

pub fn split_rule() -> impl Strategy<Value = SplitRule> {
    (address(), resource_id(), vec(split(), 0..4), any::<u64>()).prop_map(
        |(initiator_address, resource_id, splits, end)| SplitRule {
            initiator_address,
            resource_id,
            splits,
            end_height: Height(end),
        },
    )
}

pub fn stake() -> impl Strategy<Value = Stake> {
    (address(), wei(), any::<bool>(), any::<u64>()).prop_map(|(source, amount, withdrawn, height)| Stake {
        source,
        amount,
        withdrawn,
        return_height: Height(height),
    })
}

pub fn pool() -> impl Strategy<Value = ValidatorCandidatePool> {
    let holder = (address(), vec(stake(), 0..3)).prop_map(|(holder, stakes)| StakeHolder { holder, stakes });
    vec(holder, 0..40).prop_map(|sorted_candidates| ValidatorCandidatePool { sorted_candidates })
}

pub fn vote() -> impl Strategy<Value = Vote> {
    (0u8..3, any::<u64>(), 0u64..3, address(), signature()).prop_map(
        |(block, height, epoch, voter, signature)| Vote {
            block: BlockHash(B256::repeat_byte(block)),
            height: Height(height),
            epoch: Epoch(epoch),
            voter,
            signature,
        },
    )
}

pub fn vote_set() -> impl Strategy<Value = VoteSet> {
    vec(vote(), 0..8).prop_map(VoteSet::from_iter)
}

/// Headers below, between and above the forks of [`forks`].
pub fn header() -> impl Strategy<Value = BlockHeader> {
    let place = (".{0,12}", any::<u64>(), 0u64..300, hash(), vote_set(), hash());
    let rest = (hash(), hash(), any::<u64>(), address(), signature());
    let votes = (proptest::option::of(guardian_votes()), proptest::option::of(edge_node_votes()));
    (place, rest, votes).prop_map(
        |(
            (chain_id, epoch, height, parent, votes, committed),
            (tx_root, state_hash, timestamp, proposer, signature),
            (guardian_votes, edge_node_votes),
        )| {
            let form = HeaderForm::at(Height(height), &forks());
            BlockHeader {
                form,
                chain_id,
                epoch: Epoch(epoch),
                height: Height(height),
                parent: BlockHash(parent),
                hcc: CommitCertificate { votes, block_hash: BlockHash(committed) },
                tx_root,
                receipt_root: EMPTY_ROOT_HASH,
                bloom: Bloom::ZERO,
                state_hash,
                timestamp: Timestamp::from(timestamp),
                proposer,
                signature,
                guardian_votes: guardian_votes.filter(|_| form >= HeaderForm::WithGuardians),
                edge_node_votes: edge_node_votes.filter(|_| form >= HeaderForm::WithEdgeNodes),
            }
        },
    )
}

pub fn forks() -> ForkHeights {
    ForkHeights { theta2: Height(100), theta3: Height(200), ..ForkHeights::all_at(Height(2)) }
}

pub fn block() -> impl Strategy<Value = Block> {
    (header(), vec(vec(any::<u8>(), 0..100), 0..4))
        .prop_map(|(header, transactions)| Block { header, transactions })
}

pub fn proposal() -> impl Strategy<Value = Proposal> {
    (block(), address(), vote_set()).prop_map(|(block, proposer, votes)| Proposal { block, proposer, votes })
}

fn bls_signature() -> impl Strategy<Value = BlsSignature> {
    prop_oneof![Just(0usize), Just(96)].prop_flat_map(|length| vec(any::<u8>(), length)).prop_map(|bytes| {
        let mut rlp = Vec::new();
        theta_types::rlp::encode_string(&bytes, &mut rlp);
        BlsSignature::from_rlp(&rlp).unwrap()
    })
}

pub fn guardian_votes() -> impl Strategy<Value = GuardianVotes> {
    (hash(), hash(), vec(any::<u32>(), 0..5), bls_signature()).prop_map(
        |(block, pool_hash, multiplies, signature)| GuardianVotes {
            block: BlockHash(block),
            pool_hash,
            multiplies,
            signature,
        },
    )
}

pub fn edge_node_votes() -> impl Strategy<Value = EdgeNodeVotes> {
    (hash(), vec(any::<u32>(), 0..5), vec(address(), 0..5), bls_signature()).prop_map(
        |(block, multiplies, addresses, signature)| EdgeNodeVotes {
            block: BlockHash(block),
            multiplies,
            addresses,
            signature,
        },
    )
}
