//! A streamed chat completion: server-sent events of chunks, ended by `[DONE]`.

use std::convert::Infallible;

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{
    ApiError,
    chat::{broken_off, shown_finish, shown_usage},
};
use crate::{ChatEvent, ChatStream, Place};

/// What every chunk of one completion repeats.
pub(super) struct Completion {
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    pub model: String,
}

/// Streams a chat. `place` is held until the stream ends or its client goes away.
pub(super) fn respond(completion: Completion, events: ChatStream, usage: bool, place: Place) -> Response {
    let opening = completion.chunk(usage, json!({ "role": "assistant", "content": "" }), None);
    let state = Some(Writing { completion, events, usage, _place: place });
    let rest = stream::unfold(state, |state| async move {
        let mut writing = state?;
        let (lines, over) = writing.next().await;
        Some((stream::iter(lines), (!over).then_some(writing)))
    });
    let lines = stream::iter([opening.to_string()]).chain(rest.flatten());
    let events = lines.map(|line| Ok::<_, Infallible>(Event::default().data(line)));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

struct Writing {
    completion: Completion,
    events: ChatStream,
    usage: bool,
    _place: Place,
}

impl Writing {
    /// The data lines of the next event, and whether they are the last.
    async fn next(&mut self) -> (Vec<String>, bool) {
        match self.events.next().await.unwrap_or_else(|| Err(broken_off())) {
            Ok(ChatEvent::Text(text)) => {
                (vec![self.completion.chunk(self.usage, json!({ "content": text }), None).to_string()], false)
            }
            Ok(ChatEvent::Finished { finish, prompt_tokens, completion_tokens }) => {
                let last = self.completion.chunk(self.usage, json!({}), Some(shown_finish(finish)));
                let mut lines = vec![last.to_string()];
                if self.usage {
                    let mut chunk = self.completion.chunk(true, json!({}), None);
                    chunk["choices"] = json!([]);
                    chunk["usage"] = shown_usage(prompt_tokens, completion_tokens);
                    lines.push(chunk.to_string());
                }
                lines.push("[DONE]".into());
                (lines, true)
            }
            // The clients raise an error for a line with `error`; there is no [DONE] after it.
            Err(error) => (vec![ApiError::from(error).body().to_string()], true),
        }
    }
}

impl Completion {
    fn chunk(&self, usage: bool, delta: Value, finish: Option<&str>) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }],
        });
        if usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}
