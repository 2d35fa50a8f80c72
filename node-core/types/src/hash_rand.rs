//! A stream of pseudo-random bytes from a seed, the same on every node.

use alloy_primitives::B256;

use crate::hash::keccak256;

/// An endless stream from a seed: the first state is keccak256 of the seed, each further one the hash of the one before, and what comes
/// out are the states after the first (spec 01 section 7.5).
#[derive(Debug, Clone)]
pub struct HashRand {
    state: B256,
    used: usize,
}

impl HashRand {
    /// The stream of this seed.
    pub fn new(seed: &[u8]) -> Self {
        Self { state: keccak256(seed), used: B256::len_bytes() }
    }

    /// Fills the buffer with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            if self.used == B256::len_bytes() {
                self.state = keccak256(self.state);
                self.used = 0;
            }
            *byte = self.state[self.used];
            self.used += 1;
        }
    }
}
