//! The compute worker: embeddings and chat on the node's own GPU or processor.
