//! The gateway's uploads and videos.

use std::fmt::Write;

use async_trait::async_trait;
use edge_gateway::{
    KeyId, StoreError, UploadId, UploadRecord, UploadState, VideoFilter, VideoId, VideoRecord, VideoState,
    VideoStore,
};
use rusqlite::{Connection, Row, ToSql, params, types::Type};

use super::{
    Database, DatabaseError,
    values::{Count, Text, collect, first, run},
};

const UPLOAD: &str = "SELECT id, key_id, token_hash, created_ms, updated_ms, expires_ms, state, bytes, hash FROM gateway_uploads";
const VIDEO: &str = "SELECT id, key_id, upload_id, created_ms, updated_ms, file_name, resolutions, metadata, state, \
                     sub_state, progress, error, duration_ms, short_side, stream, cost FROM gateway_videos";

#[async_trait]
impl VideoStore for Database {
    async fn add_upload(&self, upload: UploadRecord, most_waiting: usize) -> Result<bool, StoreError> {
        let add = move |tx: &rusqlite::Transaction<'_>| {
            let sql =
                "SELECT count(*) FROM gateway_uploads WHERE key_id = ?1 AND state <> ?2 AND expires_ms > ?3";
            let received = UploadState::Received.name();
            let parameters = params![Text(&upload.key), received, upload.created_ms];
            let waiting = first(tx, sql, parameters, |row| row.get::<_, Count>(0))?;
            let fits = waiting.is_none_or(|Count(waiting)| waiting < most_waiting as u64);
            if fits {
                put_upload(tx, &upload)?;
            }
            Ok(fits)
        };
        self.write_async(add).await.map_err(StoreError::new)
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>, StoreError> {
        let id = id.clone();
        self.read_async(move |c| first(c, &format!("{UPLOAD} WHERE id = ?1"), [Text(id)], read_upload))
            .await
            .map_err(StoreError::new)
    }

    async fn change_upload(&self, from: UploadState, to: UploadRecord) -> Result<bool, StoreError> {
        let change = move |tx: &rusqlite::Transaction<'_>| {
            let same = "SELECT 1 FROM gateway_uploads WHERE id = ?1 AND state = ?2";
            let found = first(tx, same, params![Text(&to.id), from.name()], |_| Ok(()))?;
            if found.is_some() {
                put_upload(tx, &to)?;
            }
            Ok(found.is_some())
        };
        self.write_async(change).await.map_err(StoreError::new)
    }

    async fn remove_upload(&self, id: &UploadId) -> Result<(), StoreError> {
        let id = id.clone();
        let removed = self
            .write_async(move |tx| run(tx, "DELETE FROM gateway_uploads WHERE id = ?1", [Text(id)]))
            .await;
        removed.map(drop).map_err(StoreError::new)
    }

    async fn uploads(&self) -> Result<Vec<UploadRecord>, StoreError> {
        self.read_async(|c| collect(c, UPLOAD, [], read_upload)).await.map_err(StoreError::new)
    }

    async fn add_video(&self, video: VideoRecord) -> Result<(), StoreError> {
        let add = move |tx: &rusqlite::Transaction<'_>| {
            run(
                tx,
                "INSERT INTO gateway_videos (id, key_id, upload_id, created_ms, updated_ms, file_name, resolutions,
                 metadata, state, sub_state, progress, error, duration_ms, short_side, stream, cost)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
                columns(&video)?.iter().map(AsRef::as_ref).collect::<Vec<&dyn ToSql>>().as_slice(),
            )
        };
        self.write_async(add).await.map(drop).map_err(StoreError::new)
    }

    async fn change_video(&self, video: VideoRecord) -> Result<(), StoreError> {
        let change = move |tx: &rusqlite::Transaction<'_>| {
            run(
                tx,
                "UPDATE gateway_videos SET key_id = ?2, upload_id = ?3, created_ms = ?4, updated_ms = ?5,
                 file_name = ?6, resolutions = ?7, metadata = ?8, state = ?9, sub_state = ?10, progress = ?11,
                 error = ?12, duration_ms = ?13, short_side = ?14, stream = ?15, cost = ?16 WHERE id = ?1",
                columns(&video)?.iter().map(AsRef::as_ref).collect::<Vec<&dyn ToSql>>().as_slice(),
            )
        };
        self.write_async(change).await.map(drop).map_err(StoreError::new)
    }

    async fn video(&self, id: &VideoId) -> Result<Option<VideoRecord>, StoreError> {
        let id = id.clone();
        self.read_async(move |c| first(c, &format!("{VIDEO} WHERE id = ?1"), [Text(id)], read_video))
            .await
            .map_err(StoreError::new)
    }

    async fn videos(&self, key: &KeyId, filter: VideoFilter) -> Result<Vec<VideoRecord>, StoreError> {
        let key = key.clone();
        self.read_async(move |c| videos(c, &key, &filter)).await.map_err(StoreError::new)
    }

    async fn unfinished_videos(&self) -> Result<Vec<VideoRecord>, StoreError> {
        let sql = format!("{VIDEO} WHERE state IN ('created', 'processing') ORDER BY number");
        self.read_async(move |c| collect(c, &sql, [], read_video)).await.map_err(StoreError::new)
    }
}

