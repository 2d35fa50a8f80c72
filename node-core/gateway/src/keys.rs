//! API keys: made once, shown once, kept as hashes.

use std::sync::Arc;

use async_trait::async_trait;
use subtle::ConstantTimeEq;
use theta_types::Wei;

use crate::{Clock, KeyId, StoreError, identifiers::random_text};

/// Characters of a secret: 165 bits of randomness, so that a plain hash of it cannot be searched.
const SECRET_LENGTH: usize = 32;
/// What a bearer token begins with. The rest is the body of the key's id, then its secret.
const BEARER_PREFIX: &str = "sk-thetis-";
/// Domain of the hash, so that no other hash of the same text equals it.
const HASH_CONTEXT: &str = "thetis 2026 gateway api key secret";

/// Makes, checks, lists and revokes API keys.
#[derive(Clone)]
pub struct Keys {
    store: Arc<dyn KeyStore>,
    clock: Clock,
}

/// Keeps [`KeyRecord`]s.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Keeps a new record; its id is unused.
    async fn add_key(&self, record: KeyRecord) -> Result<(), StoreError>;
    /// The record of an id, revoked or not.
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;
    /// Every record, oldest first.
    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError>;
    /// Marks a record revoked at a time (Unix milliseconds), unless it is already. False when there is no such record.
    async fn revoke_key(&self, id: &KeyId, at_ms: i64) -> Result<bool, StoreError>;
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its public half.
    pub id: KeyId,
    /// What the owner calls it.
    pub name: String,
    /// The hash of its secret half.
    pub secret: KeySecretHash,
    /// The most it may spend in one UTC day, in TFuelWei; absent means no limit of its own.
    pub daily_limit: Option<Wei>,
    /// The most it may spend in its life, in TFuelWei; absent means no such limit.
    pub total_limit: Option<Wei>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it was revoked, Unix milliseconds.
    pub revoked_ms: Option<i64>,
}

/// BLAKE3 of a secret, bound to its key's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySecretHash(pub [u8; 32]);

/// A fresh key: the one time that its secret can be seen.
pub struct NewKey {
    /// What is kept of it.
    pub record: KeyRecord,
    /// The secret half, for the `x-tva-sa-secret` header.
    pub secret: String,
    /// Both halves in one, for `Authorization: Bearer`.
    pub bearer: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Keys {
    /// Over a store.
    pub fn new(store: Arc<dyn KeyStore>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// The store failed; no key was made.
    pub async fn create(
        &self,
        name: &str,
        daily_limit: Option<Wei>,
        total_limit: Option<Wei>,
    ) -> Result<NewKey, StoreError> {
        let id = KeyId::random();
        let secret = random_text(SECRET_LENGTH);
        let record = KeyRecord {
            secret: KeySecretHash::of(&id, &secret),
            name: name.to_owned(),
            daily_limit,
            total_limit,
            created_ms: self.clock.now_ms(),
            revoked_ms: None,
            id,
        };
        self.store.add_key(record.clone()).await?;
        let body = record.id.as_str().strip_prefix(KeyId::PREFIX).unwrap_or_default();
        let bearer = format!("{BEARER_PREFIX}{body}{secret}");
        Ok(NewKey { record, secret, bearer })
    }

    /// Every key, oldest first, revoked ones included.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.store.keys().await
    }

    /// Makes a key useless from now on. False when there is no such key.
    ///
    /// # Errors
    /// The store failed; the key may still work.
    pub async fn revoke(&self, id: &KeyId) -> Result<bool, StoreError> {
        self.store.revoke_key(id, self.clock.now_ms()).await
    }

    /// The key of a bearer token, when the token is right and the key not revoked.
    pub(crate) async fn by_bearer(&self, token: &str) -> Result<Option<KeyRecord>, StoreError> {
        let Some((id, secret)) = split_bearer(token) else { return Ok(None) };
        self.by_parts(&id, secret).await
    }

    /// The key of an id and a secret, when they match and the key is not revoked.
    pub(crate) async fn by_parts(&self, id: &str, secret: &str) -> Result<Option<KeyRecord>, StoreError> {
        let Ok(id) = id.parse::<KeyId>() else { return Ok(None) };
        let found = self.store.key(&id).await?;
        // An unknown id is compared too, with a hash that nothing has, so that the time taken tells nothing.
        let kept = found.as_ref().map_or(KeySecretHash([0; 32]), |record| record.secret);
        let matches = kept.matches(&id, secret);
        Ok(found.filter(|record| matches && record.revoked_ms.is_none()))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl KeySecretHash {
    fn of(id: &KeyId, secret: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        hasher.update(id.as_str().as_bytes());
        hasher.update(b"/");
        hasher.update(secret.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    fn matches(&self, id: &KeyId, secret: &str) -> bool {
        self.0.ct_eq(&Self::of(id, secret).0).into()
    }
}

fn split_bearer(token: &str) -> Option<(String, &str)> {
    let rest = token.strip_prefix(BEARER_PREFIX).filter(|rest| rest.is_ascii())?;
    let (body, secret) = rest.split_at_checked(rest.len().checked_sub(SECRET_LENGTH)?)?;
    Some((format!("{}{body}", KeyId::PREFIX), secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_of_another_key_has_another_hash() {
        let (one, two) = (KeyId::random(), KeyId::random());
        assert_ne!(KeySecretHash::of(&one, "secret"), KeySecretHash::of(&two, "secret"));
        assert!(KeySecretHash::of(&one, "secret").matches(&one, "secret"));
        assert!(!KeySecretHash::of(&one, "secret").matches(&one, "secret2"));
    }

    #[test]
    fn odd_bearer_tokens_are_no_keys() {
        for token in [
            "",
            "sk-thetis-",
            "sk-thetis-short",
            "sk-other",
            "sk-thetis-\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(split_bearer(token), None, "{token}");
        }
    }
}
