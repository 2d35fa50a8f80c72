//! The Merkle Patricia trie of the Theta state and the store it lives in.
