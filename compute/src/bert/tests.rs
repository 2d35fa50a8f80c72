use proptest::{collection::vec, prelude::*};
use safetensors::{Dtype, View, serialize};
use serde_json::{Value, json};

use super::*;

fn config() -> Value {
    json!({
        "hidden_size": 4, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
        "max_position_embeddings": 16, "vocab_size": 3, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        "hidden_act": "gelu", "position_embedding_type": "absolute",
    })
}

/// A tensor as a file has it.
struct Stored {
    kind: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.kind
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn floats(shape: &[usize], values: &[f32]) -> Stored {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Stored { kind: Dtype::F32, shape: shape.to_vec(), bytes }
}

fn weights() -> Vec<u8> {
    let halves = Stored { kind: Dtype::F16, shape: vec![2, 2], bytes: vec![0; 8] };
    let tensors = [
        ("matrix", floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("vector", floats(&[2], &[7.0, 8.0])),
        ("cube", floats(&[1, 1, 2], &[0.0, 0.0])),
        ("halves", halves),
    ];
    serialize(tensors, None).unwrap()
}

fn open<'a>(config: &Value, weights: &'a [u8]) -> Result<BertFile<'a>, ComputeError> {
    BertFile::new(config.to_string().as_bytes(), weights, 8)
}

/// What is wrong with a file, in words.
fn refusal<T: std::fmt::Debug>(result: Result<T, ComputeError>) -> String {
    match result.unwrap_err() {
        ComputeError::ModelFile(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn tensors_come_back_by_name_and_shape_and_texts_are_bounded() {
    let weights = weights();
    let file = open(&config(), &weights).unwrap();
    assert_eq!(file.shape().positions, 8, "fewer than the file's 16, because the registry says so");
    let whole = Values { rows: 3, columns: 2, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
    assert_eq!(file.matrix("matrix", 3, 2).unwrap(), whole);
    assert_eq!(file.matrix("matrix", 2, 2).unwrap().values, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(file.vector("vector", 2).unwrap(), [7.0, 8.0]);
}

#[test]
fn a_tensor_of_another_type_or_shape_is_refused_by_name() {
    let weights = weights();
    let file = open(&config(), &weights).unwrap();
    assert_eq!(refusal(file.matrix("halves", 2, 2)), "tensor `halves` is F16, and only F32 is read");
    assert_eq!(refusal(file.matrix("matrix", 4, 2)), "tensor `matrix` is 3 by 2 instead of 4 by 2");
    assert_eq!(refusal(file.matrix("matrix", 3, 3)), "tensor `matrix` is 3 by 2 instead of 3 by 3");
    assert_eq!(refusal(file.vector("vector", 3)), "tensor `vector` is 1 by 2 instead of 1 by 3");
    assert_eq!(refusal(file.matrix("cube", 1, 2)), "tensor `cube` has the shape [1, 1, 2]");
    assert!(refusal(file.vector("nowhere", 2)).starts_with("tensor `nowhere` "));
}

/// A file of one tensor whose header says what it likes.
fn claimed(kind: &str, shape: &[u64], offsets: [u64; 2], data: &[u8]) -> Vec<u8> {
    let header = json!({ "t": { "dtype": kind, "shape": shape, "data_offsets": offsets } }).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

#[test]
fn a_tensor_that_is_shorter_or_longer_than_its_shape_or_outside_of_the_file_is_refused() {
    let eight = [0; 8];
    assert!(open(&config(), &claimed("F32", &[2], [0, 8], &eight)).is_ok());
    for (shape, offsets, data) in [
        (vec![3], [0, 8], &eight[..]),
        (vec![1], [0, 8], &eight[..]),
        (vec![2], [0, 8], &eight[..7]),
        (vec![2], [8, 0], &eight[..]),
        (vec![2], [0, u64::MAX], &eight[..]),
        (vec![u64::MAX, u64::MAX], [0, 8], &eight[..]),
    ] {
        let file = claimed("F32", &shape, offsets, data);
        let refused = refusal(open(&config(), &file));
        assert!(refused.starts_with("not a safetensors file: "), "{shape:?} {offsets:?}: {refused}");
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = weights();
    for cut in 0..whole.len() {
        let refused = refusal(open(&config(), &whole[..cut]));
        assert!(refused.starts_with("not a safetensors file: "), "cut at {cut}: {refused}");
    }
}

#[test]
fn a_config_that_is_not_run_here_is_refused_by_its_field() {
    let weights = weights();
    for (field, value, says) in [
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("vocab_size", json!(1 << 21), "`vocab_size` is 2097152"),
        ("num_attention_heads", json!(3), "impossible layers or heads"),
        ("num_hidden_layers", json!(513), "impossible layers or heads"),
        ("hidden_act", json!("relu"), "only `gelu`"),
        ("position_embedding_type", json!("relative_key"), "only `gelu` and `absolute`"),
        ("layer_norm_eps", json!(0.0), "an epsilon of 0"),
        ("intermediate_size", Value::Null, "config.json: "),
    ] {
        let mut config = config();
        config[field] = value;
        let refused = refusal(open(&config, &weights));
        assert!(refused.contains(says), "{field}: {refused}");
    }
    assert!(refusal(BertFile::new(b"{", &weights, 8)).starts_with("config.json: "));
}

proptest! {
    #[test]
    fn a_damaged_file_is_a_file_or_an_error(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = weights();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(file) = open(&config(), &bytes)
            && let Ok(matrix) = file.matrix("matrix", 3, 2)
        {
            prop_assert_eq!(matrix.values.len(), 6);
        }
    }
}
