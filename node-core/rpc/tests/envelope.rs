//! The transport and the envelope, over real HTTP: the published vectors, and what protects the machine's owner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use support::{TestServer, http};
use theta_rpc::params::Params;
use theta_rpc::{Answer, RpcError, ServerLimits, Service, answer};

/// The sample service that the vectors are about.
struct Sample;

#[async_trait]
impl Service for Sample {
    fn methods(&self) -> &[&'static str] {
        &["Svc.Sum", "Svc.Name", "Svc.Err", "Svc.Slow"]
    }

    async fn call(&self, method: &str, params: Params) -> Answer {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct Names {
            fname: String,
            lname: String,
        }

        match method {
            "Svc.Sum" => {
                let numbers: Vec<i64> = serde_json::from_str(params.text().unwrap_or("[]")).unwrap();
                answer(&numbers.iter().sum::<i64>())
            }
            "Svc.Name" => {
                let names: Names = params.object()?;
                answer(&json!({ "Name": format!("{} {}", names.fname, names.lname) }))
            }
            "Svc.Slow" => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                answer(&())
            }
            _ => Err(RpcError::failed("some issue")),
        }
    }
}

async fn server(limits: ServerLimits) -> TestServer {
    TestServer::start(Arc::new(Sample), limits).await
}

fn vectors(method: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(include_str!("../../../testdata/vectors/rpc.json")).unwrap();
    let found: Vec<_> = all.into_iter().filter(|vector| vector["method"] == method).collect();
    assert!(!found.is_empty());
    found
}

#[tokio::test]
async fn requests_are_answered_as_the_envelope_vectors_say() {
    let server = server(ServerLimits::default()).await;
    for vector in vectors("envelope") {
        let request = vector["params"]["request_text"].as_str().unwrap();
        let response = server.post(request).await;
        assert_eq!(response.status, 200, "{request}");
        assert!(response.body.ends_with('\n'));
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body, vector["example_result"], "{request}");
    }
}

#[tokio::test]
async fn the_transport_behaves_as_the_http_vectors_say() {
    let server = server(ServerLimits::default()).await;
    for vector in vectors("http") {
        let text = |field: &str| vector["params"][field].as_str().unwrap();
        let headers = [("Content-Type", text("content_type"))];
        let headers = if text("content_type").is_empty() { &[][..] } else { &headers };
        let response = http::request(server.port, text("http_method"), "/rpc", headers, text("body")).await;
        let expected = &vector["example_result"];
        assert_eq!(u64::from(response.status), expected["status"].as_u64().unwrap(), "{vector}");
        assert_eq!(response.headers["content-type"], expected["content_type"].as_str().unwrap());
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        assert_eq!(body, expected["json"], "{vector}");
    }
}

#[tokio::test]
async fn other_media_types_paths_and_methods_are_turned_away() {
    let server = server(ServerLimits::default()).await;
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"Svc.Sum"}"#;
    let post = async |kind: &str| {
        http::request(server.port, "POST", "/rpc", &[("Content-Type", kind)], body).await.status
    };
    assert_eq!(post("text/plain").await, 415);
    assert_eq!(post("application/jsonp").await, 415);
    assert_eq!(post("Application/JSON;charset=utf-8").await, 200);
    assert_eq!(http::request(server.port, "POST", "/rpc", &[], body).await.status, 415);
    assert_eq!(http::request(server.port, "GET", "/nowhere", &[], "").await.status, 404);
    let root = http::request(server.port, "GET", "/", &[], "").await;
    assert_eq!((root.status, root.body.as_str()), (200, "Theta Node is up and running!"));
}

#[tokio::test]
async fn pages_of_other_origins_are_told_nothing() {
    let server = server(ServerLimits::default()).await;
    let origin = ("Origin", "http://evil.example");
    let asked = [origin, ("Access-Control-Request-Method", "POST")];
    for (method, headers) in
        [("OPTIONS", &asked[..]), ("POST", &[origin, ("Content-Type", "application/json")])]
    {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"Svc.Sum"}"#;
        let response = http::request(server.port, method, "/rpc", headers, body).await;
        assert_eq!(response.status, 200);
        assert!(
            !response.headers.keys().any(|name| name.starts_with("access-control")),
            "{:?}",
            response.headers
        );
    }
}

