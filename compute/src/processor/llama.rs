//! Llamas on the processor, in the blocks of their file.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    kernels::{Head, vectorised},
    matrix::Matrix,
};
use crate::{
    ComputeError,
    llama::{LlamaFile, LlamaShape},
    runtime::{Decoder, Decoding},
};

/// Scores that make it worth while to share a token's heads out to threads.
const SHARED_SCORES: usize = 4096;

/// A Llama in memory.
#[derive(Debug)]
pub(super) struct ProcessorLlama {
    weights: Arc<Weights>,
    bytes: u64,
}

#[derive(Debug)]
struct Weights {
    shape: LlamaShape,
    embedding: Matrix,
    blocks: Vec<Block>,
    output_norm: Vec<f32>,
    /// The matrix of the logits, if it is not the embedding.
    output: Option<Matrix>,
    /// Cosine and sine of each pair of a head, position by position.
    rotations: Vec<(f32, f32)>,
}

#[derive(Debug)]
struct Block {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    attention_output: Matrix,
    feed_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

impl ProcessorLlama {
    pub fn load(file: &LlamaFile) -> Result<Self, ComputeError> {
        let shape = file.shape().clone();
        let blocks = (0..shape.blocks).map(|number| {
            let block = file.block(number)?;
            Ok::<_, ComputeError>(Block {
                attention_norm: block.attention_norm.values(),
                query: Matrix::new(block.query),
                key: Matrix::new(block.key),
                value: Matrix::new(block.value),
                attention_output: Matrix::new(block.attention_output),
                feed_norm: block.feed_norm.values(),
                gate: Matrix::new(block.gate),
                up: Matrix::new(block.up),
                down: Matrix::new(block.down),
            })
        });
        let weights = Weights {
            blocks: blocks.collect::<Result<_, _>>()?,
            embedding: Matrix::new(file.embedding()?),
            output_norm: file.output_norm()?.values(),
            output: file.output()?.map(Matrix::new),
            rotations: rotations(&shape),
            shape,
        };
        let matrices = weights.blocks.iter().flat_map(Block::matrices).chain([&weights.embedding]);
        let bytes: usize = matrices.chain(&weights.output).map(Matrix::bytes).sum();
        Ok(Self { bytes: bytes as u64, weights: Arc::new(weights) })
    }
}

impl Decoder for ProcessorLlama {
    fn start(&self, expected: usize) -> Result<Box<dyn Decoding>, ComputeError> {
        let row = self.weights.shape.kv_heads * self.weights.shape.head;
        // Room for a short text at once; a long one grows by doubling.
        let room = row * expected.min(512);
        let cache = || Cache { keys: Vec::with_capacity(room), values: Vec::with_capacity(room) };
        let caches = self.weights.blocks.iter().map(|_| cache()).collect();
        Ok(Box::new(Text { weights: self.weights.clone(), caches, tokens: 0 }))
    }

    fn max_tokens(&self) -> usize {
        self.weights.shape.context
    }

