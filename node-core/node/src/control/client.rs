//! The control API from the outside: what the command line, and an app that attaches to a running node, use.

use std::{path::Path, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::ControlError;
use crate::data_folder::{DataFolder, Owner};

/// How long one call may take. Unlocking a wallet takes a second or two of hashing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Talks to the node that owns a data folder.
#[derive(Clone, Debug)]
pub struct ControlClient {
    owner: Owner,
    http: reqwest::Client,
}

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Start the node first.
    #[error("no node is running on {folder}: start it with `thetis serve --data {folder}`")]
    NotRunning {
        /// The data folder.
        folder: String,
    },
    /// The node refused, and says why.
    #[error("{0}")]
    Refused(ControlError),
    /// The node went away, or answered with something else.
    #[error("the node did not answer: {0}")]
    Broken(String),
}

impl ControlClient {
    /// Finds the owner of a data folder.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`].
    pub fn attach(folder: &Path) -> Result<Self, ClientError> {
        let absent = || ClientError::NotRunning { folder: folder.display().to_string() };
        let owner = DataFolder::owner(folder).ok_or_else(absent)?;
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        Ok(Self { owner, http })
    }

    /// What the owner says of itself.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.finish(self.http.get(self.url(path))).await
    }

    /// Asks for something to be done.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.finish(self.http.post(self.url(path)).json(body)).await
    }

    async fn finish<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        let broken = |error: reqwest::Error| ClientError::Broken(error.to_string());
        let response = request.bearer_auth(&self.owner.token).send().await.map_err(broken)?;
        let status = response.status();
        let body = response.bytes().await.map_err(broken)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| ClientError::Broken(error.to_string()));
        }
        match serde_json::from_slice(&body) {
            Ok(error) => Err(ClientError::Refused(error)),
            Err(_) => Err(ClientError::Broken(format!("status {status}"))),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.owner.control)
    }
}
