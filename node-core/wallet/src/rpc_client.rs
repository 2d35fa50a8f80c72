//! JSON-RPC over HTTP with limits: time, size, tries.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::chain_access::ChainError;

/// Longest answer that is read. A block of the chain stays below a tenth of it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Tries of a question before giving up, and the pause after the first.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The code of every error that a method returns (spec 06 section 1.4).
pub(crate) const METHOD_ERROR: i64 = -32_000;

/// What the node answered instead of a result.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RpcFailure {
    pub code: i64,
    pub message: String,
}

/// Either could not ask, or was told no.
#[derive(Debug)]
pub(crate) enum CallError {
    Chain(ChainError),
    Failure(RpcFailure),
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Value>,
    error: Option<RpcFailure>,
}

#[derive(Debug, Clone)]
pub(crate) struct RpcClient {
    http: Client,
    url: Url,
}

impl RpcClient {
    pub fn new(url: &str, timeout: Duration) -> Result<Self, ChainError> {
        let url = Url::parse(url).map_err(|error| ChainError::BadAnswer(format!("{url}: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ChainError::BadAnswer(format!("{url}: neither http nor https")));
        }
        // The first to install one wins, and every crate of the workspace installs the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ChainError::Unreachable(error.to_string()))?;
        Ok(Self { http, url })
    }

    /// Asks something that may be asked twice.
    pub async fn read(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.call(method, params.clone()).await {
                Err(CallError::Chain(ChainError::Unreachable(_))) => tokio::time::sleep(pause).await,
                answer => return answer,
            }
            pause *= 2;
        }
        self.call(method, params).await
    }

    /// Asks once.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [params] });
        let bytes = self.exchange(body).await.map_err(CallError::Chain)?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|error| CallError::Chain(ChainError::BadAnswer(format!("{method}: {error}"))))?;
        match answer {
            Answer { error: Some(failure), .. } => Err(CallError::Failure(failure)),
            Answer { result: Some(result), .. } => Ok(result),
            Answer { .. } => {
                Err(CallError::Chain(ChainError::BadAnswer(format!("{method}: neither result nor error"))))
            }
        }
    }

    async fn exchange(&self, body: Value) -> Result<Vec<u8>, ChainError> {
        let unreachable = |error: reqwest::Error| ChainError::Unreachable(error.without_url().to_string());
        let response = self.http.post(self.url.clone()).json(&body).send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            // A busy or starting node; also the reference's time limit (spec 06 section 1.1).
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(ChainError::Unreachable(format!("HTTP {status}")));
            }
            status => return Err(ChainError::BadAnswer(format!("HTTP {status}"))),
        }
        let mut bytes = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(unreachable)?;
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(ChainError::BadAnswer(format!("more than {MAX_ANSWER} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
