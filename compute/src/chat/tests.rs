use std::sync::Arc;

use edge_jobs::{ChatFinish, ChatMessage, ChatOrder};
use serde::Deserialize;

use super::*;
use crate::{ComputeError, burn_runtime::BurnRuntime, tiny_llama};

fn tiny() -> Arc<ChatModel> {
    ChatModel::load(tiny_llama::bytes(0), tiny_llama::CONTEXT, &BurnRuntime::processor()).unwrap()
}

/// The whole answer: its text, the completion tokens that were told, and why it ended.
fn answer(model: &Arc<ChatModel>, order: &ChatOrder) -> (String, u32, ChatFinish) {
    let mut answer = model.answer(order, 1).unwrap();
    let (mut whole, mut told) = (String::new(), 0);
    loop {
        match answer.step().unwrap() {
            Step::Reading => {}
            Step::Text { text, count } => {
                whole += &text;
                told += count;
            }
            Step::End { text, count, finish } => {
                assert_eq!(answer.completion_tokens(), told + count);
                return (whole + &text, told + count, finish);
            }
        }
    }
}

#[derive(Deserialize)]
struct Reference {
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<ChatMessage>,
    rendered: String,
}

#[test]
fn conversations_are_laid_out_as_jinja_renders_the_template() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/compute/chat.json");
    let reference: Reference = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let template = ChatTemplate::recognise(TEMPLATE_TEXT).unwrap();
    assert_eq!(reference.conversations.len(), 5);
    for conversation in reference.conversations {
        let text: String = template
            .lay_out(&conversation.messages, false)
            .unwrap()
            .into_iter()
            .map(|piece| match piece {
                Piece::Control(name) => name.to_owned(),
                Piece::Text(text) => text,
            })
            .collect();
        assert_eq!(text, conversation.rendered);
    }
}

#[test]
fn an_answer_ends_at_the_token_limit_and_counts_every_token() {
    let (text, tokens, finish) = answer(&tiny(), &tiny_llama::order("", "Hello", 20));
    assert_eq!((tokens, finish), (20, ChatFinish::Length));
    assert!(!text.is_empty());
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let model = ChatModel::load(tiny_llama::bytes(0), 150, &BurnRuntime::processor()).unwrap();
    let order = ChatOrder { max_tokens: None, ..tiny_llama::order("", "Hello", 1) };
    let prompt = model.prompt(&order).unwrap().len();
    // A draw may also be an end token, so the first seed that draws none is taken.
    let mut ends = (0..20).map(|seed| {
        let sampling = edge_jobs::Sampling { temperature: 1.0, top_p: 1.0, seed: Some(seed) };
        answer(&model, &ChatOrder { sampling, ..order.clone() })
    });
    let (_, tokens, _) = ends.find(|(_, _, finish)| *finish == ChatFinish::Length).unwrap();
    assert_eq!(prompt + tokens as usize, 150);

    for content in ["x".repeat(80), "x".repeat(1_000_000)] {
        let error = model.answer(&tiny_llama::order("", &content, 1), 1).unwrap_err();
        assert!(matches!(error, ComputeError::PromptTooLong { limit: 150, .. }), "{error}");
    }
}

#[test]
fn a_stop_text_ends_the_answer_also_across_tokens() {
    let model = tiny();
    let order = tiny_llama::order("", "Hello", 60);
    let (whole, _, _) = answer(&model, &order);
    let letters: Vec<char> = whole.chars().collect();
    // Three characters from the middle lie across tokens, because a token is a byte or two here.
    let stop: String = letters[10..13].iter().collect();
    let end = whole.find(&stop).unwrap();
    let (text, tokens, finish) = answer(&model, &ChatOrder { stop: vec![stop], ..order });
    assert_eq!((text.as_str(), finish), (&whole[..end], ChatFinish::Stop));
    assert!(tokens < 60);
}

#[test]
fn a_seed_repeats_an_answer_and_another_seed_does_not() {
    let model = tiny();
    let with_seed = |seed: u64| {
        let mut order = tiny_llama::order("", "Hello", 40);
        order.sampling = edge_jobs::Sampling { temperature: 1.0, top_p: 0.9, seed: Some(seed) };
        answer(&model, &order).0
    };
    assert_eq!(with_seed(5), with_seed(5));
    assert_ne!(with_seed(5), with_seed(6));
}

#[test]
fn orders_that_nobody_can_do_are_refused() {
    let model = tiny();
    let order = tiny_llama::order("", "Hello", 1);
    let no_tokens = ChatOrder { max_tokens: Some(0), ..order.clone() };
    let no_messages = ChatOrder { messages: vec![], ..order.clone() };
    let empty_stop = ChatOrder { stop: vec![String::new()], ..order };
    for order in [no_tokens, no_messages, empty_stop] {
        assert!(matches!(model.answer(&order, 1), Err(ComputeError::BadOrder(_))), "{order:?}");
    }
}
