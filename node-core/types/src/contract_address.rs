//! The address that a new contract gets.

use alloy_primitives::Address;

use crate::hash::keccak256;
use crate::rlp::{Encode, encode_list};

/// Last 20 bytes of keccak256(rlp([creator, nonce])) (spec 01 section 3.1).
pub fn contract_address(creator: &Address, nonce: u64) -> Address {
    let mut preimage = Vec::with_capacity(32);
    encode_list(&mut preimage, |out| {
        creator.encode_to(out);
        nonce.encode_to(out);
    });
    Address::from_word(keccak256(preimage))
}
