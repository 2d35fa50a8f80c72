//! What every runtime's decoder must do, on a Llama small enough to compute the slow way.

use crate::{
    ComputeError,
    burn_runtime::BurnRuntime,
    gguf::{self, Gguf},
    llama::{LlamaFile, LlamaShape},
    processor::ProcessorRuntime,
    runtime::Runtime,
    tiny_llama,
};

fn runtimes() -> [Box<dyn Runtime>; 2] {
    [Box::new(BurnRuntime::processor()), Box::new(ProcessorRuntime::new())]
}

/// A Llama the slow way: double precision, loops, adjacent rotary pairs as the file has them, no cache. Returns the
/// logits after the last token.
fn slow_logits(file: &LlamaFile, tokens: &[u32]) -> Vec<f64> {
    let shape = file.shape();
    let numbers = |tensor: gguf::Tensor<'_>| tensor.values().into_iter().map(f64::from).collect::<Vec<f64>>();
    let embedding = numbers(file.embedding().unwrap());
    let mut stream: Vec<Vec<f64>> = tokens
        .iter()
        .map(|token| embedding[*token as usize * shape.width..][..shape.width].to_vec())
        .collect();
    for number in 0..shape.blocks {
        let block = file.block(number).unwrap();
        let inputs: Vec<Vec<f64>> =
            stream.iter().map(|x| slow_norm(x, &numbers(block.attention_norm), shape.epsilon)).collect();
        let project = |tensor: gguf::Tensor<'_>| {
            let matrix = numbers(tensor);
            inputs.iter().map(|x| slow_product(&matrix, x)).collect::<Vec<_>>()
        };
        let (mut queries, mut keys, values) =
            (project(block.query), project(block.key), project(block.value));
        for (position, (query, key)) in queries.iter_mut().zip(&mut keys).enumerate() {
            slow_rotate(query, position, shape);
            slow_rotate(key, position, shape);
        }
        let output = numbers(block.attention_output);
        for (position, x) in stream.iter_mut().enumerate() {
            let mut mixed = Vec::new();
            for head in 0..shape.heads {
                let kv = head / (shape.heads / shape.kv_heads) * shape.head;
                let query = &queries[position][head * shape.head..][..shape.head];
                let scores = keys[..=position].iter().map(|key| {
                    (slow_dot(query, &key[kv..][..shape.head]) / (shape.head as f64).sqrt()).exp()
                });
                let scores: Vec<f64> = scores.collect();
                let total: f64 = scores.iter().sum();
                mixed.extend((0..shape.head).map(|at| {
                    scores.iter().zip(&values).map(|(score, value)| score * value[kv + at]).sum::<f64>()
                        / total
                }));
            }
            add(x, &slow_product(&output, &mixed));
        }
        let (gate, up, down) = (numbers(block.gate), numbers(block.up), numbers(block.down));
        for x in &mut stream {
            let input = slow_norm(x, &numbers(block.feed_norm), shape.epsilon);
            let gated = slow_product(&gate, &input).into_iter().map(|value| value / (1.0 + (-value).exp()));
            let wide: Vec<f64> = gated.zip(slow_product(&up, &input)).map(|(gate, up)| gate * up).collect();
            add(x, &slow_product(&down, &wide));
        }
    }
    let last = slow_norm(stream.last().unwrap(), &numbers(file.output_norm().unwrap()), shape.epsilon);
    slow_product(&embedding, &last)
}

fn slow_dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn slow_product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len()).map(|row| slow_dot(row, x)).collect()
}

fn slow_norm(x: &[f64], scale: &[f64], epsilon: f64) -> Vec<f64> {
    let root = (slow_dot(x, x) / x.len() as f64 + epsilon).sqrt();
    x.iter().zip(scale).map(|(x, scale)| x / root * scale).collect()
}

fn slow_rotate(heads: &mut [f64], position: usize, shape: &LlamaShape) {
    for head in heads.chunks_exact_mut(shape.head) {
        for (number, pair) in head.chunks_exact_mut(2).enumerate() {
            let angle = position as f64 * shape.rope_base.powf(-2.0 * number as f64 / shape.head as f64);
            let (sine, cosine) = angle.sin_cos();
            (pair[0], pair[1]) = (pair[0] * cosine - pair[1] * sine, pair[0] * sine + pair[1] * cosine);
        }
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn largest_difference(found: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    found.iter().zip(exact).map(|(found, exact)| (f64::from(*found) - exact).abs()).fold(0.0, f64::max)
}

fn tiny() -> LlamaFile {
    LlamaFile::new(Gguf::parse(tiny_llama::bytes(3)).unwrap(), tiny_llama::CONTEXT).unwrap()
}

#[test]
fn logits_are_those_of_a_slow_and_separate_llama() {
    let file = tiny();
    for runtime in runtimes() {
        let decoder = runtime.load_decoder(&file).unwrap();
        let tokens: Vec<u32> = (0..40_u32).map(|at| at * 37 % 259).collect();
        // Read at once, in pieces, and one by one: the cache must not make a difference.
        for pieces in [&[40][..], &[7, 20, 13], &[1; 40]] {
            let mut text = decoder.start(1).unwrap();
            let mut read = 0;
            for piece in pieces {
                let logits = text.push(&tokens[read..read + piece]).unwrap();
                read += piece;
                if read == 40 || *piece > 1 {
                    let difference = largest_difference(&logits, &slow_logits(&file, &tokens[..read]));
                    assert!(difference < 1e-4, "{difference} after {read} tokens in pieces of {pieces:?}");
                }
            }
            assert_eq!(text.tokens(), 40);
        }
    }
}

#[test]
fn a_cache_that_grows_keeps_what_it_remembers() {
    let file = tiny();
    for runtime in runtimes() {
        let decoder = runtime.load_decoder(&file).unwrap();
        let tokens: Vec<u32> = (0..50_u32).map(|at| at * 11 % 259).collect();
        // Room for one token, which doubles six times.
        let mut narrow = decoder.start(1).unwrap();
        let mut wide = decoder.start(50).unwrap();
        for token in tokens {
            assert_eq!(narrow.push(&[token]).unwrap(), wide.push(&[token]).unwrap());
        }
    }
}

#[test]
fn a_text_beyond_the_context_or_the_vocabulary_is_an_error() {
    let file = LlamaFile::new(Gguf::parse(tiny_llama::bytes(3)).unwrap(), 4).unwrap();
    for runtime in runtimes() {
        let decoder = runtime.load_decoder(&file).unwrap();
        assert_eq!(decoder.max_tokens(), 4);
        let mut text = decoder.start(4).unwrap();
        assert!(matches!(text.push(&[999]), Err(ComputeError::BadOrder(_))));
        assert!(matches!(text.push(&[]), Err(ComputeError::PromptTooLong { .. })));
        text.push(&[1, 2, 3, 4]).unwrap();
        assert!(matches!(text.push(&[5]), Err(ComputeError::PromptTooLong { tokens: 5, limit: 4 })));
    }
}
