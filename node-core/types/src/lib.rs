//! Theta chain types: RLP, hashes, keys, coins, transactions, votes, blocks. No I/O.
