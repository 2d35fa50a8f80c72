//! What a runtime does: it loads a model's weights on a device and multiplies. Tokens, templates, sampling and jobs are
//! the same for every runtime and live elsewhere.

use std::{fmt, sync::Arc};

use crate::{ComputeError, bert::BertFile, llama::LlamaFile};

/// A library that runs models on one device. There are two: [burn](crate::burn_runtime), for GPUs and for
/// embeddings everywhere, and one for chats on the [processor](crate::processor).
pub trait Runtime: fmt::Debug + Send {
    /// The device, for people.
    fn device(&self) -> &DeviceDescription;

    /// Loads an embeddings model.
    fn load_encoder(&self, file: &BertFile<'_>) -> Result<Arc<dyn Encoder>, ComputeError>;

    /// Loads a chat model.
    fn load_decoder(&self, file: &LlamaFile) -> Result<Arc<dyn Decoder>, ComputeError>;
}

/// The device that models run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDescription {
    /// Its name, and how it is reached.
    pub words: String,
    /// Whether it is a real GPU.
    pub gpu: bool,
}

/// An embeddings model on a device.
pub trait Encoder: fmt::Debug + Send + Sync {
    /// One vector of unit length for each text, given as token ids (at least one each, special tokens included).
    fn encode(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ComputeError>;

    /// The most tokens of one text.
    fn max_tokens(&self) -> usize;

    /// Memory that the weights take, in bytes.
    fn bytes(&self) -> u64;
}

/// A chat model on a device.
pub trait Decoder: fmt::Debug + Send + Sync {
    /// A fresh text that is `expected` tokens long in the end, or longer if need be.
    fn start(&self, expected: usize) -> Result<Box<dyn Decoding>, ComputeError>;

    /// The most tokens of one text.
    fn max_tokens(&self) -> usize;

    /// Number of tokens in the vocabulary: the length of the logits.
    fn vocabulary(&self) -> usize;

    /// Memory that the weights take, in bytes.
    fn bytes(&self) -> u64;
}

/// A text that a [`Decoder`] continues, with its keys and values cached.
pub trait Decoding: fmt::Debug + Send {
    /// Appends tokens (at least one) and returns the logits of what comes after the last.
    fn push(&mut self, tokens: &[u32]) -> Result<Vec<f32>, ComputeError>;

    /// How many tokens the text has.
    fn tokens(&self) -> usize;
}

#[cfg(test)]
mod tests;
