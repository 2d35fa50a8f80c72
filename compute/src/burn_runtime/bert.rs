//! BERT sentence encoders on burn.

use burn::tensor::{Device, Tensor, TensorData, activation, module};

use super::{UNSEEN, host_values, matrix, token_ids, transposed};
use crate::{
    ComputeError,
    bert::{BertFile, BertShape},
    runtime::Encoder,
};

/// A BERT whose weights are on a device.
#[derive(Debug)]
pub(super) struct BurnBert {
    shape: BertShape,
    words: Tensor<2>,
    /// Position and kind of text do not depend on the text, so their sum is made once.
    places: Tensor<2>,
    norm: Norm,
    layers: Vec<Layer>,
    bytes: u64,
    device: Device,
}

#[derive(Debug)]
struct Layer {
    /// Queries, keys and values in one matrix.
    attention: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    inner: Linear,
    output: Linear,
    output_norm: Norm,
}

#[derive(Debug)]
struct Linear {
    /// A column for each output value.
    weight: Tensor<2>,
    bias: Tensor<2>,
}

#[derive(Debug)]
struct Norm {
    scale: Tensor<1>,
    shift: Tensor<1>,
}

impl BurnBert {
    pub fn load(file: &BertFile<'_>, device: &Device) -> Result<Self, ComputeError> {
        let shape = file.shape().clone();
        let loader = Loader { file, device };
        let words = file.matrix("embeddings.word_embeddings.weight", shape.vocabulary, shape.width)?;
        let mut places =
            file.matrix("embeddings.position_embeddings.weight", shape.positions, shape.width)?;
        let kind = file.matrix("embeddings.token_type_embeddings.weight", 1, shape.width)?;
        for row in places.values.chunks_exact_mut(shape.width) {
            row.iter_mut().zip(&kind.values).for_each(|(value, kind)| *value += kind);
        }
        let layers = (0..shape.layers).map(|layer| loader.layer(layer, &shape)).collect::<Result<_, _>>()?;
        let layer_values = 4 * shape.width * shape.width + 2 * shape.width * shape.inner;
        let values = (shape.vocabulary + shape.positions) * shape.width + shape.layers * layer_values;
        Ok(Self {
            words: matrix(words.values, words.rows, words.columns, device),
            places: matrix(places.values, places.rows, places.columns, device),
            norm: loader.norm("embeddings.LayerNorm", shape.width)?,
            layers,
            bytes: values as u64 * 4,
            device: device.clone(),
            shape,
        })
    }

    /// 1 where a text has a token and 0 where it is padded, `[texts, tokens]`.
    fn seen(&self, texts: &[&[u32]], longest: usize) -> Vec<f32> {
        let row = |text: &&[u32]| {
            let length = text.len();
            (0..longest).map(move |at| if at < length { 1.0 } else { 0.0 })
        };
        texts.iter().flat_map(row).collect()
    }

    /// The last layer's vectors, `[texts * tokens, width]`.
    fn forward(&self, texts: &[&[u32]], longest: usize, seen: &Tensor<2>) -> Tensor<2> {
        let (count, width) = (texts.len(), self.shape.width);
        let padded =
            texts.iter().flat_map(|text| text.iter().copied().chain(std::iter::repeat(0)).take(longest));
        let words = self.words.clone().select(0, token_ids(padded, &self.device));
        let places = self.places.clone().slice([0..longest, 0..width]).unsqueeze::<3>();
        let sum = words.reshape([count, longest, width]) + places;
        let mut x = self.norm.apply(sum.reshape([count * longest, width]), self.shape.epsilon);
        let padding = texts.iter().any(|text| text.len() < longest);
        let unseen = padding.then(|| ((seen.clone() - 1.0) * -UNSEEN).reshape([count, 1, 1, longest]));
        for layer in &self.layers {
            x = layer.apply(x, unseen.as_ref(), count, longest, &self.shape);
        }
        x
    }
}

