//! all-MiniLM-L6-v2 against vectors that onnxruntime made (tools/reference/embeddings.py).
#![allow(clippy::unwrap_used, clippy::panic)]

mod installed;

use std::sync::Arc;

use edge_compute::{
    burn_runtime::BurnRuntime, device, embeddings::EmbeddingModel, registry::FileRole, runtime::Runtime,
};
use edge_jobs::{ComputeDevice, EmbeddingsOrder};
use serde::Deserialize;

const MODEL: &str = "all-minilm-l6-v2";
const WIDTH: usize = 384;
/// The largest difference of any value.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Reference {
    sentences: Vec<String>,
    tokens: Vec<u32>,
}

fn load(test: &str, runtime: &dyn Runtime) -> Option<Arc<EmbeddingModel>> {
    let (store, registry) = installed::model(test, MODEL)?;
    let entry = registry.model(MODEL).unwrap();
    let read = |role| store.read(entry, role).unwrap();
    let (config, weights) = (read(FileRole::Config), read(FileRole::Weights));
    let tokenizer = read(FileRole::Tokenizer);
    Some(EmbeddingModel::load(&config, &weights, &tokenizer, entry.max_tokens, runtime).unwrap())
}

fn embed(model: &Arc<EmbeddingModel>, inputs: &[String]) -> (Vec<Vec<f32>>, u32) {
    let mut embedding =
        model.embed(&EmbeddingsOrder { model: MODEL.into(), inputs: inputs.to_vec() }).unwrap();
    while !embedding.step().unwrap() {}
    embedding.take()
}

fn expected() -> Vec<Vec<f32>> {
    let bytes = installed::reference("embeddings.f32");
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    values.chunks_exact(WIDTH).map(<[f32]>::to_vec).collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

fn agree(test: &str, runtime: &dyn Runtime, sentences: usize) {
    let Some(model) = load(test, runtime) else { return };
    let reference: Reference = serde_json::from_slice(&installed::reference("embeddings.json")).unwrap();
    let expected = expected();
    assert_eq!((reference.sentences.len(), expected.len()), (50, 50));
    let (vectors, tokens) = embed(&model, &reference.sentences[..sentences]);
    assert_eq!(tokens, reference.tokens[..sentences].iter().sum::<u32>());
    assert_eq!(vectors.len(), sentences);
    let mut largest = 0.0_f32;
    for ((sentence, found), expected) in reference.sentences.iter().zip(&vectors).zip(&expected) {
        let difference = largest_difference(found, expected);
        assert!(difference <= TOLERANCE, "{difference} for {sentence:?}");
        largest = largest.max(difference);
    }
    println!("{}: {sentences} sentences, largest difference {largest:e}", runtime.device().words);
}

#[test]
fn fifty_sentences_agree_with_onnxruntime_on_the_processor() {
    agree("fifty_sentences_agree_with_onnxruntime_on_the_processor", &BurnRuntime::processor(), 50);
}

/// Through Vulkan or OpenGL with a driver such as Mesa's llvmpipe: the same kernels as on a GPU, at a processor's pace.
#[test]
fn a_sentence_agrees_with_onnxruntime_where_a_processor_plays_a_gpu() {
    let test = "a_sentence_agrees_with_onnxruntime_where_a_processor_plays_a_gpu";
    let program = env!("CARGO_BIN_EXE_thetis-compute").as_ref();
    match device::choose(&ComputeDevice::SoftwareGpu, program, device::PROBE_TIME) {
        Ok(runtime) => agree(test, runtime.as_ref(), 1),
        Err(error) => println!("skipped: {test}: {error} (mesa-vulkan-drivers has one)"),
    }
}

/// Slow without a GPU, so it runs only when it is asked for: `THETIS_TEST_WGPU=gpu`, or `software-gpu` for a
/// processor that plays one.
#[test]
fn fifty_sentences_agree_with_onnxruntime_on_a_gpu() {
    let wanted = match std::env::var("THETIS_TEST_WGPU").as_deref() {
        Ok("gpu") => ComputeDevice::Gpu,
        Ok("software-gpu") => ComputeDevice::SoftwareGpu,
        _ => {
            println!("skipped: fifty_sentences_agree_with_onnxruntime_on_a_gpu: THETIS_TEST_WGPU is not set");
            return;
        }
    };
    let program = env!("CARGO_BIN_EXE_thetis-compute").as_ref();
    let runtime = device::choose(&wanted, program, device::PROBE_TIME).unwrap();
    agree("fifty_sentences_agree_with_onnxruntime_on_a_gpu", runtime.as_ref(), 50);
}

#[test]
fn a_text_has_the_same_vector_alone_and_among_others() {
    let test = "a_text_has_the_same_vector_alone_and_among_others";
    let Some(model) = load(test, &BurnRuntime::processor()) else { return };
    let texts = ["A short one.", "one", "A text that is quite a bit longer than the other two texts are."]
        .map(String::from);
    let (together, _) = embed(&model, &texts);
    for (text, among) in texts.iter().zip(&together) {
        let (alone, _) = embed(&model, std::slice::from_ref(text));
        let difference = largest_difference(&alone[0], among);
        assert!(difference <= TOLERANCE, "{difference} for {text:?}");
        let length: f32 = among.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}
