//! Streams that this node published, and those that it relays.

use edge_streams::{SignedManifest, StreamId};
use rusqlite::params;

use super::{
    Database, DatabaseError,
    values::{Count, Text, collect, first, run},
};

impl Database {
    /// Keeps the manifest of a stream that is published here, unless a newer revision is here.
    pub async fn publish_stream(&self, stream: &SignedManifest) -> Result<(), DatabaseError> {
        self.keep_stream(stream, true).await
    }

    /// Keeps the manifest of a stream that this node relays for others.
    pub async fn relay_stream(&self, stream: &SignedManifest) -> Result<(), DatabaseError> {
        self.keep_stream(stream, false).await
    }

    /// Every stream that this node published, newest first.
    pub async fn published_streams(&self) -> Result<Vec<SignedManifest>, DatabaseError> {
        self.streams(true).await
    }

    /// Streams of others that this node took in to relay them, newest first.
    pub async fn relayed_streams(&self) -> Result<Vec<SignedManifest>, DatabaseError> {
        self.streams(false).await
    }

    /// One that this node published.
    pub async fn published_stream(&self, id: StreamId) -> Result<Option<SignedManifest>, DatabaseError> {
        let sql = "SELECT manifest FROM streams WHERE id = ?1 AND own = 1";
        let bytes =
            self.read_async(move |c| first(c, sql, [Text(id)], |row| row.get::<_, Vec<u8>>(0))).await?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// Forgets one that this node relayed. What it published itself stays.
    pub async fn forget_relayed(&self, id: StreamId) -> Result<(), DatabaseError> {
        let sql = "DELETE FROM streams WHERE id = ?1 AND own = 0";
        self.write_async(move |tx| run(tx, sql, [Text(id)])).await.map(drop)
    }

    async fn keep_stream(&self, stream: &SignedManifest, own: bool) -> Result<(), DatabaseError> {
        let (id, bytes) = (stream.id(), stream.bytes().to_vec());
        let (revision, created) = (stream.manifest().revision, stream.manifest().created);
        self.write_async(move |tx| {
            run(
                tx,
                "INSERT INTO streams (id, own, revision, created, manifest) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET own = max(own, excluded.own), revision = excluded.revision,
                 created = excluded.created, manifest = excluded.manifest WHERE excluded.revision >= revision",
                params![Text(id), own, revision, Count(created), bytes],
            )
        })
        .await
        .map(drop)
    }

    async fn streams(&self, own: bool) -> Result<Vec<SignedManifest>, DatabaseError> {
        let rows = self
            .read_async(move |c| {
                let sql = "SELECT manifest FROM streams WHERE own = ?1 ORDER BY created DESC, id";
                collect(c, sql, [own], |row| row.get::<_, Vec<u8>>(0))
            })
            .await?;
        rows.iter().map(|bytes| decode(bytes)).collect()
    }
}

fn decode(bytes: &[u8]) -> Result<SignedManifest, DatabaseError> {
    SignedManifest::decode(bytes).map_err(|error| DatabaseError::Damaged(error.to_string()))
}
