//! Llamas on burn, with 32-bit weights.

use std::{mem, sync::Arc};

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::{UNSEEN, host_values, matrix, token_ids};
use crate::{
    ComputeError, gguf,
    llama::{LlamaFile, LlamaShape},
    runtime::{Decoder, Decoding},
};

/// Room in a fresh cache beyond which it grows by doubling, in tokens.
const FIRST_ROOM: usize = 512;

/// A Llama whose weights are on a device.
#[derive(Debug)]
pub(super) struct BurnLlama {
    weights: Arc<Weights>,
    bytes: u64,
}

#[derive(Debug)]
struct Weights {
    shape: LlamaShape,
    embedding: Tensor<2>,
    blocks: Vec<Block>,
    output_norm: Tensor<2>,
    output: Tensor<2>,
    /// Cosines and sines of each position, `[context, 1, head / 2]`.
    cosines: Tensor<3>,
    sines: Tensor<3>,
    device: Device,
}

/// Matrices have a row for each output value.
#[derive(Debug)]
struct Block {
    attention_norm: Tensor<2>,
    /// Queries, keys and values in one matrix. Within a head of queries or keys, the first values of the rotary pairs
    /// come before the second ones.
    attention: Tensor<2>,
    attention_output: Tensor<2>,
    feed_norm: Tensor<2>,
    /// Gate and way up in one matrix.
    gate_up: Tensor<2>,
    down: Tensor<2>,
}

impl BurnLlama {
    pub fn load(file: &LlamaFile, device: &Device) -> Result<Self, ComputeError> {
        let shape = file.shape().clone();
        let upload = |tensor: gguf::Tensor<'_>| matrix(tensor.values(), tensor.rows, tensor.columns, device);
        let embedding = upload(file.embedding()?);
        let output = file.output()?.map_or_else(|| embedding.clone(), upload);
        let blocks = (0..shape.blocks).map(|number| {
            let block = file.block(number)?;
            let mut attention = halves_apart(&block.query.values(), shape.head, shape.width);
            attention.extend(halves_apart(&block.key.values(), shape.head, shape.width));
            attention.extend(block.value.values());
            let mut gate_up = block.gate.values();
            gate_up.extend(block.up.values());
            Ok::<_, ComputeError>(Block {
                attention_norm: upload(block.attention_norm),
                attention: matrix(
                    attention,
                    (shape.heads + 2 * shape.kv_heads) * shape.head,
                    shape.width,
                    device,
                ),
                attention_output: upload(block.attention_output),
                feed_norm: upload(block.feed_norm),
                gate_up: matrix(gate_up, 2 * shape.inner, shape.width, device),
                down: upload(block.down),
            })
        });
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let (cosines, sines) = rotations(&shape, device);
        let output_norm = upload(file.output_norm()?);
        let tables = if file.output()?.is_some() { 2 } else { 1 };
        let head_rows = 2 * (shape.heads + shape.kv_heads) * shape.head;
        let block_values = shape.width * (head_rows + 3 * shape.inner);
        let values = tables * shape.vocabulary * shape.width + shape.blocks * block_values;
        let weights =
            Weights { embedding, blocks, output_norm, output, cosines, sines, device: device.clone(), shape };
        Ok(Self { weights: Arc::new(weights), bytes: values as u64 * 4 })
    }
}

impl Decoder for BurnLlama {
    fn start(&self, expected: usize) -> Result<Box<dyn Decoding>, ComputeError> {
        let room = expected.clamp(1, FIRST_ROOM.min(self.weights.shape.context));
        let caches = self.weights.blocks.iter().map(|_| Cache::new(&self.weights, room)).collect();
        Ok(Box::new(BurnText { weights: self.weights.clone(), caches, room, tokens: 0 }))
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
struct BurnText {
    weights: Arc<Weights>,
    caches: Vec<Cache>,
    room: usize,
    tokens: usize,
}

/// Keys and values of one block, `[kv_heads, room, head]`; rows behind the text are zero.
#[derive(Debug)]
struct Cache {
    keys: Tensor<3>,
    values: Tensor<3>,
}

impl Decoding for BurnText {
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
        self.make_room(end);
        let span = Span::new(&weights, self.tokens, tokens.len());
        let mut x = weights.embedding.clone().select(0, token_ids(tokens.iter().copied(), &weights.device));
        for (block, cache) in weights.blocks.iter().zip(&mut self.caches) {
            x = x.clone() + block.attend(normed(x, &block.attention_norm, shape), cache, &span, shape);
            x = x.clone() + block.feed(normed(x, &block.feed_norm, shape), shape);
        }
        self.tokens = end;
        let last = x.slice([tokens.len() - 1..tokens.len(), 0..shape.width]);
        let logits = normed(last, &weights.output_norm, shape).matmul(weights.output.clone().transpose());
        host_values(logits)
    }

    fn tokens(&self) -> usize {
        self.tokens
    }
}

impl BurnText {
    fn make_room(&mut self, end: usize) {
        if end <= self.room {
            return;
        }
        self.room = end.max(2 * self.room).min(self.weights.shape.context);
        for cache in &mut self.caches {
            let old = mem::replace(cache, Cache::new(&self.weights, self.room));
            cache.write(0, old.keys, old.values);
        }
    }
}

impl Cache {
    fn new(weights: &Weights, room: usize) -> Self {
        let shape = [weights.shape.kv_heads, room, weights.shape.head];
        let empty = || Tensor::zeros(shape, &weights.device);
        Self { keys: empty(), values: empty() }
    }

