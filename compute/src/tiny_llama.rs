//! A Llama small enough to check by hand, for tests: two blocks, 32 values, random weights, every byte a token.

use edge_jobs::{ChatMessage, ChatOrder, ContentHash, Role, Sampling};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    chat,
    gguf::writer::{Writer, q4_1_block, q8_0_block},
    model_store::ModelStore,
    registry::Registry,
    tokenizer,
};

pub const WIDTH: usize = 32;
pub const INNER: usize = 64;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const BLOCKS: usize = 2;
pub const CONTEXT: usize = 4096;

/// The file's bytes. `seed` chooses the weights.
pub fn bytes(seed: u64) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .text("general.architecture", "llama")
        .u32("llama.block_count", BLOCKS as u32)
        .u32("llama.embedding_length", WIDTH as u32)
        .u32("llama.feed_forward_length", INNER as u32)
        .u32("llama.attention.head_count", HEADS as u32)
        .u32("llama.attention.head_count_kv", KV_HEADS as u32)
        .u32("llama.context_length", CONTEXT as u32)
        .f32("llama.rope.freq_base", 10_000.0)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.chat_template", chat::TEMPLATE_TEXT);
    let vocabulary = tokenizer::write_tiny(&mut writer);
    let mut random = StdRng::seed_from_u64(seed);
    let (width, inner, key) = (WIDTH, INNER, WIDTH / HEADS * KV_HEADS);
    q8_0(&mut writer, &mut random, "token_embd", vocabulary, width);
    norm(&mut writer, &mut random, "output_norm");
    for block in 0..BLOCKS {
        let at = |name: &str| format!("blk.{block}.{name}");
        norm(&mut writer, &mut random, &at("attn_norm"));
        norm(&mut writer, &mut random, &at("ffn_norm"));
        q4_1(&mut writer, &mut random, &at("attn_q"), width, width);
        q4_1(&mut writer, &mut random, &at("attn_k"), key, width);
        q4_1(&mut writer, &mut random, &at("attn_v"), key, width);
        q4_1(&mut writer, &mut random, &at("attn_output"), width, width);
        q4_1(&mut writer, &mut random, &at("ffn_gate"), inner, width);
        q4_1(&mut writer, &mut random, &at("ffn_up"), inner, width);
        q4_1(&mut writer, &mut random, &at("ffn_down"), width, inner);
    }
    writer.bytes()
}

fn norm(writer: &mut Writer, random: &mut StdRng, name: &str) {
    let values: Vec<f32> = (0..WIDTH).map(|_| random.random_range(0.5..1.5)).collect();
    writer.f32_tensor(&format!("{name}.weight"), &[WIDTH as u64], &values);
}

fn q4_1(writer: &mut Writer, random: &mut StdRng, name: &str, rows: usize, columns: usize) {
    let blocks = (0..rows * columns / 32)
        .flat_map(|_| q4_1_block(0.05, -0.375, &std::array::from_fn(|_| random.random_range(0..16))));
    let data = blocks.collect();
    writer.tensor(&format!("{name}.weight"), &[columns as u64, rows as u64], 3, data);
}

fn q8_0(writer: &mut Writer, random: &mut StdRng, name: &str, rows: usize, columns: usize) {
    let blocks = (0..rows * columns / 32)
        .flat_map(|_| q8_0_block(0.01, &std::array::from_fn(|_| random.random_range(-100..=100))));
    let data = blocks.collect();
    writer.tensor(&format!("{name}.weight"), &[columns as u64, rows as u64], 8, data);
}

/// A store with models of those ids, and their registry. The folder goes with the first value.
pub fn installed(ids: &[&str]) -> (tempfile::TempDir, ModelStore, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let entries: Vec<String> = (0_u64..)
        .zip(ids)
        .map(|(seed, id)| {
            let bytes = bytes(seed);
            let hash = ContentHash::of(&bytes);
            std::fs::write(folder.path().join(hash.to_string()), &bytes).unwrap();
            format!(
                r#"{{"id":"{id}","task":"chat","title":"","licence":"MIT","authors":"","max_tokens":{CONTEXT},
                "files":[{{"role":"gguf","bytes":{},"blake3":"{hash}"}}]}}"#,
                bytes.len()
            )
        })
        .collect();
    let registry = Registry::parse(&format!(r#"{{"models":[{}]}}"#, entries.join(","))).unwrap();
    let store = ModelStore::new(folder.path());
    (folder, store, registry)
}

/// A greedy order for one of those models.
pub fn order(model: &str, content: &str, max_tokens: u32) -> ChatOrder {
    ChatOrder {
        model: model.into(),
        messages: vec![ChatMessage { role: Role::User, content: content.into() }],
        continues: false,
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: None },
        stop: vec![],
    }
}
