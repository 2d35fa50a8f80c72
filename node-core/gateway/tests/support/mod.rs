//! A gateway over real HTTP, with a store in memory and backends that the test steers.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod backends;
pub mod memory;

use std::sync::Arc;

use edge_gateway::{Clock, Gateway, GatewayConfig, GatewayStores, NewKey};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use theta_types::Wei;

use self::{
    backends::{ScriptedAi, ScriptedVideo},
    memory::MemoryStore,
};

pub struct Served {
    pub gateway: Option<Gateway>,
    pub base: String,
    pub store: Arc<MemoryStore>,
    pub ai: Arc<ScriptedAi>,
    pub video: Arc<ScriptedVideo>,
    pub folder: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

pub struct Setup {
    pub ai: ScriptedAi,
    pub video: ScriptedVideo,
    pub clock: Clock,
    pub store: Arc<MemoryStore>,
    pub configure: Box<dyn FnOnce(&mut GatewayConfig)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            ai: ScriptedAi::default(),
            video: ScriptedVideo::default(),
            clock: Clock::system(),
            store: Arc::default(),
            configure: Box::new(|_| {}),
        }
    }
}

impl Setup {
    pub async fn serve(self) -> Served {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut config = GatewayConfig::new(&base, folder.path().join("uploads"));
        (self.configure)(&mut config);
        let (ai, video) = (Arc::new(self.ai), Arc::new(self.video));
        let stores = GatewayStores {
            keys: self.store.clone(),
            spending: self.store.clone(),
            videos: self.store.clone(),
        };
        let gateway = Gateway::start(config, stores, ai.clone(), video.clone(), self.clock).await.unwrap();
        let router = gateway.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Served { gateway: Some(gateway), base, store: self.store, ai, video, folder, server }
    }
}

impl Served {
    pub async fn key(&self) -> NewKey {
        self.limited_key(None, None).await
    }

    pub async fn limited_key(&self, daily: Option<u64>, total: Option<u64>) -> NewKey {
        let keys = self.gateway.as_ref().unwrap().keys();
        keys.create("test", daily.map(Wei::from), total.map(Wei::from)).await.unwrap()
    }

    pub fn post(&self, path: &str, key: &NewKey, body: &Value) -> RequestBuilder {
        Client::new().post(format!("{}{path}", self.base)).bearer_auth(&key.bearer).json(body)
    }

    pub fn get(&self, path: &str, key: &NewKey) -> RequestBuilder {
        Client::new().get(format!("{}{path}", self.base)).bearer_auth(&key.bearer)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Waits until something is true, for at most five seconds.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("waited in vain for: {what}");
}

/// Status and JSON body of an answer.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}
