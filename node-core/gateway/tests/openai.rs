//! OpenAI's API over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use edge_gateway::BackendError;
use edge_jobs::Order;
use reqwest::Client;
use serde_json::{Value, json};
use support::{Setup, answer, backends::ScriptedAi, backends::vector_of};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn chat(extra: Value) -> Value {
    let mut body =
        json!({ "model": "talk", "messages": [{ "role": "user", "content": "What is the sea?" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// The data lines of a streamed answer.
async fn data_lines(request: reqwest::RequestBuilder) -> Vec<String> {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    text.lines().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let (status, list) = answer(served.get("/v1/models", &key)).await;
    assert_eq!(status, 200);
    assert_eq!(list["object"], "list");
    assert_eq!(
        list["data"][0],
        json!({ "id": "talk", "object": "model", "created": 1_700_000_000, "owned_by": "thetis" })
    );
    let (status, one) = answer(served.get("/v1/models/embed", &key)).await;
    assert_eq!((status, &one["id"]), (200, &json!("embed")));
    let (status, none) = answer(served.get("/v1/models/gpt-4o", &key)).await;
    assert_eq!((status, &none["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn a_chat_answers_whole() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let (status, body) =
        answer(served.post("/v1/chat/completions", &key, &chat(json!({ "max_tokens": 9 })))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["object"], "chat.completion");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["choices"][0]["message"]["content"], "Deep water.");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"], json!({ "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10 }));
}

#[tokio::test]
async fn a_streamed_chat_ends_with_its_usage_and_done() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let lines = data_lines(served.post("/v1/chat/completions", &key, &body)).await;
    assert_eq!(lines.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> =
        lines[..lines.len() - 1].iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "Deep water.");
    let usage = &chunks[chunks.len() - 1];
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(10)));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null()));
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk")
    );
}

#[tokio::test]
async fn without_stream_options_there_is_no_usage_chunk() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let lines = data_lines(served.post("/v1/chat/completions", &key, &chat(json!({ "stream": true })))).await;
    assert!(lines.iter().all(|line| !line.contains("usage")), "{lines:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_says_so_and_has_no_done() {
    let ai = ScriptedAi {
        then: Some(BackendError::Failed("both providers died".into())),
        ..ScriptedAi::default()
    };
    let served = Setup { ai, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let lines = data_lines(served.post("/v1/chat/completions", &key, &chat(json!({ "stream": true })))).await;
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "both providers died");
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_word_is_an_ordinary_error() {
    let ai = ScriptedAi {
        words: vec![],
        then: Some(BackendError::NoProvider("no node offers this model now".into())),
        ..ScriptedAi::default()
    };
    let served = Setup { ai, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let (status, body) =
        answer(served.post("/v1/chat/completions", &key, &chat(json!({ "stream": true })))).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("no_provider")));
}

#[tokio::test]
async fn the_order_carries_what_the_caller_asked_for() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let body = chat(
        json!({ "temperature": 0, "top_p": 0.5, "seed": -1, "stop": ["\n"], "max_completion_tokens": 20 }),
    );
    answer(served.post("/v1/chat/completions", &key, &body)).await;
    let orders = served.ai.orders.lock().unwrap();
    let Order::Chat(order) = &orders[0] else { panic!("{orders:?}") };
    assert_eq!((order.sampling.temperature, order.sampling.top_p), (0.0, 0.5));
    assert_eq!((order.sampling.seed, order.max_tokens), (Some(u64::MAX), Some(20)));
    assert_eq!(order.stop, ["\n"]);
}

#[tokio::test]
async fn embeddings_come_in_order_as_numbers_or_base64() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let (status, body) =
        answer(served.post("/v1/embeddings", &key, &json!({ "model": "embed", "input": "sea" }))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["data"][0]["embedding"], json!(vector_of("sea")));
    assert_eq!(body["usage"], json!({ "prompt_tokens": 2, "total_tokens": 2 }));

    let many =
        json!({ "model": "embed", "input": ["a", "bb"], "encoding_format": "base64", "dimensions": 3 });
    let (_, body) = answer(served.post("/v1/embeddings", &key, &many)).await;
    for (index, text) in ["a", "bb"].into_iter().enumerate() {
        let bytes = BASE64_STANDARD.decode(body["data"][index]["embedding"].as_str().unwrap()).unwrap();
        let numbers: Vec<f32> =
            bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(numbers, vector_of(text));
        assert_eq!(body["data"][index]["index"], index);
    }
}

#[tokio::test]
async fn many_texts_become_several_orders_and_one_answer() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let texts: Vec<String> = (0..600).map(|i| "x".repeat(i % 7 + 1)).collect();
    let (status, body) =
        answer(served.post("/v1/embeddings", &key, &json!({ "model": "embed", "input": texts }))).await;
    assert_eq!((status, body["data"].as_array().unwrap().len()), (200, 600));
    assert_eq!(body["data"][599]["embedding"], json!(vector_of(&texts[599])));
    assert_eq!(served.ai.orders.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn embeddings_that_cannot_be_made_are_refused() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    for (body, status) in [
        (json!({ "model": "embed", "input": [] }), 400),
        (json!({ "model": "embed", "input": "" }), 400),
        (json!({ "model": "embed", "input": [1, 2, 3] }), 400),
        (json!({ "model": "embed", "input": "a", "dimensions": 2 }), 400),
        (json!({ "model": "embed", "input": "a", "encoding_format": "hex" }), 400),
        (json!({ "model": "embed" }), 400),
        (json!({ "model": "talk", "input": "a" }), 404),
        (json!({ "model": "embed", "input": vec!["a"; 2049] }), 400),
    ] {
        let (got, error) = answer(served.post("/v1/embeddings", &key, &body)).await;
        assert_eq!(got, status, "{error}");
        assert!(error["error"]["message"].is_string() && error["error"]["type"] == "invalid_request_error");
    }
}

