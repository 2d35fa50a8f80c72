//! Who calls: a bearer token, or the Video API's two headers.

use axum::http::{HeaderMap, header::AUTHORIZATION};

use crate::{KeyRecord, Keys, StoreError};

const ACCOUNT_ID: &str = "x-tva-sa-id";
const ACCOUNT_SECRET: &str = "x-tva-sa-secret";

/// Why a call has no key. Each API says it in its own shape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unauthenticated {
    #[error(
        "no API key was given; send `Authorization: Bearer KEY`, or the headers x-tva-sa-id and x-tva-sa-secret. \
         `thetis gateway key create` makes a key"
    )]
    Missing,
    #[error("the API key is wrong or was revoked; `thetis gateway key list` shows the keys of this gateway")]
    Wrong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The key that a call's headers prove.
pub(crate) async fn authenticate(headers: &HeaderMap, keys: &Keys) -> Result<KeyRecord, Unauthenticated> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let found = if let Some(value) = text(AUTHORIZATION.as_str()) {
        let Some((scheme, token)) = value.split_once(' ') else { return Err(Unauthenticated::Wrong) };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Unauthenticated::Wrong);
        }
        keys.by_bearer(token.trim()).await?
    } else if let (Some(id), Some(secret)) = (text(ACCOUNT_ID), text(ACCOUNT_SECRET)) {
        keys.by_parts(id, secret).await?
    } else {
        return Err(Unauthenticated::Missing);
    };
    found.ok_or(Unauthenticated::Wrong)
}
