//! The compute worker: embeddings and chat on the node's own GPU or processor.
//!
//! From the job inwards: a [`worker`] takes commands and lets jobs ([`work`]) take turns; a job asks the models in
//! memory ([`loaded`]) for a chat model ([`chat`]) or an embeddings model ([`embeddings`]); those own what is the same
//! everywhere, such as tokens ([`tokenizer`]), templates and sampling, and leave the multiplying to a [`runtime`] on a
//! [`device`] that was tried before: [`burn_runtime`] for GPUs and for embeddings, [`processor`] for chats without a GPU.
//! Models come from a [`registry`] by hash, out of a [`model_store`]; their files are GGUF ([`gguf`], [`llama`]) and
//! safetensors ([`bert`]).
//!
//! This crate knows nothing of the network, prices or the chain.
#![warn(missing_docs)]

pub mod bert;
pub mod burn_runtime;
pub mod chat;
pub mod device;
pub mod embeddings;
mod error;
pub mod gguf;
pub mod llama;
pub mod loaded;
pub mod model_store;
pub mod processor;
pub mod registry;
pub mod runtime;
pub mod tokenizer;
pub mod work;
pub mod worker;

#[cfg(test)]
mod tiny_llama;

pub use error::ComputeError;
