//! Transaction execution: (state, block) to state, and nothing else.
