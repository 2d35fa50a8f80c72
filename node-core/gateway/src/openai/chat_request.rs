//! What a chat completion may ask for. What the network cannot do is refused by name, never ignored.

use std::fmt::Display;

use edge_jobs::{ChatMessage, ChatOrder, Role, Sampling};
use serde::Deserialize;
use serde_json::Value;

use super::ApiError;

const MOST_STOPS: usize = 4;
const MOST_MESSAGES: usize = 1024;

#[derive(Deserialize)]
pub(super) struct ChatRequest {
    pub model: String,
    messages: Vec<Message>,
    #[serde(default)]
    pub stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    n: Option<i64>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logprobs: Option<bool>,
    response_format: Option<ResponseFormat>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    logit_bias: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

impl ChatRequest {
    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub fn wants_usage_chunk(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }

    /// The order that the market understands.
    pub fn into_order(self) -> Result<ChatOrder, ApiError> {
        self.refuse_what_is_not_there()?;
        let sampling = Sampling {
            temperature: in_range("temperature", self.temperature, 1.0, 0.0, 2.0)?,
            top_p: in_range("top_p", self.top_p, 1.0, f32::MIN_POSITIVE, 1.0)?,
            // Negative seeds are as good as others: the bits count.
            seed: self.seed.map(|seed| seed as u64),
        };
        let max_tokens = match (self.max_completion_tokens, self.max_tokens) {
            (Some(wanted), _) => Some(positive("max_completion_tokens", wanted)?),
            (None, Some(wanted)) => Some(positive("max_tokens", wanted)?),
            (None, None) => None,
        };
        let stop = match self.stop {
            None => vec![],
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Many(texts)) => texts,
        };
        if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
            return Err(ApiError::bad_field(
                "stop",
                format!("at most {MOST_STOPS} stop texts, none of them empty"),
            ));
        }
        if self.messages.is_empty() || self.messages.len() > MOST_MESSAGES {
            return Err(ApiError::bad_field(
                "messages",
                format!("between 1 and {MOST_MESSAGES} messages are needed"),
            ));
        }
        let messages = self.messages.into_iter().map(Message::read).collect::<Result<_, _>>()?;
        Ok(ChatOrder { model: self.model, messages, continues: false, max_tokens, sampling, stop })
    }

    fn refuse_what_is_not_there(&self) -> Result<(), ApiError> {
        let present = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let nonzero = |number: Option<f32>| number.is_some_and(|number| number != 0.0);
        let refused = [
            ("n", self.n.is_some_and(|n| n != 1), "only one answer is made"),
            ("tools", present(&self.tools), "the models here call no tools"),
            ("functions", present(&self.functions), "the models here call no functions"),
            ("logprobs", self.logprobs == Some(true), "probabilities are not given out"),
            (
                "logit_bias",
                self.logit_bias.as_ref().is_some_and(|map| !map.is_empty()),
                "there is no such setting here",
            ),
            ("frequency_penalty", nonzero(self.frequency_penalty), "there is no such setting here"),
            ("presence_penalty", nonzero(self.presence_penalty), "there is no such setting here"),
            (
                "response_format",
                self.response_format.as_ref().is_some_and(|format| format.r#type != "text"),
                "answers are text only",
            ),
            (
                "stream_options",
                self.stream_options.is_some() && !self.streams(),
                "this goes with `stream: true`",
            ),
        ];
        match refused.into_iter().find(|(_, asked, _)| *asked) {
            Some((param, _, why)) => {
                Err(ApiError::bad_field(param, format!("`{param}` is not supported: {why}")))
            }
            None => Ok(()),
        }
    }
}

impl Message {
    fn read(self) -> Result<ChatMessage, ApiError> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                return Err(ApiError::bad_field(
                    "messages",
                    "a role is system, developer, user or assistant",
                ));
            }
        };
        let content = match self.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts
                .into_iter()
                .map(|part| match (part.r#type.as_str(), part.text) {
                    ("text", Some(text)) => Ok(text),
                    _ => Err(ApiError::bad_field("messages", "the models here read text only")),
                })
                .collect::<Result<String, _>>()?,
            None => return Err(ApiError::bad_field("messages", "every message needs content")),
        };
        Ok(ChatMessage { role, content })
    }
}

fn in_range<T: PartialOrd + Display>(
    param: &'static str,
    given: Option<T>,
    default: T,
    least: T,
    most: T,
) -> Result<T, ApiError> {
    match given {
        None => Ok(default),
        Some(value) if value >= least && value <= most => Ok(value),
        Some(_) => Err(ApiError::bad_field(param, format!("`{param}` is out of range; the most is {most}"))),
    }
}

fn positive(param: &'static str, number: i64) -> Result<u32, ApiError> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| ApiError::bad_field(param, format!("`{param}` must be at least 1")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn order(body: Value) -> Result<ChatOrder, ApiError> {
        super::super::parse::<ChatRequest>(&body.to_string().into()).and_then(ChatRequest::into_order)
    }

    fn with(field: &str, value: Value) -> Result<ChatOrder, ApiError> {
        order(json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], field: value }))
    }

    #[test]
    fn parts_of_text_are_joined_and_developers_are_the_system() {
        let order = order(json!({ "model": "m", "messages": [
            { "role": "developer", "content": "short" },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
        ]}))
        .unwrap();
        assert_eq!(order.messages[0], ChatMessage { role: Role::System, content: "short".into() });
        assert_eq!(order.messages[1].content, "ab");
    }

    #[test]
    fn the_newer_token_limit_wins() {
        let order = order(json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }],
            "max_tokens": 5, "max_completion_tokens": 7 }));
        assert_eq!(order.unwrap().max_tokens, Some(7));
    }

    #[test]
    fn what_is_out_of_range_or_not_there_is_refused_by_name() {
        for (field, value) in [
            ("temperature", json!(2.1)),
            ("temperature", json!(-0.1)),
            ("top_p", json!(0)),
            ("top_p", json!(1.01)),
            ("max_tokens", json!(0)),
            ("n", json!(2)),
            ("tools", json!([{}])),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!("")),
            ("response_format", json!({ "type": "json_object" })),
            ("stream_options", json!({ "include_usage": true })),
            ("presence_penalty", json!(0.5)),
        ] {
            let refused = with(field, value.clone()).unwrap_err().body();
            assert_eq!(refused["error"]["param"], json!(field), "{field} = {value}");
        }
    }

    #[test]
    fn nulls_mean_absent() {
        for field in ["temperature", "top_p", "max_tokens", "stop", "stream", "tools", "seed", "n"] {
            with(field, Value::Null).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_order_or_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = super::super::parse::<ChatRequest>(&bytes.into()).map(ChatRequest::into_order);
        }
    }
}
