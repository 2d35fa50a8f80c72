//! Embeddings: from texts to vectors, batch by batch.

use std::sync::Arc;

use edge_jobs::{EmbeddingsOrder, MAX_EMBEDDING_INPUTS};

use crate::{
    ComputeError,
    bert::BertFile,
    runtime::{Encoder, Runtime},
    tokenizer::WordPiece,
};

/// A longer text is refused; the model sees its first few hundred tokens at most.
const MAX_INPUT_BYTES: usize = 256 * 1024;
/// Texts in a batch.
const BATCH_TEXTS: usize = 16;
/// Tokens in a batch, padding included: a step must be short enough to cancel at once.
const BATCH_TOKENS: usize = 512;

/// A loaded embeddings model.
#[derive(Debug)]
pub struct EmbeddingModel {
    encoder: Arc<dyn Encoder>,
    tokenizer: WordPiece,
}

/// The vectors of an order, while they are made.
#[derive(Debug)]
pub struct Embedding {
    model: Arc<EmbeddingModel>,
    texts: Vec<Vec<u32>>,
    /// Places of the texts, the shortest first, so that a batch has little padding.
    order: Vec<usize>,
    done: usize,
    vectors: Vec<Vec<f32>>,
}

impl EmbeddingModel {
    /// Loads a model from the content of its files on a runtime. `max_tokens` bounds each text.
    pub fn load(
        config: &[u8],
        weights: &[u8],
        tokenizer: &[u8],
        max_tokens: usize,
        runtime: &dyn Runtime,
    ) -> Result<Arc<Self>, ComputeError> {
        let encoder = runtime.load_encoder(&BertFile::new(config, weights, max_tokens)?)?;
        let tokenizer = WordPiece::from_json(tokenizer, encoder.max_tokens())?;
        Ok(Arc::new(Self { encoder, tokenizer }))
    }

    /// Begins an order.
    pub fn embed(self: &Arc<Self>, order: &EmbeddingsOrder) -> Result<Embedding, ComputeError> {
        if order.inputs.is_empty() || order.inputs.len() > MAX_EMBEDDING_INPUTS {
            return Err(ComputeError::BadOrder(format!("an order has 1 to {MAX_EMBEDDING_INPUTS} texts")));
        }
        if order.inputs.iter().any(|text| text.len() > MAX_INPUT_BYTES) {
            return Err(ComputeError::BadOrder(format!("a text has at most {MAX_INPUT_BYTES} bytes")));
        }
        let texts =
            order.inputs.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|place| texts[*place].len());
        let vectors = vec![Vec::new(); texts.len()];
        Ok(Embedding { model: self.clone(), texts, order, done: 0, vectors })
    }

    /// The weights on their device.
    pub fn encoder(&self) -> &dyn Encoder {
        self.encoder.as_ref()
    }
}

impl Embedding {
    /// Makes the vectors of one batch; returns whether all are done.
    pub fn step(&mut self) -> Result<bool, ComputeError> {
        let batch = self.next_batch();
        let texts: Vec<&[u32]> = batch.iter().map(|place| self.texts[*place].as_slice()).collect();
        for (place, vector) in batch.iter().zip(self.model.encoder.encode(&texts)?) {
            self.vectors[*place] = vector;
        }
        self.done += batch.len();
        Ok(self.done == self.texts.len())
    }

    /// The share of texts that are done, from 0 to 1000.
    pub fn permille(&self) -> u16 {
        (self.done * 1000 / self.texts.len()) as u16
    }

    /// Takes the vectors, in the order of the inputs, and says how many tokens all inputs have.
    pub fn take(&mut self) -> (Vec<Vec<f32>>, u32) {
        let tokens: usize = self.texts.iter().map(Vec::len).sum();
        (std::mem::take(&mut self.vectors), tokens as u32)
    }

    fn next_batch(&self) -> Vec<usize> {
        let mut batch = Vec::new();
        for place in &self.order[self.done..] {
            let tokens = (batch.len() + 1) * self.texts[*place].len();
            if !batch.is_empty() && (batch.len() == BATCH_TEXTS || tokens > BATCH_TOKENS) {
                break;
            }
            batch.push(*place);
        }
        batch
    }
}
