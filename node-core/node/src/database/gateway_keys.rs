//! The gateway's API keys.

use async_trait::async_trait;
use edge_gateway::{KeyId, KeyRecord, KeySecretHash, KeyStore, StoreError};
use rusqlite::{Row, params};

use super::{
    Database,
    values::{Text, collect, first, run},
};

const KEY: &str =
    "SELECT id, name, secret_hash, daily_limit, total_limit, created_ms, revoked_ms FROM gateway_keys";

#[async_trait]
impl KeyStore for Database {
    async fn add_key(&self, key: KeyRecord) -> Result<(), StoreError> {
        self.write_async(move |tx| {
            run(
                tx,
                "INSERT INTO gateway_keys (id, name, secret_hash, daily_limit, total_limit, created_ms, revoked_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    Text(&key.id),
                    key.name,
                    key.secret.0,
                    key.daily_limit.as_ref().map(Text),
                    key.total_limit.as_ref().map(Text),
                    key.created_ms,
                    key.revoked_ms
                ],
            )
        })
        .await
        .map(drop)
        .map_err(StoreError::new)
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let id = id.clone();
        self.read_async(move |c| first(c, &format!("{KEY} WHERE id = ?1"), [Text(id)], read))
            .await
            .map_err(StoreError::new)
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.read_async(|c| collect(c, &format!("{KEY} ORDER BY created_ms, id"), [], read))
            .await
            .map_err(StoreError::new)
    }

    async fn revoke_key(&self, id: &KeyId, at_ms: i64) -> Result<bool, StoreError> {
        let id = id.clone();
        let sql = "UPDATE gateway_keys SET revoked_ms = ifnull(revoked_ms, ?2) WHERE id = ?1";
        let changed = self.write_async(move |tx| run(tx, sql, params![Text(id), at_ms])).await;
        changed.map(|rows| rows > 0).map_err(StoreError::new)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let Text(id) = row.get(0)?;
    let limit =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<Text<_>>>(column)?.map(|limit| limit.0));
    Ok(KeyRecord {
        id,
        name: row.get(1)?,
        secret: KeySecretHash(row.get(2)?),
        daily_limit: limit(3)?,
        total_limit: limit(4)?,
        created_ms: row.get(5)?,
        revoked_ms: row.get(6)?,
    })
}