#[tokio::test]
async fn a_call_without_a_good_key_is_401() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let url = format!("{}/v1/models", served.base);
    let wrong = format!("{}x", &key.bearer[..key.bearer.len() - 1]);
    let requests = [
        Client::new().get(&url),
        Client::new().get(&url).bearer_auth(wrong),
        Client::new().get(&url).header("authorization", &key.bearer),
        Client::new().get(&url).basic_auth("user", Some(&key.secret)),
        Client::new()
            .get(&url)
            .header("x-tva-sa-id", key.record.id.as_str())
            .header("x-tva-sa-secret", "wrong"),
    ];
    for request in requests {
        let (status, body) = answer(request).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("invalid_api_key")));
    }
    let by_parts = Client::new()
        .get(&url)
        .header("x-tva-sa-id", key.record.id.as_str())
        .header("x-tva-sa-secret", &key.secret);
    assert_eq!(answer(by_parts).await.0, 200);

    served.gateway.as_ref().unwrap().keys().revoke(&key.record.id).await.unwrap();
    assert_eq!(answer(served.get("/v1/models", &key)).await.0, 401);
}

#[tokio::test]
async fn unknown_models_addresses_and_methods_have_openai_s_shape() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "hi" }] });
    let (status, error) = answer(served.post("/v1/chat/completions", &key, &body)).await;
    assert_eq!(
        (status, &error["error"]["code"], &error["error"]["param"]),
        (404, &json!("model_not_found"), &json!("model"))
    );
    let (status, error) = answer(served.get("/v1/images/generations", &key)).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("unknown_url")));
    let (status, error) = answer(served.get("/v1/chat/completions", &key)).await;
    assert_eq!((status, &error["error"]["code"]), (405, &json!("method_not_allowed")));
    let not_json =
        Client::new().post(format!("{}/v1/embeddings", served.base)).bearer_auth(&key.bearer).body("{");
    assert_eq!(answer(not_json).await.0, 400);
}

#[tokio::test]
async fn what_the_http_library_refuses_has_openai_s_shape_and_a_stranger_s_body_is_not_read() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let large = Client::new().post(format!("{}/v1/embeddings", served.base)).body(vec![b' '; (8 << 20) + 1]);
    let model = Client::new().get(format!("{}/v1/models/%ff", served.base)).bearer_auth(&key.bearer);
    for (request, status, code) in
        [(large.bearer_auth(&key.bearer), 413, json!("request_too_large")), (model, 400, Value::Null)]
    {
        let (got, error) = answer(request).await;
        assert_eq!((got, &error["error"]["code"]), (status, &code), "{error}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }

    // The answer comes though the body that was announced never does.
    let address = served.base.strip_prefix("http://").unwrap();
    for path in ["/v1/chat/completions", "/v1/embeddings", "/video"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 13];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut start));
        read.await.expect("the key is checked first").unwrap();
        assert_eq!(&start, b"HTTP/1.1 401 ", "{path}");
    }
}

#[tokio::test]
async fn fields_that_would_change_the_answer_are_refused_and_harmless_ones_are_taken() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    for (path, field) in [
        ("/v1/chat/completions", json!({ "tool_choice": "required" })),
        ("/v1/chat/completions", json!({ "reasoning_effort": "high" })),
        ("/v1/chat/completions", json!({ "top_k": 40 })),
        ("/v1/embeddings", json!({ "truncate": true })),
    ] {
        let mut body = chat(field.clone());
        if path == "/v1/embeddings" {
            body = json!({ "model": "embed", "input": "sea", "truncate": true });
        }
        let (status, error) = answer(served.post(path, &key, &body)).await;
        let name = field.as_object().unwrap().keys().next().unwrap();
        assert_eq!((status, &error["error"]["code"]), (400, &json!("unsupported_parameter")), "{error}");
        assert_eq!(error["error"]["param"], json!(name));
    }
    assert!(served.ai.orders.lock().unwrap().is_empty());
    let harmless =
        json!({ "user": "me", "metadata": { "run": "7" }, "tool_choice": "auto", "top_logprobs": 0 });
    assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(harmless))).await.0, 200);
    let body = json!({ "model": "embed", "input": "sea", "user": "me" });
    assert_eq!(answer(served.post("/v1/embeddings", &key, &body)).await.0, 200);
}

#[tokio::test]
async fn a_node_that_cannot_pay_says_so_with_503() {
    let ai = ScriptedAi {
        refuse: Some(BackendError::CannotPay(
            "the wallet is locked; start the node with its passphrase".into(),
        )),
        ..ScriptedAi::default()
    };
    let served = Setup { ai, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &chat(json!({})))).await;
    assert_eq!((status, &body["error"]["type"]), (503, &json!("server_error")));
    assert!(body["error"]["message"].as_str().unwrap().contains("locked"));
}
