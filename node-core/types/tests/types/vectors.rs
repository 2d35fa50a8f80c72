//! Every entry of `testdata/vectors/types.json`, but those listed by name as of later work.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use theta_types::rlp::{Reader, encode_list, encode_string};
use theta_types::*;

/// Entries about voting keys, elite edge nodes, stakes and contracts. Whoever builds those takes their entries off this list.
const NOT_YET: &[&str] = &[
    "bls_key_from_node_key_1",
    "bls_key_from_node_key_2",
    "slash_sign_bytes",
    "deposit_stake_v1_sign_bytes",
    "withdraw_stake_sign_bytes",
    "deposit_stake_v2_guardian_sign_bytes",
    "deposit_stake_v2_validator_sign_bytes",
    "stake_reward_distribution_sign_bytes",
    "eth_tx_call_privatenet",
    "eth_tx_create_mainnet",
    "gcp",
    "gcp_empty",
    "een_record",
    "guardian_votes",
    "guardian_votes_multiplies",
    "een_vote",
    "een_weight_0",
    "een_weight_1",
    "een_weight_2",
    "een_weight_3",
    "een_weight_4",
    "een_weight_5",
    "bls_hash_sign_hello",
    "bls_hash_sign_empty",
    "bls_hash_sign_abc",
    "bls_hash_sign_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
    "bls_hash_sign_theta-0",
    "bls_hash_sign_theta-1",
    "bls_hash_sign_theta-2",
    "bls_hash_sign_theta-3",
    "bls_hash_sign_theta-4",
    "bls_hash_sign_theta-5",
    "bls_hash_sign_theta-6",
    "bls_hash_sign_theta-7",
    "bls_hash_sign_theta-8",
    "bls_hash_sign_theta-9",
    "bls_pop_00000000",
    "bls_pop_01020304",
    "bls_pubkey_decode_infinity",
    "bls_pubkey_decode_infinity_last_byte_ignored",
    "bls_pubkey_decode_infinity_with_sign_flag",
    "bls_pubkey_decode_no_compression_flag",
    "bls_pubkey_decode_short_47",
    "bls_pubkey_decode_trailing_bytes",
    "bls_pubkey_decode_x_zero_not_in_subgroup",
    "bls_pubkey_decode_x_not_on_curve",
    "bls_pubkey_decode_x_equals_p",
    "bls_identity_verifies",
    "bls_verify_honest",
    "bls_verify_pk_plus_order3",
    "bls_verify_pk_plus_cofactor_torsion",
    "bls_verify_sig_plus_cofactor_torsion",
    "bls_verify_pk_torsion_only_sig_infinity",
    "bls_verify_pk_infinity_sig_torsion",
    "bls_verify_pk_order3_sig_infinity",
    "bls_verify_sig_infinity_pk_normal",
    "bls_verify_pk_infinity_sig_normal",
    "bls_verify_random_offsub_sig",
];

/// Tested with the crate that opens key files, theta-wallet.
const ELSEWHERE: &str = "keystore_decrypt";

#[test]
fn every_known_entry_agrees() {
    let entries = entries();
    let names: BTreeSet<&str> = entries.iter().map(|entry| text(entry, "name")).collect();
    assert_eq!(names.len(), entries.len(), "names are unique");
    for name in NOT_YET {
        assert!(names.contains(name), "{name} is excepted but not there");
    }
    let mut checked = 0;
    for entry in &entries {
        if NOT_YET.contains(&text(entry, "name")) || text(entry, "kind") == ELSEWHERE {
            continue;
        }
        check(entry);
        checked += 1;
    }
    assert_eq!(checked, 109, "entries checked");
}