#[tokio::test]
async fn a_foreign_name_for_this_machine_is_turned_away() {
    let limits = ServerLimits { host_names: vec!["gateway.lan".into()], ..ServerLimits::default() };
    let server = server(limits).await;
    for (host, status) in [
        ("127.0.0.1:16888", 200),
        ("[::1]:16888", 200),
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("gateway.lan:16888", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:16888", 403),
        ("localhost.evil.example", 403),
    ] {
        let headers = [("Content-Type", "application/json"), ("Host", host)];
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"Svc.Sum"}"#;
        assert_eq!(http::request(server.port, "POST", "/rpc", &headers, body).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn bodies_and_batches_are_bounded() {
    let limits = ServerLimits { body_bytes: 1_000, batch: 3, ..ServerLimits::default() };
    let server = server(limits).await;
    let request = r#"{"jsonrpc":"2.0","id":0,"method":"Svc.Sum","params":[1,2]}"#;
    let batch = |count: usize| format!("[{}]", vec![request; count].join(","));
    let three: Vec<Value> = serde_json::from_str(&server.post(&batch(3)).await.body).unwrap();
    assert_eq!(three.len(), 3);
    let four: Value = serde_json::from_str(&server.post(&batch(4)).await.body).unwrap();
    assert_eq!(four["error"]["code"], -32600);
    assert_eq!(server.post(&" ".repeat(1_001)).await.status, 413);
    // Nesting without end is no stack overflow.
    let server = self::server(ServerLimits::default()).await;
    for deep in [
        "[".repeat(100_000),
        format!(r#"{{"jsonrpc":"2.0","id":0,"method":"Svc.Name","params":{}"#, "[".repeat(100_000)),
    ] {
        let response: Value = serde_json::from_str(&server.post(&deep).await.body).unwrap();
        assert_eq!(response["error"]["code"], -32700);
    }
}

#[tokio::test]
async fn notifications_run_and_are_not_answered() {
    let server = server(ServerLimits::default()).await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"Svc.Sum","params":[1]}"#,
        r#"{"jsonrpc":"2.0","method":"Svc.Nope"}"#,
        r#"[{"jsonrpc":"2.0","method":"Svc.Sum"},{"jsonrpc":"2.0","method":"Svc.Err"}]"#,
    ] {
        let response = server.post(body).await;
        assert_eq!((response.status, response.body.as_str()), (204, ""));
    }
    let body = r#"[{"jsonrpc":"2.0","method":"Svc.Sum"},{"jsonrpc":"2.0","id":"x","method":"Svc.Sum"}]"#;
    let answers: Value = serde_json::from_str(&server.post(body).await.body).unwrap();
    assert_eq!(answers, json!([{ "jsonrpc": "2.0", "id": "x", "result": 0 }]));
}

#[tokio::test]
async fn only_the_first_value_counts_and_ids_come_back_as_written() {
    let server = server(ServerLimits::default()).await;
    let body = r#"{"jsonrpc":"2.0","id":1.50,"method":"Svc.Sum"} what is this"#;
    assert_eq!(server.post(body).await.body, "{\"jsonrpc\":\"2.0\",\"id\":1.50,\"result\":0}\n");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"Svc.Name","params":[{"FNAME":"a","fname":"<b>"},{"lname":"c"}]}"#;
    assert_eq!(
        server.post(body).await.body,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"Name\":\"\\u003cb\\u003e \"}}\n"
    );
    let wrong: Value = serde_json::from_str(
        &server.post(r#"{"jsonrpc":"2.0","id":1,"method":"Svc.Name","params":[{"fname":5}]}"#).await.body,
    )
    .unwrap();
    assert_eq!(wrong["error"]["code"], -32602);
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended() {
    let limits = ServerLimits { timeout: Duration::from_millis(100), ..ServerLimits::default() };
    let server = server(limits).await;
    let response = server.post(r#"{"jsonrpc":"2.0","id":0,"method":"Svc.Slow"}"#).await;
    assert_eq!((response.status, response.body.as_str()), (503, r#"{"error": {"message":"Timeout"}}"#));
}
