//! What is signed: the transaction inside an imitated Ethereum transaction (spec 01 section 6.3).

use alloy_primitives::Address;

use crate::chain_rules::ForkHeights;
use crate::height::Height;
use crate::rlp::{Encode, encode_list, encode_string};
use crate::signature::Signature;
use crate::tx::TxKind;

/// The form of the imitated Ethereum transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignWrapper {
    /// Six fields. Valid at every height, for every kind.
    V1,
    /// Nine fields, as newer hardware wallets insist. Valid from a fork height on, for most kinds.
    V2,
}

/// The sign bytes of a transaction: `body` is the body with its signatures blanked.
pub(super) fn sign_bytes(chain_id: &str, kind: TxKind, body: &impl Encode, wrapper: SignWrapper) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_string(chain_id.as_bytes(), &mut payload);
    kind.number().encode_to(&mut payload);
    body.encode_to(&mut payload);

    let mut out = Vec::new();
    encode_list(&mut out, |out| {
        // Nonce, gas price and gas, all zero.
        out.extend_from_slice(&[0x80; 3]);
        Address::ZERO.encode_to(out);
        // Value zero.
        out.push(0x80);
        encode_string(&payload, out);
        if wrapper == SignWrapper::V2 {
            // Chain id 1 on every network, then two zeros.
            out.extend_from_slice(&[0x01, 0x80, 0x80]);
        }
    });
    out
}

/// Whether `signer` signed, by one of the wrappers that hold in a block of `height`. `sign_bytes` gives the bytes for a wrapper.
///
/// For the kinds that take both wrappers. Coinbase and service payments take [`SignWrapper::V1`] alone: verify those directly.
pub fn signature_accepted(
    signature: &Signature,
    signer: &Address,
    height: Height,
    forks: &ForkHeights,
    sign_bytes: impl Fn(SignWrapper) -> Vec<u8>,
) -> bool {
    signature.verify(&sign_bytes(SignWrapper::V1), signer)
        || (height >= forks.tx_wrapper_extension && signature.verify(&sign_bytes(SignWrapper::V2), signer))
}
