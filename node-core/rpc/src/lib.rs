//! The theta.* JSON-RPC of a node.
