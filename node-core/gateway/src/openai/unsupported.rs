//! Fields of OpenAI's API that nothing here does anything with. Those that would change an answer are refused by name;
//! the others are taken and have no effect.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ApiError;

/// Fields that a request has beside those that are understood.
pub(super) type OtherFields = BTreeMap<String, Value>;

/// Refuses a chat that asks for what is not there.
pub(super) fn refuse(fields: &OtherFields) -> Result<(), ApiError> {
    match fields.iter().find_map(|(name, value)| Some((name, why_not(name, value)?))) {
        Some((name, why)) => Err(ApiError::unsupported(name, why)),
        None => Ok(()),
    }
}

/// Refuses what a message of a chat has beside role and content. A participant's name is not shown to the models here.
pub(super) fn refuse_in_message(number: usize, fields: &OtherFields) -> Result<(), ApiError> {
    let says_nothing = |value: &Value| [json!(null), json!([]), json!({})].contains(value);
    match fields.iter().find(|(name, value)| *name != "name" && !says_nothing(value)) {
        Some((name, _)) => {
            let field = format!("messages[{number}].{name}");
            Err(ApiError::unsupported(&field, "a message here is a role and text"))
        }
        None => Ok(()),
    }
}

/// Why a field is refused; `None` when it has no effect on the answer, or its value asks for nothing special.
fn why_not(name: &str, value: &Value) -> Option<&'static str> {
    let (usual, why) = match name {
        // For the caller's own records, for billing, or to make the same answer faster.
        "user"
        | "metadata"
        | "safety_identifier"
        | "prompt_cache_key"
        | "prompt_cache_retention"
        | "service_tier"
        | "prediction"
        | "parallel_tool_calls" => return None,
        "n" => (json!([1]), "only one answer is made"),
        "tools" | "functions" => (json!([[]]), "the models here call no tools"),
        "tool_choice" | "function_call" => (json!(["none", "auto"]), "the models here call no tools"),
        "logprobs" => (json!([false]), "probabilities are not given out"),
        "top_logprobs" => (json!([0]), "probabilities are not given out"),
        "response_format" => (json!([{ "type": "text" }]), "answers are text only"),
        "modalities" => (json!([["text"]]), "answers are text only"),
        "reasoning_effort" => (json!(["none"]), "the models here do not reason before they answer"),
        "store" => (json!([false]), "answers are not kept"),
        "logit_bias" => (json!([{}]), NO_SETTING),
        "frequency_penalty" | "presence_penalty" => (json!([0, 0.0]), NO_SETTING),
        "verbosity" => (json!(["medium"]), NO_SETTING),
        _ => (json!([]), NO_SETTING),
    };
    let asks = !value.is_null() && !usual.as_array().is_some_and(|usual| usual.contains(value));
    asks.then_some(why)
}

const NO_SETTING: &str = "there is no such setting here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_an_answer_is_refused_and_what_asks_for_nothing_is_not() {
        for (name, asks, nothing) in [
            ("n", json!(2), json!(1)),
            ("tools", json!([{}]), json!([])),
            ("tool_choice", json!("required"), json!("auto")),
            ("tool_choice", json!({ "type": "function", "function": { "name": "f" } }), json!("none")),
            ("logprobs", json!(true), json!(false)),
            ("top_logprobs", json!(5), json!(0)),
            ("response_format", json!({ "type": "json_object" }), json!({ "type": "text" })),
            ("modalities", json!(["text", "audio"]), json!(["text"])),
            ("reasoning_effort", json!("high"), json!("none")),
            ("store", json!(true), json!(false)),
            ("logit_bias", json!({ "50256": -100 }), json!({})),
            ("presence_penalty", json!(0.5), json!(0)),
            ("frequency_penalty", json!(-0.5), json!(0.0)),
            ("verbosity", json!("low"), json!("medium")),
            ("top_k", json!(40), Value::Null),
            ("web_search_options", json!({}), Value::Null),
        ] {
            assert!(why_not(name, &asks).is_some(), "{name}: {asks}");
            assert_eq!(why_not(name, &nothing), None, "{name}: {nothing}");
            assert_eq!(why_not(name, &Value::Null), None, "{name}");
        }
        assert_eq!(why_not("user", &json!("somebody")), None);
        assert_eq!(why_not("metadata", &json!({ "run": "7" })), None);
    }
}
