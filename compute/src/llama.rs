//! A Llama in a GGUF file: its dimensions, checked, and its tensors by what they are for.

use crate::{
    ComputeError,
    gguf::{Gguf, Tensor},
};

/// No dimension of a model that fits this worker is larger.
const MAX_DIMENSION: u64 = 1 << 20;
const MAX_BLOCKS: u64 = 512;

/// A GGUF file of the architecture `llama` that every runtime here can run.
#[derive(Debug)]
pub struct LlamaFile {
    gguf: Gguf,
    shape: LlamaShape,
}

/// A Llama's dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaShape {
    /// Number of transformer blocks.
    pub blocks: usize,
    /// Values of the residual stream.
    pub width: usize,
    /// Values of the feed-forward layer.
    pub inner: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of a head; even.
    pub head: usize,
    /// The most tokens of a text.
    pub context: usize,
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// Base of the rotary embedding's frequencies.
    pub rope_base: f64,
    /// Added to the mean square before its root is taken.
    pub epsilon: f64,
}

/// The tensors of one block, as stored: matrices have a row for each output value.
#[derive(Debug)]
pub struct BlockTensors<'a> {
    /// Scale before attention.
    pub attention_norm: Tensor<'a>,
    /// Queries; adjacent rows of a head are a rotary pair.
    pub query: Tensor<'a>,
    /// Keys; adjacent rows of a head are a rotary pair.
    pub key: Tensor<'a>,
    /// Values.
    pub value: Tensor<'a>,
    /// What the heads found, back into the stream.
    pub attention_output: Tensor<'a>,
    /// Scale before the feed-forward layer.
    pub feed_norm: Tensor<'a>,
    /// The gate of the feed-forward layer.
    pub gate: Tensor<'a>,
    /// The way into the feed-forward layer.
    pub up: Tensor<'a>,
    /// The way out of it.
    pub down: Tensor<'a>,
}

impl LlamaFile {
    /// Checks that the file is a plain Llama, and reads its dimensions. `max_tokens` bounds the context.
    pub fn new(gguf: Gguf, max_tokens: usize) -> Result<Self, ComputeError> {
        let architecture = gguf.text("general.architecture")?;
        if architecture != "llama" {
            return Err(refused(format!("the architecture `{architecture}` is not run, only `llama`")));
        }
        refuse_variants(&gguf)?;
        let dimension = |key: &str| -> Result<usize, ComputeError> {
            let number = gguf.count(key)?;
            if number == 0 || number > MAX_DIMENSION {
                return Err(refused(format!("`{key}` is {number}")));
            }
            Ok(number as usize)
        };
        let blocks = dimension("llama.block_count")?;
        if blocks as u64 > MAX_BLOCKS {
            return Err(refused(format!("{blocks} blocks")));
        }
        let (width, heads) = (dimension("llama.embedding_length")?, dimension("llama.attention.head_count")?);
        let kv_heads = dimension("llama.attention.head_count_kv")?;
        let head = width / heads;
        if !width.is_multiple_of(heads) || !heads.is_multiple_of(kv_heads) || !head.is_multiple_of(2) {
            return Err(refused(format!("{width} values do not divide into {heads} and {kv_heads} heads")));
        }
        if gguf.count("llama.rope.dimension_count").is_ok_and(|rotated| rotated != head as u64) {
            return Err(refused("only a part of each head is rotated".into()));
        }
        let shape = LlamaShape {
            blocks,
            width,
            inner: dimension("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head,
            context: dimension("llama.context_length")?.min(max_tokens),
            vocabulary: gguf.texts("tokenizer.ggml.tokens")?.len(),
            rope_base: gguf.fraction("llama.rope.freq_base").unwrap_or(10_000.0),
            epsilon: gguf.fraction("llama.attention.layer_norm_rms_epsilon")?,
        };
        if !(shape.rope_base >= 1.0 && shape.rope_base.is_finite()) {
            return Err(refused(format!("a rotary base of {}", shape.rope_base)));
        }
        if !(shape.epsilon > 0.0 && shape.epsilon < 1.0) {
            return Err(refused(format!("an epsilon of {}", shape.epsilon)));
        }
        let file = Self { gguf, shape };
        // Every tensor is looked at once here, so that a runtime meets no surprise half way.
        file.embedding()?;
        file.output_norm()?;
        file.output()?;
        for block in 0..file.shape.blocks {
            file.block(block)?;
        }
        Ok(file)
    }

    /// The dimensions.
    pub fn shape(&self) -> &LlamaShape {
        &self.shape
    }

    /// The file, for its tokenizer and template.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// One row for each token.
    pub fn embedding(&self) -> Result<Tensor<'_>, ComputeError> {
        Ok(self.gguf.tensor("token_embd.weight", self.shape.vocabulary, self.shape.width)?)
    }

    /// Scale before the logits.
    pub fn output_norm(&self) -> Result<Tensor<'_>, ComputeError> {
        Ok(self.gguf.tensor("output_norm.weight", 1, self.shape.width)?)
    }

    /// The matrix of the logits, if it is not the embedding itself.
    pub fn output(&self) -> Result<Option<Tensor<'_>>, ComputeError> {
        const NAME: &str = "output.weight";
        if !self.gguf.has_tensor(NAME) {
            return Ok(None);
        }
        Ok(Some(self.gguf.tensor(NAME, self.shape.vocabulary, self.shape.width)?))
    }

    /// The tensors of a block.
    pub fn block(&self, number: usize) -> Result<BlockTensors<'_>, ComputeError> {
        let LlamaShape { width, inner, heads, kv_heads, head, .. } = self.shape;
        let tensor = |name: &str, rows: usize, columns: usize| {
            self.gguf.tensor(&format!("blk.{number}.{name}.weight"), rows, columns)
        };
        Ok(BlockTensors {
            attention_norm: tensor("attn_norm", 1, width)?,
            query: tensor("attn_q", heads * head, width)?,
            key: tensor("attn_k", kv_heads * head, width)?,
            value: tensor("attn_v", kv_heads * head, width)?,
            attention_output: tensor("attn_output", width, heads * head)?,
            feed_norm: tensor("ffn_norm", 1, width)?,
            gate: tensor("ffn_gate", inner, width)?,
            up: tensor("ffn_up", inner, width)?,
            down: tensor("ffn_down", width, inner)?,
        })
    }
}

fn refused(reason: String) -> ComputeError {
    ComputeError::ModelFile(reason)
}

/// Relatives of the plain Llama that share its name; each would run, and talk nonsense.
fn refuse_variants(gguf: &Gguf) -> Result<(), ComputeError> {
    if gguf.text("llama.rope.scaling.type").is_ok_and(|kind| kind != "none") {
        return Err(refused("a scaled rotary embedding is not run".into()));
    }
    if gguf.count("llama.expert_count").is_ok_and(|experts| experts > 0) {
        return Err(refused("a mixture of experts is not run".into()));
    }
    for tensor in ["rope_freqs.weight", "blk.0.attn_q.bias", "blk.0.attn_q_norm.weight"] {
        if gguf.has_tensor(tensor) {
            return Err(refused(format!("its tensor `{tensor}` is not known here")));
        }
    }
    Ok(())
}
