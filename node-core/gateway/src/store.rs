//! What can go wrong in a store that the node provides.

/// A store could not read or write. The call that needed it fails; nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("the gateway's store failed: {0}")]
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps what the store's own library says.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