fn check(entry: &Value) {
    let name = text(entry, "name");
    println!("{name}");
    match text(entry, "kind") {
        "keccak256" => {
            assert_eq!(hex::encode(keccak256(text(entry, "input_utf8"))), text(entry, "expected"));
        }
        "secp256k1_key" => {
            let key = SecretKey::from_bytes(&bytes(entry, "private_key")).unwrap();
            assert_eq!(hex::encode(key.public_key().to_bytes()), text(entry, "expected_public_key"));
            assert_eq!(checksum_text(&key.address()), text(entry, "expected_address"));
        }
        "secp256k1_key_invalid" => assert!(SecretKey::from_bytes(&bytes(entry, "private_key")).is_err()),
        "secp256k1_sign" => {
            let key = SecretKey::from_bytes(&bytes(entry, "private_key")).unwrap();
            let signature = key.sign_hash(&bytes(entry, "hash").try_into().unwrap());
            assert_eq!(hex::encode(signature.as_bytes()), text(entry, "expected_signature"));
        }
        "secp256k1_recover" => {
            let signature = Signature::from(bytes(entry, "signature"));
            let key = signature.recover_key(&bytes(entry, "hash").try_into().unwrap()).unwrap();
            assert_eq!(hex::encode(key.to_bytes()), text(entry, "expected_public_key"));
        }
        "create_address" => {
            let sender = parse_address(text(entry, "sender")).unwrap();
            let address = contract_address(&sender, entry["nonce"].as_u64().unwrap());
            assert_eq!(hex::encode(address), text(entry, "expected_address"));
        }
        "address_checksum" => {
            assert_eq!(
                checksum_text(&parse_address(text(entry, "address")).unwrap()),
                text(entry, "expected")
            );
        }
        "hex_to_address" => {
            assert_eq!(checksum_text(&lenient_address(text(entry, "input"))), text(entry, "expected"));
        }
        "chain_id" => {
            let rules = ChainRules { chain_id: text(entry, "chain_id").into(), ..ChainRules::mainnet() };
            let height = Height(entry["height"].as_u64().unwrap());
            assert_eq!(rules.eth_chain_id(height).to_string(), text(entry, "expected"));
        }
        "tx_sign_bytes" => check_sign_bytes(entry),
        "tx_raw" => check_signed_send(entry),
        "block" => {
            let raw = bytes(entry, "raw_block");
            let block = Block::from_rlp(&raw, &ForkHeights::mainnet()).unwrap();
            assert_eq!(hex::encode(block.hash().0), text(entry, "expected_block_hash"));
            assert_eq!(hex::encode(block.header.to_rlp()), text(entry, "expected_header_rlp"));
            assert_eq!(block.to_rlp(), raw);
        }
        "block_header" => {
            let raw = bytes(entry, "expected_header_rlp");
            assert_eq!(rlp_of(&entry["fields"]), raw);
            let header = BlockHeader::from_rlp(&raw, &ForkHeights::mainnet()).unwrap();
            assert_eq!(header.to_rlp(), raw);
            assert_eq!(hex::encode(header.hash().0), text(entry, "expected_block_hash"));
        }
        "vote" => {
            let key = SecretKey::from_bytes(&bytes(entry, "private_key")).unwrap();
            let block: BlockHash = text(entry, "block").parse().unwrap();
            let height = Height(entry["height"].as_u64().unwrap());
            let vote = Vote::signed(block, height, Epoch(entry["epoch"].as_u64().unwrap()), &key);
            assert_eq!(hex::encode(vote.voter), text(entry, "id"));
            assert_eq!(hex::encode(vote.sign_bytes()), text(entry, "expected_sign_bytes"));
            assert_eq!(hex::encode(vote.signature.as_bytes()), text(entry, "expected_signature"));
            assert_eq!(hex::encode(vote.to_rlp()), text(entry, "expected_vote_rlp"));
            assert_eq!(hex::encode(vote.hash()), text(entry, "expected_vote_hash"));
            assert!(vote.is_valid());
        }
        "vcp" => {
            let pool = ValidatorCandidatePool::from_rlp(&bytes(entry, "rlp")).unwrap();
            assert_eq!(hex::encode(pool.to_rlp()), text(entry, "rlp"));
            assert_eq!(pool.sorted_candidates.len(), 1);
        }
        "height_list" => {
            let list = HeightList::from_rlp(&bytes(entry, "rlp")).unwrap();
            let heights: Vec<u64> = serde_json::from_value(entry["heights"].clone()).unwrap();
            assert_eq!(list.heights, heights.into_iter().map(Height).collect::<Vec<_>>());
            assert_eq!(hex::encode(list.to_rlp()), text(entry, "rlp"));
        }
        "account" => {
            let raw = rlp_of(&entry["fields"]);
            assert_eq!(hex::encode(&raw), text(entry, "rlp"));
            assert_eq!(Account::from_rlp(&raw).unwrap().to_rlp(), raw);
        }
        "hash_rand" => {
            let mut out = [0u8; 64];
            let mut random = HashRand::new(&bytes(entry, "seed"));
            let (head, tail) = out.split_at_mut(7);
            random.fill(head);
            random.fill(tail);
            assert_eq!(hex::encode(out), text(entry, "expected_first_64_bytes"));
        }
        "rlp_encode" => assert_eq!(hex::encode(encoded(&entry["value"])), text(entry, "expected")),
        "rlp_decode_error" => {
            let input = bytes(entry, "input");
            let refused = match text(entry, "type") {
                "uint" => u64::from_rlp(&input).is_err(),
                "uint16" => u16::from_rlp(&input).is_err(),
                "bigint" => Wei::from_rlp(&input).is_err(),
                "bool" => bool::from_rlp(&input).is_err(),
                "address" => Address::from_rlp(&input).is_err(),
                "bytes" => Reader::new(&input).string().is_err(),
                other => panic!("unknown type {other}"),
            };
            assert!(refused);
        }
        "tx_decode_no_panic" => assert!(Transaction::decode(&bytes(entry, "input")).is_err()),
        "json" => assert_eq!(json_text(entry), text(entry, "expected")),
        "json_uint64" => {
            #[derive(serde::Deserialize)]
            struct Counter(#[serde(with = "theta_types::json::decimal")] u64);
            let read = serde_json::from_str::<Counter>(text(entry, "input"));
            assert_eq!(read.ok().map(|counter| counter.0.to_string()).as_deref(), entry["expected"].as_str());
        }
        "parse_coin_amount" => {
            let amount = parse_coin_amount(text(entry, "input")).ok();
            assert_eq!(amount.map(|wei| wei.to_string()).as_deref(), entry["expected"].as_str());
        }
        "constant" => {
            let constant = match name {
                "empty_root_hash" => EMPTY_ROOT_HASH,
                "mainnet_genesis_hash" => MAINNET_GENESIS_HASH.0,
                other => panic!("unknown constant {other}"),
            };
            assert_eq!(hex::encode(constant), text(entry, "expected"));
        }
        other => panic!("{name}: nobody checks entries of kind {other}"),
    }
}

fn check_sign_bytes(entry: &Value) {
    let chain = text(entry, "chain_id");
    let kind = entry["tx_type"].as_u64().unwrap();
    // For the payer's bytes the file has the transaction as it is signed, and the one that it comes from.
    let fields = entry.get("original").unwrap_or(&entry["fields"]);
    let mut raw = Vec::new();
    kind.encode_to(&mut raw);
    raw.extend(rlp_of(fields));
    if kind == u64::from(TxKind::SmartContract.number()) {
        let tx = contract_call(&raw);
        assert_eq!(tx.to_rlp(), raw[1..]);
        let signed = |wrapper| hex::encode(tx.sign_bytes(chain, wrapper));
        assert_eq!(signed(SignWrapper::V1), text(entry, "expected_sign_bytes"));
        assert_eq!(signed(SignWrapper::V2), text(entry, "expected_sign_bytes_v2"));
        return;
    }
    let tx = Transaction::decode(&raw).unwrap();
    assert_eq!(tx.encode(), raw);

    let (v1, v2) = match &tx {
        Transaction::Coinbase(tx) => (tx.sign_bytes(chain), None),
        Transaction::Send(tx) => both(|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::ReserveFund(tx) => both(|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::ReleaseFund(tx) => both(|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::SplitRule(tx) => both(|wrapper| tx.sign_bytes(chain, wrapper)),
        Transaction::ServicePayment(tx) if entry.get("original").is_some() => {
            (tx.source_sign_bytes(chain), None)
        }
        Transaction::ServicePayment(tx) => (tx.target_sign_bytes(chain), None),
    };
    assert_eq!(hex::encode(&v1), text(entry, "expected_sign_bytes"));
    // The second wrapper is not valid for coinbase and service payments at any height, so nothing makes it for them.
    if let Some(v2) = v2 {
        assert_eq!(hex::encode(v2), text(entry, "expected_sign_bytes_v2"));
    }
    let id = if entry.get("original").is_some() { keccak256(v1) } else { tx.id(chain) };
    assert_eq!(hex::encode(id), text(entry, "expected_tx_id"));
}

fn both(sign_bytes: impl Fn(SignWrapper) -> Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
    (sign_bytes(SignWrapper::V1), Some(sign_bytes(SignWrapper::V2)))
}

fn check_signed_send(entry: &Value) {
    let chain = text(entry, "chain_id");
    let raw = bytes(entry, "expected_raw_tx");
    let key = SecretKey::from_bytes(&bytes(entry, "private_key")).unwrap();
    let Transaction::Send(mut tx) = Transaction::decode(&raw).unwrap() else { panic!("a send") };
    let signed = tx.clone();

    tx.inputs[0].signature = Signature::empty();
    assert_eq!(hex::encode(tx.sign_bytes(chain, SignWrapper::V1)), text(entry, "unsigned_sign_bytes"));
    tx.sign(chain, &key);
    assert_eq!(tx, signed);
    assert_eq!(hex::encode(tx.inputs[0].signature.as_bytes()), text(entry, "expected_signature"));

    let tx = Transaction::from(tx);
    assert_eq!(tx.encode(), raw);
    assert_eq!(hex::encode(tx.hash().0), text(entry, "expected_tx_hash"));
    assert_eq!(hex::encode(tx.id(chain)), text(entry, "expected_tx_id"));
}

/// A kind that is read and shown, and refused by name as a transaction.
fn contract_call(raw: &[u8]) -> SmartContractTx {
    assert_eq!(Transaction::decode(raw), Err(TxError::Unsupported(TxKind::SmartContract)));
    SmartContractTx::from_rlp(&raw[1..]).unwrap()
}

fn json_text(entry: &Value) -> String {
    let raw = || bytes(entry, "rlp");
    match text(entry, "type") {
        "Coins" => json::to_string(&Coins::from_rlp(&raw()).unwrap()),
        "SendTx" => json::to_string(&Transaction::decode(&bytes(entry, "raw_tx")).unwrap()),
        "SmartContractTx" => json::to_string(&contract_call(&bytes(entry, "raw_tx"))),
        "Stake" => json::to_string(&Stake::from_rlp(&raw()).unwrap()),
        "Account" => json::to_string(&Account::from_rlp(&raw()).unwrap()),
        "Vote" => json::to_string(&Vote::from_rlp(&raw()).unwrap()),
        "AggregatedVotes" => json::to_string(&GuardianVotes::from_rlp(&raw()).unwrap()),
        other => panic!("unknown type {other}"),
    }
    .unwrap()
}

fn encoded(value: &Value) -> Vec<u8> {
    match value {
        Value::Bool(value) => value.to_rlp(),
        other => rlp_of(other),
    }
}

/// RLP of a structure as the file writes it: numbers, `0x` byte strings, texts and lists.
fn rlp_of(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Number(number) => {
            number.as_u64().unwrap().encode_to(&mut out);
        }
        Value::String(text) => {
            if let Some(number) = text.strip_prefix('#') {
                number.parse::<Wei>().unwrap().encode_to(&mut out);
            } else if let Some(digits) = text.strip_prefix("0x") {
                encode_string(&hex::decode(digits).unwrap(), &mut out);
            } else {
                encode_string(text.as_bytes(), &mut out);
            }
        }
        Value::Array(elements) => encode_list(&mut out, |out| {
            for element in elements {
                out.extend(rlp_of(element));
            }
        }),
        other => panic!("no RLP for {other}"),
    }
    out
}

fn entries() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/types.json");
    serde_json::from_str(&with_large_numbers_as_text(&std::fs::read_to_string(path).unwrap())).unwrap()
}

/// Numbers above 64 bits would lose digits as JSON numbers: they become texts that start with `#`.
fn with_large_numbers_as_text(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_text = false;
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if !in_text && digits > 18 {
            out.push_str(&format!("\"#{}\"", &rest[..digits]));
            rest = &rest[digits..];
        } else if rest.starts_with("\\\"") {
            out.push_str("\\\"");
            rest = &rest[2..];
        } else {
            in_text ^= first == '"';
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_else(|| panic!("{entry} lacks {field}"))
}

fn bytes(entry: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(entry, field)).unwrap()
}