    /// Writes rows from `start` on. The cache's tensors have no other owner here, so this happens in place.
    fn write(&mut self, start: usize, keys: Tensor<3>, values: Tensor<3>) {
        let [heads, count, head] = keys.dims();
        let rows = [0..heads, start..start + count, 0..head];
        self.keys.inplace(|all| all.slice_assign(rows.clone(), keys));
        self.values.inplace(|all| all.slice_assign(rows, values));
    }
}

/// The tokens that one call adds, and what depends on their place alone.
struct Span {
    start: usize,
    count: usize,
    cosines: Tensor<3>,
    sines: Tensor<3>,
    /// Which tokens a new token must not see, `[1, count, end]`; none for a single one.
    unseen: Option<Tensor<3>>,
}

impl Span {
    fn new(weights: &Weights, start: usize, count: usize) -> Self {
        let end = start + count;
        let rows = [start..end, 0..1, 0..weights.shape.head / 2];
        let unseen = (count > 1).then(|| {
            let row =
                |token: usize| (0..end).map(move |other| if other > start + token { UNSEEN } else { 0.0 });
            let values: Vec<f32> = (0..count).flat_map(row).collect();
            Tensor::from_data(TensorData::new(values, [1, count, end]), &weights.device)
        });
        Self {
            start,
            count,
            cosines: weights.cosines.clone().slice(rows.clone()),
            sines: weights.sines.clone().slice(rows),
            unseen,
        }
    }
}

impl Block {
    fn attend(&self, x: Tensor<2>, cache: &mut Cache, span: &Span, shape: &LlamaShape) -> Tensor<2> {
        let LlamaShape { heads, kv_heads, head, .. } = *shape;
        let Span { start, count, .. } = *span;
        let end = start + count;
        let all = x.matmul(self.attention.clone().transpose()).reshape([count, heads + 2 * kv_heads, head]);
        let turning = heads + kv_heads;
        let turned = rotated(all.clone().slice([0..count, 0..turning, 0..head]), span).swap_dims(0, 1);
        let values = all.slice([0..count, turning..turning + kv_heads, 0..head]).swap_dims(0, 1);
        let queries = turned.clone().slice([0..heads, 0..count, 0..head]);
        cache.write(start, turned.slice([heads..turning, 0..count, 0..head]), values);

        // Heads that share a key head stand together, so that one product serves them all.
        let queries = queries.reshape([kv_heads, heads / kv_heads * count, head]);
        let seen = [0..kv_heads, 0..end, 0..head];
        let keys = cache.keys.clone().slice(seen.clone());
        let scores = queries.matmul(keys.swap_dims(1, 2)) / (head as f64).sqrt();
        let mut scores = scores.reshape([heads, count, end]);
        if let Some(unseen) = &span.unseen {
            scores = scores + unseen.clone();
        }
        let shares = activation::softmax(scores, 2).reshape([kv_heads, heads / kv_heads * count, end]);
        let mixed = shares.matmul(cache.values.clone().slice(seen));
        let mixed = mixed.reshape([heads, count, head]).swap_dims(0, 1).reshape([count, heads * head]);
        mixed.matmul(self.attention_output.clone().transpose())
    }

    fn feed(&self, x: Tensor<2>, shape: &LlamaShape) -> Tensor<2> {
        let count = x.dims()[0];
        let both = x.matmul(self.gate_up.clone().transpose());
        let gate = both.clone().slice([0..count, 0..shape.inner]);
        let up = both.slice([0..count, shape.inner..2 * shape.inner]);
        (activation::silu(gate) * up).matmul(self.down.clone().transpose())
    }
}

/// Root-mean-square normalisation.
fn normed(x: Tensor<2>, scale: &Tensor<2>, shape: &LlamaShape) -> Tensor<2> {
    let root = (x.clone().square().mean_dim(1) + shape.epsilon).sqrt();
    x / root * scale.clone()
}

/// Turns each pair of a head by the angle of its position; pairs are (value, value half a head later).
fn rotated(heads: Tensor<3>, span: &Span) -> Tensor<3> {
    let [count, number, head] = heads.dims();
    let first = heads.clone().slice([0..count, 0..number, 0..head / 2]);
    let second = heads.slice([0..count, 0..number, head / 2..head]);
    let (cosines, sines) = (&span.cosines, &span.sines);
    let turned_first = first.clone() * cosines.clone() - second.clone() * sines.clone();
    let turned_second = second * cosines.clone() + first * sines.clone();
    Tensor::cat(vec![turned_first, turned_second], 2)
}

/// GGUF keeps the two values of a rotary pair in adjacent rows. Here the first values of a head's pairs come first and
/// the second ones after them, so that turning needs slices instead of shuffles. Scores stay the same, because queries
/// and keys are reordered alike.
fn halves_apart(rows: &[f32], head: usize, width: usize) -> Vec<f32> {
    let mut ordered = Vec::with_capacity(rows.len());
    for rows in rows.chunks_exact(head * width) {
        for parity in 0..2 {
            for pair in rows.chunks_exact(2 * width) {
                ordered.extend(&pair[parity * width..(parity + 1) * width]);
            }
        }
    }
    ordered
}

fn rotations(shape: &LlamaShape, device: &Device) -> (Tensor<3>, Tensor<3>) {
    let half = shape.head / 2;
    let angle = |position: usize, pair: usize| {
        position as f64 * shape.rope_base.powf(-2.0 * pair as f64 / shape.head as f64)
    };
    let table = |function: fn(f64) -> f64| {
        let values: Vec<f32> = (0..shape.context)
            .flat_map(|position| (0..half).map(move |pair| function(angle(position, pair)) as f32))
            .collect();
        Tensor::from_data(TensorData::new(values, [shape.context, 1, half]), device)
    };
    (table(f64::cos), table(f64::sin))
}

#[cfg(test)]
mod tests;
