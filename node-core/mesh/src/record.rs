//! Small records that a node keeps in the overlay's hash table.

use std::time::{SystemTime, UNIX_EPOCH};

use libp2p::{PeerId, identity::PublicKey, kad};
use theta_types::Address;

use crate::{BindingError, NodeKey, WalletBinding};

/// Longest name of a record, in bytes.
pub const MAX_RECORD_NAME_BYTES: usize = 64;

/// Largest value of a record, in bytes. What is larger belongs on a stream.
pub const MAX_RECORD_BYTES: usize = 8 * 1024;

/// A value that a wallet's node published under a name. The place of a record is its wallet and name, so a record
/// can be checked by anyone who holds it, and nobody can take another wallet's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// The wallet that published it.
    pub wallet: Address,
    /// The node that signed it, bound to the wallet.
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970 by the publisher's clock; a larger one replaces a smaller.
    pub sequence: u64,
    /// The value.
    pub value: Vec<u8>,
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the bytes are no record")]
    Malformed,
    #[error("the record's wallet is not proven: {0}")]
    Binding(#[from] BindingError),
    #[error("the record's signature is wrong")]
    Signature,
    #[error("the record is in another's place")]
    Place,
    #[error("the record is dated in the future")]
    Future,
}

const DOMAIN: &[u8] = b"thetis mesh record\0";
/// How far a publisher's clock may be ahead.
const CLOCK_TOLERANCE_MS: u64 = 60 * 60 * 1000;

/// Where a wallet's record of this name lies.
pub(crate) fn place(wallet: &Address, name: &str) -> kad::RecordKey {
    kad::RecordKey::new(&[b"record/", wallet.as_slice(), name.as_bytes()].concat())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// Signs and encodes a record: binding, public key, sequence, name and value, each with its length, then the signature
/// of the node's key over all of it.
pub(crate) fn encode(
    key: &NodeKey,
    binding: &WalletBinding,
    name: &str,
    sequence: u64,
    value: &[u8],
) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len() + 512);
    for part in [&binding.encode(), &key.keypair().public().encode_protobuf(), &sequence.to_be_bytes()[..]] {
        push(&mut bytes, part)?;
    }
    push(&mut bytes, name.as_bytes())?;
    push(&mut bytes, value)?;
    let signature = key.keypair().sign(&[DOMAIN, &bytes].concat()).ok()?;
    push(&mut bytes, &signature)?;
    Some(bytes)
}

/// Reads a record that was found at `key`, and checks everything about it.
pub(crate) fn decode(
    bytes: &[u8],
    key: &kad::RecordKey,
    chain_id: &str,
    now_ms: u64,
) -> Result<SignedRecord, RecordError> {
    let mut rest = bytes;
    let binding = WalletBinding::decode(take(&mut rest)?)?;
    let public_key = PublicKey::try_decode_protobuf(take(&mut rest)?).map_err(|_| RecordError::Malformed)?;
    let sequence = take(&mut rest)?.try_into().map(u64::from_be_bytes).map_err(|_| RecordError::Malformed)?;
    let name = std::str::from_utf8(take(&mut rest)?).map_err(|_| RecordError::Malformed)?;
    let value = take(&mut rest)?;
    let signed = &bytes[..bytes.len() - rest.len()];
    let signature = take(&mut rest)?;
    if !rest.is_empty() || name.len() > MAX_RECORD_NAME_BYTES || value.len() > MAX_RECORD_BYTES {
        return Err(RecordError::Malformed);
    }
    if sequence > now_ms.saturating_add(CLOCK_TOLERANCE_MS) {
        return Err(RecordError::Future);
    }
    let peer = public_key.to_peer_id();
    let wallet = binding.verify(chain_id, &peer)?;
    if place(&wallet, name) != *key {
        return Err(RecordError::Place);
    }
    if !public_key.verify(&[DOMAIN, signed].concat(), signature) {
        return Err(RecordError::Signature);
    }
    Ok(SignedRecord { wallet, peer, name: name.to_owned(), sequence, value: value.to_vec() })
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    bytes.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(part);
    Some(())
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (length, tail) = rest.split_first_chunk::<2>().ok_or(RecordError::Malformed)?;
    let (part, tail) =
        tail.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(RecordError::Malformed)?;
    *rest = tail;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use theta_types::SecretKey;

    use super::*;

    fn publisher() -> (NodeKey, SecretKey, WalletBinding) {
        let (node, wallet) =
            (NodeKey::from_bytes(&[3; 32]).unwrap(), SecretKey::from_bytes(&[4; 32]).unwrap());
        let binding = WalletBinding::sign(&wallet, "c", &node.peer_id());
        (node, wallet, binding)
    }

    #[test]
    fn a_record_survives_its_bytes_and_names_its_publisher() {
        let (node, wallet, binding) = publisher();
        let bytes = encode(&node, &binding, "offers", 5, b"value").unwrap();
        let record = decode(&bytes, &place(&wallet.address(), "offers"), "c", 5).unwrap();
        assert_eq!(
            record,
            SignedRecord {
                wallet: wallet.address(),
                peer: node.peer_id(),
                name: "offers".into(),
                sequence: 5,
                value: b"value".to_vec()
            }
        );
    }

    #[test]
    fn a_record_in_another_place_or_of_another_chain_is_refused() {
        let (node, wallet, binding) = publisher();
        let bytes = encode(&node, &binding, "offers", 5, b"value").unwrap();
        let other = SecretKey::from_bytes(&[5; 32]).unwrap().address();
        assert_eq!(decode(&bytes, &place(&other, "offers"), "c", 5), Err(RecordError::Place));
        assert_eq!(decode(&bytes, &place(&wallet.address(), "streams"), "c", 5), Err(RecordError::Place));
        let key = place(&wallet.address(), "offers");
        assert!(matches!(decode(&bytes, &key, "d", 5), Err(RecordError::Binding(_))));
    }

    #[test]
    fn a_record_from_the_future_is_refused() {
        let (node, wallet, binding) = publisher();
        let bytes = encode(&node, &binding, "offers", CLOCK_TOLERANCE_MS + 2, b"").unwrap();
        let key = place(&wallet.address(), "offers");
        assert_eq!(decode(&bytes, &key, "c", 1), Err(RecordError::Future));
        assert!(decode(&bytes, &key, "c", 2).is_ok());
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_noticed(at in 0usize..1000, bit in 0u8..8) {
            let (node, wallet, binding) = publisher();
            let mut bytes = encode(&node, &binding, "offers", 5, b"some value").unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes, &place(&wallet.address(), "offers"), "c", 5).is_err());
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes, &kad::RecordKey::new(b"k"), "c", 5);
        }
    }
}
