//! SmolLM2-135M-Instruct against what llama.cpp says (tools/reference/chat.py).
#![allow(clippy::unwrap_used, clippy::panic)]

mod installed;

use std::sync::Arc;

use edge_compute::{
    burn_runtime::BurnRuntime,
    chat::{ChatModel, Step as AnswerStep},
    processor::ProcessorRuntime,
    registry::FileRole,
    runtime::Runtime,
};
use edge_jobs::{ChatMessage, ChatOrder, Role, Sampling};
use serde::Deserialize;

const MODEL: &str = "smollm2-135m-instruct";
/// How far a log probability may be from the one that llama.cpp computes without rounding.
const TOLERANCE: f32 = 2e-3;

#[derive(Deserialize)]
struct Reference {
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<ChatMessage>,
    prompt_tokens: Vec<u32>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    /// llama.cpp's choice.
    token: u32,
    /// Its choice when it does not round activations to 8 bits, behind the same text.
    exact: u32,
    /// The likeliest tokens, their log probabilities, and the same without rounding.
    top: Vec<(u32, f32, f32)>,
}

impl Step {
    /// How likely a token is, and how far rounding moved it; `None` for an unlikely one.
    fn rounded(&self, token: u32) -> Option<(f32, f32)> {
        self.top
            .iter()
            .find(|top| top.0 == token)
            .map(|(_, rounded, exact)| (*rounded, (rounded - exact).abs()))
    }
}

fn load(test: &str, runtime: &dyn Runtime) -> Option<Arc<ChatModel>> {
    let (store, registry) = installed::model(test, MODEL)?;
    let entry = registry.model(MODEL).unwrap();
    let bytes = store.read(entry, FileRole::Gguf).unwrap();
    Some(ChatModel::load(bytes, entry.max_tokens, runtime).unwrap())
}

fn log_probabilities(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    logits.iter().map(|logit| logit - top - total.ln() as f32).collect()
}

fn likeliest(values: &[f32]) -> u32 {
    (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap() as u32
}

#[test]
fn thirty_two_greedy_tokens_of_five_conversations_agree_with_llama_cpp() {
    let test = "thirty_two_greedy_tokens_of_five_conversations_agree_with_llama_cpp";
    agree(test, &ProcessorRuntime::new());
}

#[test]
fn burn_says_the_same() {
    agree("burn_says_the_same", &BurnRuntime::processor());
}

/// Text and token count of a greedy answer of at most so many tokens.
fn greedy(model: &Arc<ChatModel>, messages: &[ChatMessage], continues: bool, most: u32) -> (String, u32) {
    let order = ChatOrder {
        model: MODEL.into(),
        messages: messages.to_vec(),
        max_tokens: Some(most),
        sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: None },
        stop: vec![],
        continues,
    };
    let mut answer = model.answer(&order, 1).unwrap();
    let mut whole = String::new();
    loop {
        match answer.step().unwrap() {
            AnswerStep::Reading => {}
            AnswerStep::Text { text, .. } => whole += &text,
            AnswerStep::End { text, .. } => return (whole + &text, answer.completion_tokens()),
        }
    }
}

#[test]
fn an_answer_that_is_continued_elsewhere_is_the_same_text() {
    let test = "an_answer_that_is_continued_elsewhere_is_the_same_text";
    let Some(here) = load(test, &ProcessorRuntime::new()) else { return };
    let elsewhere = load(test, &ProcessorRuntime::new()).unwrap();
    let reference: Reference = serde_json::from_slice(&installed::reference("chat.json")).unwrap();
    for (number, conversation) in reference.conversations.into_iter().enumerate() {
        let mut messages = conversation.messages;
        let (whole, tokens) = greedy(&here, &messages, false, 16);
        // The first one's answer is seven tokens long: what continues it is its end.
        assert_eq!(tokens, if number == 0 { 7 } else { 16 }, "conversation {number}");
        let (beginning, _) = greedy(&here, &messages, false, 7);
        messages.push(ChatMessage { role: Role::Assistant, content: beginning.clone() });
        let (rest, _) = greedy(&elsewhere, &messages, true, 9);
        assert_eq!(beginning.clone() + &rest, whole, "conversation {number}");
        println!("conversation {number}: {beginning:?} then {rest:?}");
        // Closed by <|im_end|>, as a message that was said, it is answered with something else.
        let (answered, _) = greedy(&elsewhere, &messages, false, 9);
        assert_ne!(answered, rest, "conversation {number}");
    }
}

fn agree(test: &str, runtime: &dyn Runtime) {
    let Some(model) = load(test, runtime) else { return };
    let reference: Reference = serde_json::from_slice(&installed::reference("chat.json")).unwrap();
    assert_eq!(reference.conversations.len(), 5);
    let mut largest = 0.0_f32;
    for (number, conversation) in reference.conversations.iter().enumerate() {
        assert_eq!(conversation.steps.len(), 32);
        let order = ChatOrder {
            model: MODEL.into(),
            messages: conversation.messages.clone(),
            continues: false,
            max_tokens: None,
            sampling: Sampling::default(),
            stop: vec![],
        };
        let prompt = model.prompt(&order).unwrap();
        assert_eq!(prompt, conversation.prompt_tokens, "the tokens of conversation {number}");
        let mut text = model.decoder().start(prompt.len() + 32).unwrap();
        let mut logits = text.push(&prompt).unwrap();
        let mut same = None;
        for (at, step) in conversation.steps.iter().enumerate() {
            let ours = log_probabilities(&logits);
            for (token, _, exact) in &step.top {
                let error = (ours[*token as usize] - exact).abs();
                assert!(error <= TOLERANCE, "conversation {number}, step {at}, token {token}: {error}");
                largest = largest.max(error);
            }
            let choice = likeliest(&ours);
            assert_eq!(choice, step.exact, "conversation {number}, step {at}");
            if choice != step.token && same.is_none() {
                same = Some(at);
                // The two tokens must be closer than llama.cpp's own rounding moved them.
                let (first, second) = (step.rounded(step.token).unwrap(), step.rounded(choice).unwrap());
                let (gap, moved) = (first.0 - second.0, first.1 + second.1);
                println!(
                    "conversation {number}: step {at} differs by {gap}, and rounding moved the tokens by {moved}"
                );
                assert!(gap <= moved, "conversation {number}, step {at}: {gap} is more than {moved}");
            }
            // What follows is compared behind llama.cpp's text.
            logits = text.push(&[step.token]).unwrap();
        }
        println!("conversation {number}: {} greedy tokens agree", same.unwrap_or(32));
    }
    println!(
        "{}: log probabilities differ from llama.cpp without rounding by {largest} at most",
        runtime.device().words
    );
}
