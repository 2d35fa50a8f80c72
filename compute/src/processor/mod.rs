//! The runtime for processors: chat models in the blocks of their file, the rest on burn.
//!
//! A chat on the processor waits for memory: each token reads every weight once. Weights that stay 4 or 8 bits wide
//! are read several times as fast as 32-bit ones, and need a fifth of the memory; burn's Flex has no fast path for them.
//! Products are taken with 32-bit activations, so the results are those of burn up to the order of additions. Both
//! runtimes are held to the same reference (tests/chat.rs), and bench/inference measures them beside each other. On one
//! thread of a busy machine, a second of the processor made 33 tokens of SmolLM2-135M's answers here and 8 on Flex, and
//! read 80 tokens of a prompt and 38; the program took 232 MiB and 655 MiB.

mod kernels;
mod llama;
mod matrix;

use std::sync::Arc;

use crate::{
    ComputeError,
    bert::BertFile,
    burn_runtime::BurnRuntime,
    llama::LlamaFile,
    runtime::{Decoder, DeviceDescription, Encoder, Runtime},
};

/// The processor, with as many threads as the rayon pool it is called in.
#[derive(Debug)]
pub struct ProcessorRuntime {
    burn: BurnRuntime,
    description: DeviceDescription,
}

impl ProcessorRuntime {
    /// The processor of this machine.
    pub fn new() -> Self {
        let threads = rayon::current_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        let words = format!("processor ({threads} thread{plural})");
        Self { burn: BurnRuntime::processor(), description: DeviceDescription { words, gpu: false } }
    }
}

impl Default for ProcessorRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for ProcessorRuntime {
    fn device(&self) -> &DeviceDescription {
        &self.description
    }

    fn load_encoder(&self, file: &BertFile<'_>) -> Result<Arc<dyn Encoder>, ComputeError> {
        self.burn.load_encoder(file)
    }

    fn load_decoder(&self, file: &LlamaFile) -> Result<Arc<dyn Decoder>, ComputeError> {
        Ok(Arc::new(llama::ProcessorLlama::load(file)?))
    }
}