fn put_upload(connection: &Connection, upload: &UploadRecord) -> Result<(), DatabaseError> {
    run(
        connection,
        "INSERT OR REPLACE INTO gateway_uploads
         (id, key_id, token_hash, created_ms, updated_ms, expires_ms, state, bytes, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            Text(&upload.id),
            Text(&upload.key),
            upload.token,
            upload.created_ms,
            upload.updated_ms,
            upload.expires_ms,
            upload.state.name(),
            upload.bytes.map(Count),
            upload.hash.map(Text)
        ],
    )?;
    Ok(())
}

fn read_upload(row: &Row<'_>) -> rusqlite::Result<UploadRecord> {
    let (Text(id), Text(key), state) = (row.get(0)?, row.get(1)?, row.get::<_, String>(6)?);
    Ok(UploadRecord {
        id,
        key,
        token: row.get(2)?,
        created_ms: row.get(3)?,
        updated_ms: row.get(4)?,
        expires_ms: row.get(5)?,
        state: UploadState::of_name(&state).ok_or_else(|| damaged(6, &state))?,
        bytes: row.get::<_, Option<Count>>(7)?.map(|count| count.0),
        hash: row.get::<_, Option<Text<_>>>(8)?.map(|hash| hash.0),
    })
}

fn videos(
    connection: &Connection,
    key: &KeyId,
    filter: &VideoFilter,
) -> Result<Vec<VideoRecord>, DatabaseError> {
    let mut sql = format!("{VIDEO} WHERE key_id = ?");
    let mut parameters: Vec<Box<dyn ToSql>> = vec![Box::new(key.as_str().to_owned())];
    for (name, value) in &filter.metadata {
        // `->>` with a path would give dots and brackets in a name a meaning; an inner join of its entries does not.
        let _ = write!(sql, " AND EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value = ?)");
        parameters.push(Box::new(name.clone()));
        parameters.push(Box::new(value.clone()));
    }
    sql.push_str(" ORDER BY number DESC LIMIT ? OFFSET ?");
    parameters.push(Box::new(Count(filter.take)));
    parameters.push(Box::new(i64::try_from(filter.skip).unwrap_or(i64::MAX)));
    let parameters: Vec<&dyn ToSql> = parameters.iter().map(AsRef::as_ref).collect();
    collect(connection, &sql, parameters.as_slice(), read_video)
}

/// A video's columns in the order of [`VIDEO`].
fn columns(video: &VideoRecord) -> Result<Vec<Box<dyn ToSql>>, DatabaseError> {
    let json = |result: serde_json::Result<String>| {
        result.map_err(|error| DatabaseError::Damaged(error.to_string()))
    };
    let (state, sub_state) = video.state.names();
    Ok(vec![
        Box::new(Text(video.id.clone())),
        Box::new(Text(video.key.clone())),
        Box::new(Text(video.upload.clone())),
        Box::new(video.created_ms),
        Box::new(video.updated_ms),
        Box::new(video.file_name.clone()),
        Box::new(json(serde_json::to_string(&video.resolutions))?),
        Box::new(json(serde_json::to_string(&video.metadata))?),
        Box::new(state),
        Box::new(sub_state),
        Box::new(video.progress),
        Box::new(video.error.clone()),
        Box::new(video.duration_ms.map(Count)),
        Box::new(video.short_side),
        Box::new(video.stream.clone()),
        Box::new(Text(video.cost.clone())),
    ])
}

fn read_video(row: &Row<'_>) -> rusqlite::Result<VideoRecord> {
    let (Text(id), Text(key), Text(upload), Text(cost)) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(15)?);
    let (resolutions, metadata): (String, String) = (row.get(6)?, row.get(7)?);
    let (state, sub_state): (String, String) = (row.get(8)?, row.get(9)?);
    Ok(VideoRecord {
        id,
        key,
        upload,
        created_ms: row.get(3)?,
        updated_ms: row.get(4)?,
        file_name: row.get(5)?,
        resolutions: serde_json::from_str(&resolutions).map_err(|_| damaged(6, &resolutions))?,
        metadata: serde_json::from_str(&metadata).map_err(|_| damaged(7, &metadata))?,
        state: VideoState::of_names(&state, &sub_state).ok_or_else(|| damaged(8, &state))?,
        progress: row.get(10)?,
        error: row.get(11)?,
        duration_ms: row.get::<_, Option<Count>>(12)?.map(|count| count.0),
        short_side: row.get(13)?,
        stream: row.get(14)?,
        cost,
    })
}

fn damaged(column: usize, text: &str) -> rusqlite::Error {
    let problem = format!("{text:?} was never written here").into();
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem)
}
