//! Keys and signatures, with what the chain accepts beyond the usual (spec 01 sections 3.2 and 3.3).

use num_bigint::BigUint;
use proptest::prelude::*;
use theta_types::*;

/// Order of the curve.
const N: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

fn order() -> BigUint {
    BigUint::parse_bytes(N.as_bytes(), 16).unwrap()
}

/// The other signature of the same key over the same message: n - s, V with its low bit flipped.
fn mirrored(signature: &Signature) -> Signature {
    let bytes = signature.as_bytes();
    let s = order() - BigUint::from_bytes_be(&bytes[32..64]);
    let mut other = bytes.to_vec();
    let s = s.to_bytes_be();
    other[32..64].fill(0);
    other[64 - s.len()..64].copy_from_slice(&s);
    other[64] ^= 1;
    Signature::from(other)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_signature_verifies_for_its_key_and_message_alone(secret in any::<[u8; 32]>(), message in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
        let key = SecretKey::from_bytes(&secret).unwrap();
        let signature = key.sign(&message);
        prop_assert!(signature.as_bytes()[64] < 2);
        prop_assert!(BigUint::from_bytes_be(&signature.as_bytes()[32..64]) <= order() / 2u8, "low s");
        prop_assert!(signature.verify(&message, &key.address()));
        prop_assert!(mirrored(&signature).verify(&message, &key.address()), "high s");
        prop_assert_eq!(&key.sign(&message), &signature, "deterministic");

        prop_assert!(!signature.verify(&[&message[..], b"x"].concat(), &key.address()));
        let mut changed = signature.as_bytes().to_vec();
        let at = at.index(65);
        changed[at] ^= 1;
        prop_assert!(!Signature::from(changed).verify(&message, &key.address()));
    }

    #[test]
    fn no_bytes_make_verification_panic(bytes in proptest::collection::vec(any::<u8>(), 0..70), v in 0u8..6) {
        let mut bytes = bytes;
        let _ = Signature::from(bytes.clone()).recover(b"message");
        bytes.resize(64, 0);
        bytes.push(v);
        let _ = Signature::from(bytes).recover(b"message");
    }
}

#[test]
fn what_is_no_signature_does_not_verify() {
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let good = key.sign(b"m").as_bytes().to_vec();
    let with = |place: std::ops::Range<usize>, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[place].copy_from_slice(value);
        Signature::from(bytes).recover(b"m")
    };
    let n = hex::decode(N).unwrap();
    assert_eq!(Signature::empty().recover(b"m"), None);
    assert_eq!(Signature::from(&good[..64]).recover(b"m"), None);
    assert_eq!(Signature::from([&good[..], &[0]].concat()).recover(b"m"), None);
    for v in [4, 27, 28, 255] {
        assert_eq!(with(64..65, &[v]), None, "V {v}");
    }
    assert_eq!(with(0..32, &[0; 32]), None, "r = 0");
    assert_eq!(with(32..64, &[0; 32]), None, "s = 0");
    assert_eq!(with(0..32, &n), None, "r = n");
    assert_eq!(with(32..64, &n), None, "s = n");
}

#[test]
fn recovery_ids_two_and_three_mean_a_reduced_x() {
    // x = r + n must be below p: r = 1 has such a point with one of the ids, r = n - 1 has none.
    let point_of = |r: &BigUint, v: u8| {
        let mut bytes = [0u8; 65];
        let r = r.to_bytes_be();
        bytes[32 - r.len()..32].copy_from_slice(&r);
        bytes[63] = 1;
        bytes[64] = v;
        Signature::from(bytes.as_slice()).recover(b"m")
    };
    let small: Vec<_> = (1u8..20).map(BigUint::from).filter_map(|r| point_of(&r, 2)).collect();
    assert!(!small.is_empty(), "some small r + n is the x of a point");
    assert_eq!(point_of(&(order() - 1u8), 2), None);
    assert_eq!(point_of(&(order() - 1u8), 3), None);
}

#[test]
fn a_secret_key_is_never_printed() {
    let key = SecretKey::from_bytes(&[0xab; 32]).unwrap();
    assert!(!format!("{key:?}").to_lowercase().contains("abababab"));
    assert_ne!(SecretKey::random().unwrap().address(), SecretKey::random().unwrap().address());
}

#[test]
fn a_public_key_lies_on_the_curve() {
    let key = SecretKey::from_bytes(&[1; 32]).unwrap().public_key();
    let mut bytes = key.to_bytes();
    assert_eq!(PublicKey::from_bytes(&bytes), Ok(key));
    bytes[64] ^= 1;
    assert_eq!(PublicKey::from_bytes(&bytes), Err(KeyError::Public));
    assert_eq!(PublicKey::from_bytes(&bytes[..33]), Err(KeyError::Public));
}

#[test]
fn the_second_wrapper_is_accepted_from_its_height_on() {
    let forks = ForkHeights { tx_wrapper_extension: Height(50), ..ForkHeights::all_at(Height(2)) };
    let key = SecretKey::from_bytes(&[9; 32]).unwrap();
    let tx = SendTx {
        fee: Coins::tfuel(Wei::from(5u64)),
        inputs: vec![TxInput::unsigned(key.address(), Coins::tfuel(Wei::from(6u64)), 1)],
        outputs: vec![TxOutput { address: Address::repeat_byte(3), coins: Coins::tfuel(Wei::from(1u64)) }],
    };
    let sign_bytes = |wrapper| tx.sign_bytes("chain", wrapper);
    let accepted = |signature: &Signature, height| {
        signature_accepted(signature, &key.address(), Height(height), &forks, sign_bytes)
    };
    let (v1, v2) = (key.sign(&sign_bytes(SignWrapper::V1)), key.sign(&sign_bytes(SignWrapper::V2)));
    assert!(accepted(&v1, 49) && accepted(&v1, 50));
    assert!(!accepted(&v2, 49) && accepted(&v2, 50));
    assert!(!accepted(&key.sign(&tx.sign_bytes("other chain", SignWrapper::V1)), 50));
}