    fn vocabulary(&self) -> usize {
        self.weights.shape.vocabulary
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A text and what each block remembers of it.
#[derive(Debug)]
struct Text {
    weights: Arc<Weights>,
    caches: Vec<Cache>,
    tokens: usize,
}

/// Keys and values of one block: for each token, one row of all its key heads.
#[derive(Debug)]
struct Cache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Decoding for Text {
    fn push(&mut self, tokens: &[u32]) -> Result<Vec<f32>, ComputeError> {
        let weights = self.weights.clone();
        let shape = &weights.shape;
        let end = self.tokens + tokens.len();
        if tokens.is_empty() || end > shape.context {
            return Err(ComputeError::PromptTooLong { tokens: end, limit: shape.context });
        }
        if tokens.iter().any(|token| *token as usize >= shape.vocabulary) {
            return Err(ComputeError::BadOrder("a token is not in the vocabulary".into()));
        }
        let mut x = vec![0.0; tokens.len() * shape.width];
        for (token, x) in tokens.iter().zip(x.chunks_exact_mut(shape.width)) {
            weights.embedding.row(*token as usize, x);
        }
        for (block, cache) in weights.blocks.iter().zip(&mut self.caches) {
            let found = block.attend(&normed(&x, &block.attention_norm, shape), cache, self.tokens, &weights);
            add(&mut x, &found);
            let found = block.feed(&normed(&x, &block.feed_norm, shape));
            add(&mut x, &found);
        }
        self.tokens = end;
        let last = normed(&x[x.len() - shape.width..], &weights.output_norm, shape);
        let logits = weights.output.as_ref().unwrap_or(&weights.embedding).multiply(&last);
        if logits.iter().all(|logit| logit.is_finite()) {
            Ok(logits)
        } else {
            Err(ComputeError::ModelFile("its weights lead to values that are no numbers".into()))
        }
    }

    fn tokens(&self) -> usize {
        self.tokens
    }
}

impl Block {
    fn matrices(&self) -> [&Matrix; 7] {
        [&self.query, &self.key, &self.value, &self.attention_output, &self.gate, &self.up, &self.down]
    }

    fn attend(&self, x: &[f32], cache: &mut Cache, start: usize, weights: &Weights) -> Vec<f32> {
        let shape = &weights.shape;
        let (query_row, key_row) = (shape.heads * shape.head, shape.kv_heads * shape.head);
        let (mut queries, mut keys) = (self.query.multiply(x), self.key.multiply(x));
        rotate(&mut queries, query_row, start, weights);
        rotate(&mut keys, key_row, start, weights);
        cache.keys.extend(keys);
        cache.values.extend(self.value.multiply(x));

        let mut mixed = vec![0.0; queries.len()];
        let find = |(number, out): (usize, &mut [f32])| {
            let (token, head) = (number / shape.heads, number % shape.heads);
            let seen = start + token + 1;
            let head_of_keys = head / (shape.heads / shape.kv_heads);
            vectorised(Head {
                query: &queries[number * shape.head..][..shape.head],
                keys: &cache.keys[..seen * key_row],
                values: &cache.values[..seen * key_row],
                row: key_row,
                at: head_of_keys * shape.head,
                scores: &mut vec![0.0; seen],
                out,
            });
        };
        let scores = (start + x.len() / shape.width) * queries.len() / shape.head;
        if scores >= SHARED_SCORES {
            mixed.par_chunks_exact_mut(shape.head).enumerate().for_each(find);
        } else {
            mixed.chunks_exact_mut(shape.head).enumerate().for_each(find);
        }
        self.attention_output.multiply(&mixed)
    }

    fn feed(&self, x: &[f32]) -> Vec<f32> {
        let (mut gate, up) = (self.gate.multiply(x), self.up.multiply(x));
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
        self.down.multiply(&gate)
    }
}

/// Turns the adjacent pairs of each head by the angle of their token's position.
fn rotate(rows: &mut [f32], row: usize, start: usize, weights: &Weights) {
    let half = weights.shape.head / 2;
    for (token, row) in rows.chunks_exact_mut(row).enumerate() {
        let rotations = &weights.rotations[(start + token) * half..][..half];
        for head in row.chunks_exact_mut(2 * half) {
            for (pair, (cosine, sine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(rotations) {
                *pair = [pair[0] * cosine - pair[1] * sine, pair[0] * sine + pair[1] * cosine];
            }
        }
    }
}

fn rotations(shape: &LlamaShape) -> Vec<(f32, f32)> {
    let half = shape.head / 2;
    let steps: Vec<f64> =
        (0..half).map(|pair| shape.rope_base.powf(-2.0 * pair as f64 / shape.head as f64)).collect();
    let angles = (0..shape.context).flat_map(|position| steps.iter().map(move |step| position as f64 * step));
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).collect()
}

/// Root-mean-square normalisation of each row.
fn normed(x: &[f32], scale: &[f32], shape: &LlamaShape) -> Vec<f32> {
    let row = |x: &[f32]| {
        let squares: f64 = x.iter().map(|value| f64::from(*value).powi(2)).sum();
        1.0 / (squares / x.len() as f64 + shape.epsilon).sqrt() as f32
    };
    let rows = x.chunks_exact(scale.len()).map(|x| (x, row(x)));
    rows.flat_map(|(x, factor)| x.iter().zip(scale).map(move |(value, scale)| value * factor * scale))
        .collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