impl Encoder for BurnBert {
    fn encode(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ComputeError> {
        let Some(longest) = texts.iter().map(|text| text.len()).max() else { return Ok(Vec::new()) };
        let in_vocabulary = |text: &&[u32]| text.iter().all(|id| (*id as usize) < self.shape.vocabulary);
        if texts.iter().any(|text| text.is_empty())
            || longest > self.shape.positions
            || !texts.iter().all(in_vocabulary)
        {
            return Err(ComputeError::BadOrder(format!(
                "a text must have between 1 and {} known tokens",
                self.shape.positions
            )));
        }
        let seen = matrix(self.seen(texts, longest), texts.len(), longest, &self.device);
        let last = self.forward(texts, longest, &seen);
        let (count, width) = (texts.len(), self.shape.width);
        let lengths: Vec<f32> = texts.iter().map(|text| text.len() as f32).collect();
        let lengths = Tensor::<2>::from_data(TensorData::new(lengths, [count, 1]), &self.device);
        // A row of zeros and ones times the vectors of its text sums those that are seen.
        let sums = seen.reshape([count, 1, longest]).matmul(last.reshape([count, longest, width]));
        let means = sums.reshape([count, width]) / lengths;
        let norms = means.clone().square().sum_dim(1).sqrt();
        let values = host_values(means / norms)?;
        Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
    }

    fn max_tokens(&self) -> usize {
        self.shape.positions
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Layer {
    fn apply(
        &self,
        x: Tensor<2>,
        unseen: Option<&Tensor<4>>,
        count: usize,
        longest: usize,
        shape: &BertShape,
    ) -> Tensor<2> {
        let (width, heads) = (shape.width, shape.heads);
        let head = width / heads;
        let both = self.attention.apply(x.clone()).reshape([count, longest, 3 * heads, head]).swap_dims(1, 2);
        let part = |which: usize| {
            both.clone().slice([0..count, which * heads..(which + 1) * heads, 0..longest, 0..head])
        };
        let mut scores = part(0).matmul(part(1).swap_dims(2, 3)) / (head as f64).sqrt();
        if let Some(unseen) = unseen {
            scores = scores + unseen.clone();
        }
        let mixed = activation::softmax(scores, 3).matmul(part(2));
        let mixed = mixed.swap_dims(1, 2).reshape([count * longest, width]);
        let x = self.attention_norm.apply(x + self.attention_output.apply(mixed), shape.epsilon);
        let wide = activation::gelu(self.inner.apply(x.clone()));
        self.output_norm.apply(x + self.output.apply(wide), shape.epsilon)
    }
}

impl Linear {
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.clone()) + self.bias.clone()
    }
}

impl Norm {
    fn apply(&self, x: Tensor<2>, epsilon: f64) -> Tensor<2> {
        module::layer_norm(x, self.scale.clone(), Some(self.shift.clone()), epsilon)
    }
}

struct Loader<'a, 'b> {
    file: &'a BertFile<'b>,
    device: &'a Device,
}

impl Loader<'_, '_> {
    fn layer(&self, number: usize, shape: &BertShape) -> Result<Layer, ComputeError> {
        let at = |part: &str| format!("encoder.layer.{number}.{part}");
        let (width, inner) = (shape.width, shape.inner);
        let attention = ["query", "key", "value"].map(|part| at(&format!("attention.self.{part}")));
        Ok(Layer {
            attention: self.linear(&attention, width, width)?,
            attention_output: self.linear(&[at("attention.output.dense")], width, width)?,
            attention_norm: self.norm(&at("attention.output.LayerNorm"), width)?,
            inner: self.linear(&[at("intermediate.dense")], inner, width)?,
            output: self.linear(&[at("output.dense")], width, inner)?,
            output_norm: self.norm(&at("output.LayerNorm"), width)?,
        })
    }

    /// Several layers of the same input as one.
    fn linear(&self, names: &[String], rows: usize, columns: usize) -> Result<Linear, ComputeError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(self.file.matrix(&format!("{name}.weight"), rows, columns)?.values);
            bias.extend(self.file.vector(&format!("{name}.bias"), rows)?);
        }
        let rows = bias.len();
        Ok(Linear {
            weight: matrix(transposed(&weight, rows, columns), columns, rows, self.device),
            bias: matrix(bias, 1, rows, self.device),
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, ComputeError> {
        let vector = |part: &str| -> Result<Tensor<1>, ComputeError> {
            let values = self.file.vector(&format!("{name}.{part}"), width)?;
            Ok(Tensor::from_data(TensorData::new(values, [width]), self.device))
        };
        Ok(Norm { scale: vector("weight")?, shift: vector("bias")? })
    }
}
