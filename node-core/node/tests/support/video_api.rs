//! The Video API of a creator's gateway, as a program calls it.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;
use thetis::control::ControlClient;

use super::{Daemon, status};

/// A caller with a key. Where the gateway listens may change with each start of the creator's node, so that it is asked.
pub struct VideoApi {
    pub key: Value,
}

impl VideoApi {
    pub fn with_new_key(creator: &Daemon) -> Self {
        Self { key: creator.json(&["gateway", "key", "create"]) }
    }

    /// Uploads a file and orders a video of it, with more fields of the order; gives the video's id.
    pub async fn order(&self, creator: &ControlClient, file: &Path, mut order: Value) -> String {
        let upload = self.call(creator, Method::POST, "/upload", None).await["uploads"][0].clone();
        let put = reqwest::Client::new().put(upload["presigned_url"].as_str().unwrap());
        assert_eq!(put.body(std::fs::read(file).unwrap()).send().await.unwrap().status(), 200);
        order["source_upload_id"] = upload["id"].clone();
        let made = self.call(creator, Method::POST, "/video", Some(order)).await;
        made["videos"][0]["id"].as_str().unwrap().to_owned()
    }

    pub async fn video(&self, creator: &ControlClient, id: &str) -> Value {
        self.call(creator, Method::GET, &format!("/video/{id}"), None).await["videos"][0].clone()
    }

    async fn call(&self, creator: &ControlClient, method: Method, path: &str, body: Option<Value>) -> Value {
        let gateway = status(creator).await.gateway.unwrap().url;
        let header = |name: &str| self.key[name].as_str().unwrap();
        let mut request = reqwest::Client::new()
            .request(method, format!("{gateway}{path}"))
            .header("x-tva-sa-id", header("id"))
            .header("x-tva-sa-secret", header("secret"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["body"].clone()
    }
}

/// 5.3 seconds of film with sound: three units of a transcode.
pub fn bunny() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bigbuckbunny.mp4")
}
