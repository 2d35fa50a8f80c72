//! A BERT in a safetensors file: its dimensions, checked, and its tensors by what they are for.

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::ComputeError;

/// No dimension of a model that fits this worker is larger.
const MAX_DIMENSION: usize = 1 << 20;
const MAX_LAYERS: usize = 512;

/// A BERT sentence encoder: mean of the last layer over the text, scaled to unit length.
#[derive(Debug)]
pub struct BertFile<'a> {
    tensors: SafeTensors<'a>,
    shape: BertShape,
}

/// A BERT's dimensions, as its `config.json` names them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BertShape {
    /// Values of a token's vector.
    #[serde(rename = "hidden_size")]
    pub width: usize,
    /// Values of the feed-forward layer.
    #[serde(rename = "intermediate_size")]
    pub inner: usize,
    /// Attention heads; divides `width`.
    #[serde(rename = "num_attention_heads")]
    pub heads: usize,
    /// Number of layers.
    #[serde(rename = "num_hidden_layers")]
    pub layers: usize,
    /// The most tokens of a text.
    #[serde(rename = "max_position_embeddings")]
    pub positions: usize,
    /// Number of tokens in the vocabulary.
    #[serde(rename = "vocab_size")]
    pub vocabulary: usize,
    /// Kinds of text; only the first is used.
    #[serde(rename = "type_vocab_size")]
    pub kinds: usize,
    /// Added to the variance before its root is taken.
    #[serde(rename = "layer_norm_eps")]
    pub epsilon: f64,
    hidden_act: String,
    position_embedding_type: String,
}

/// A matrix with a row for each output value, or a vector in one row, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Number of rows.
    pub rows: usize,
    /// Values in a row.
    pub columns: usize,
    /// All of them.
    pub values: Vec<f32>,
}

impl<'a> BertFile<'a> {
    /// Checks that the two files are a BERT. `config` is the text of `config.json`, `weights` a safetensors file;
    /// `max_tokens` bounds the texts.
    pub fn new(config: &[u8], weights: &'a [u8], max_tokens: usize) -> Result<Self, ComputeError> {
        let refused = |reason: String| ComputeError::ModelFile(reason);
        let mut shape: BertShape =
            serde_json::from_slice(config).map_err(|error| refused(format!("config.json: {error}")))?;
        for (name, number) in [
            ("hidden_size", shape.width),
            ("intermediate_size", shape.inner),
            ("num_attention_heads", shape.heads),
            ("max_position_embeddings", shape.positions),
            ("vocab_size", shape.vocabulary),
            ("type_vocab_size", shape.kinds),
        ] {
            if number == 0 || number > MAX_DIMENSION {
                return Err(refused(format!("config.json: `{name}` is {number}")));
            }
        }
        if shape.layers > MAX_LAYERS || !shape.width.is_multiple_of(shape.heads) {
            return Err(refused("config.json: impossible layers or heads".into()));
        }
        if shape.hidden_act != "gelu" || shape.position_embedding_type != "absolute" {
            return Err(refused("config.json: only `gelu` and `absolute` positions are run".into()));
        }
        if !(shape.epsilon > 0.0 && shape.epsilon < 1.0) {
            return Err(refused(format!("config.json: an epsilon of {}", shape.epsilon)));
        }
        shape.positions = shape.positions.min(max_tokens);
        let tensors = SafeTensors::deserialize(weights)
            .map_err(|error| refused(format!("not a safetensors file: {error}")))?;
        Ok(Self { tensors, shape })
    }

    /// The dimensions.
    pub fn shape(&self) -> &BertShape {
        &self.shape
    }

    /// The matrix of that name and shape. Extra rows are left out: a table of positions may be longer than texts are.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Values, ComputeError> {
        let refused = |reason: String| ComputeError::ModelFile(format!("tensor `{name}` {reason}"));
        let view = self.tensors.tensor(name).map_err(|error| refused(error.to_string()))?;
        if view.dtype() != Dtype::F32 {
            return Err(refused(format!("is {:?}, and only F32 is read", view.dtype())));
        }
        let found = match view.shape() {
            [columns] => (1, *columns),
            [rows, columns] => (*rows, *columns),
            other => return Err(refused(format!("has the shape {other:?}"))),
        };
        if found.0 < rows || found.1 != columns {
            return Err(refused(format!("is {} by {} instead of {rows} by {columns}", found.0, found.1)));
        }
        let bytes = view.data().as_chunks::<4>().0;
        let values: Vec<f32> =
            bytes.iter().take(rows * columns).map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if values.len() != rows * columns {
            return Err(refused("is shorter than its shape".into()));
        }
        Ok(Values { rows, columns, values })
    }

    /// The vector of that name and length.
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, ComputeError> {
        Ok(self.matrix(name, 1, length)?.values)
    }
}

#[cfg(test)]
mod tests;
