//! theta.GetVersion.

use serde::Serialize;

/// Which program answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    /// Its version.
    pub version: String,
    /// The commit that it was built from.
    pub git_hash: String,
    /// When it was built, as `date -u` prints it.
    pub timestamp: String,
}
