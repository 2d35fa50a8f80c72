//! Block tree, votes, commit certificates and finality of the Theta chain.
