//! What the tests of this crate share. Each test file uses a part of it.
#![allow(dead_code)]

pub mod http;

use std::sync::Arc;

use theta_rpc::{ServerLimits, Service, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A server on a port of its own, ended when dropped.
pub struct TestServer {
    pub port: u16,
    stop: CancellationToken,
}

impl TestServer {
    pub async fn start(service: Arc<dyn Service>, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, service, limits, stop.clone()));
        Self { port, stop }
    }

    /// One request with JSON in its body.
    pub async fn post(&self, body: &str) -> http::Response {
        http::request(self.port, "POST", "/rpc", &[("Content-Type", "application/json")], body).await
    }

    /// One call with its arguments as a list; gives the whole response.
    pub async fn call(&self, method: &str, arguments: serde_json::Value) -> serde_json::Value {
        let request =
            serde_json::json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": [arguments] });
        let response = self.post(&request.to_string()).await;
        assert_eq!(response.status, 200, "{method}");
        let answer: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&"2.0".into(), &7.into()));
        answer
    }

    /// The result of a call that has one.
    pub async fn result(&self, method: &str, arguments: serde_json::Value) -> serde_json::Value {
        let answer = self.call(method, arguments).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Code and text of the error of a call that has one.
    pub async fn error(&self, method: &str, arguments: serde_json::Value) -> (i64, String) {
        let answer = self.call(method, arguments).await;
        assert!(answer.get("result").is_none(), "{method}: {answer}");
        let error = &answer["error"];
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
