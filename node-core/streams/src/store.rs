//! Segments on disk, by hash.
//!
//! A file's name is the BLAKE3 hash of its bytes. Bytes are checked when they come and each time they go: a file with wrong bytes is
//! deleted, never served. What is not pinned counts against a cap, and the least recently used goes first. The index lives in
//! memory and is rebuilt from the files, so that there is nothing a crash could leave inconsistent.

mod index;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use edge_jobs::ContentHash;
use serde::{Deserialize, Serialize};

use self::index::Index;
use crate::{SignedManifest, StreamId};

/// Segments on disk, by hash. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct SegmentStore {
    folder: Arc<PathBuf>,
    // Held for moments, never across an await.
    index: Arc<Mutex<Index>>,
}

/// How full the store is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreUsage {
    /// What counts against the cap.
    pub cached: u64,
    /// What is pinned, and stays.
    pub pinned: u64,
    /// The cap.
    pub cap: u64,
    /// Number of files.
    pub files: usize,
}

/// Why the store did not take or give bytes.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bytes are not what their hash says: the sender is wrong.
    #[error("the bytes do not have the hash {0}")]
    WrongHash(ContentHash),
    /// Larger than the whole cap: raise the cap, or do without.
    #[error("{bytes} bytes do not fit in a cache of {cap}")]
    AboveCap {
        /// Size of the content.
        bytes: u64,
        /// The cap.
        cap: u64,
    },
    /// No room on the disk: free some, or lower the cap.
    #[error("the disk is full")]
    DiskFull,
    /// The disk failed otherwise.
    #[error("the segment store cannot use its disk: {0}")]
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
            _ => StoreError::Io(error),
        }
    }
}

impl SegmentStore {
    /// Opens the store in `folder`, with a cap in bytes for what is not pinned. Reads the folder's listing, not the files.
    ///
    /// Pins are not on disk: [`pin`](Self::pin) every stream that stays before anything else is asked of the store. The cap is
    /// enforced from the first [`put`](Self::put) or [`set_cap`](Self::set_cap) on.
    pub fn open(folder: impl Into<PathBuf>, cap: u64) -> Result<Self, StoreError> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder)?;
        let mut files = Vec::new();
        for shelf in std::fs::read_dir(&folder)? {
            let shelf = shelf?.path();
            if !shelf.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(&shelf)? {
                let entry = entry?;
                let hash = entry.file_name().to_str().and_then(|name| name.parse::<ContentHash>().ok());
                let Some(hash) = hash else {
                    // A write that a crash cut short.
                    std::fs::remove_file(entry.path())?;
                    continue;
                };
                let metadata = entry.metadata()?;
                files.push((metadata.modified()?, hash, metadata.len()));
            }
        }
        files.sort();
        let mut index = Index::new(cap);
        for (_, hash, bytes) in files {
            index.insert(hash, bytes);
        }
        // Nothing is evicted yet: the caller has to say first which streams are pinned.
        Ok(Self { folder: Arc::new(folder), index: Arc::new(Mutex::new(index)) })
    }

    /// Whether the content is here. (Its bytes may still turn out wrong.)
    pub fn contains(&self, hash: &ContentHash) -> bool {
        self.index().contains(hash)
    }

    /// The bytes, if they are here and right.
    pub async fn get(&self, hash: ContentHash) -> Result<Option<Bytes>, StoreError> {
        if !self.index().touch(&hash) {
            return Ok(None);
        }
        let path = self.path(&hash);
        let read = blocking(move || {
            let bytes = std::fs::read(path)?;
            Ok((ContentHash::of(&bytes), bytes))
        })
        .await;
        match read {
            Ok((found, bytes)) if found == hash => Ok(Some(bytes.into())),
            Ok(_) => {
                self.remove(&hash)?;
                Ok(None)
            }
            Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.index().remove(&hash);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps bytes under their hash, after making room. Known content is left as it is.
    pub async fn put(&self, hash: ContentHash, bytes: Bytes) -> Result<(), StoreError> {
        let (path, partial) =
            (self.path(&hash), self.path(&hash).with_extension(format!("{:08x}", rand::random::<u32>())));
        let size = bytes.len() as u64;
        if self.contains(&hash) {
            return Ok(());
        }
        let checked = bytes.clone();
        if blocking(move || Ok(ContentHash::of(&checked))).await? != hash {
            return Err(StoreError::WrongHash(hash));
        }
        if !self.index().is_pinned(&hash) {
            self.evict(size)?;
        }
        // Not synced to disk: what a power cut tears is found by its hash.
        blocking(move || {
            if let Some(shelf) = path.parent() {
                std::fs::create_dir_all(shelf)?;
            }
            let written = std::fs::write(&partial, &bytes).and_then(|()| std::fs::rename(&partial, &path));
            if written.is_err() {
                let _ = std::fs::remove_file(&partial);
            }
            Ok(written?)
        })
        .await?;
        self.index().insert(hash, size);
        // Others may have come in meanwhile.
        self.evict(0)
    }

    /// Moves a file of this machine in under its hash, which the caller has just computed.
    pub async fn adopt(&self, hash: ContentHash, file: &Path) -> Result<(), StoreError> {
        let file = file.to_path_buf();
        let bytes = blocking(move || Ok(std::fs::read(file)?)).await?;
        self.put(hash, bytes.into()).await
    }

    /// Deletes content.
    pub fn remove(&self, hash: &ContentHash) -> Result<(), StoreError> {
        self.index().remove(hash);
        match std::fs::remove_file(self.path(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Keeps a stream's content, present and future, out of eviction and out of the cap.
    pub fn pin(&self, stream: &SignedManifest) {
        self.index().pin(stream.id(), stream.contents().map(|(hash, _)| hash).collect());
    }

    /// Gives a stream's content free again; what no other stream pins counts against the cap from now on.
    pub fn unpin(&self, stream: StreamId) -> Result<(), StoreError> {
        self.index().unpin(stream);
        self.evict(0)
    }

    /// Changes the cap, evicting at once what is above it.
    pub fn set_cap(&self, cap: u64) -> Result<(), StoreError> {
        self.index().cap = cap;
        self.evict(0)
    }

    /// Deletes everything that is not pinned.
    pub fn clear(&self) -> Result<(), StoreError> {
        let cap = std::mem::replace(&mut self.index().cap, 0);
        let cleared = self.evict(0);
        self.index().cap = cap;
        cleared
    }

    /// How full the store is.
    pub fn usage(&self) -> StoreUsage {
        self.index().usage()
    }

    /// Makes room for so many bytes more.
    fn evict(&self, room: u64) -> Result<(), StoreError> {
        let evicted = self.index().evict(room)?;
        for hash in evicted {
            match std::fs::remove_file(self.path(&hash)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is changed in single steps, so that what a panicking holder left is still an index.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Io(io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::{key, manifest, segment};

    fn content(seed: u8) -> (ContentHash, Bytes) {
        let bytes = Bytes::from(vec![seed; 1_000]);
        (ContentHash::of(&bytes), bytes)
    }

    async fn put(store: &SegmentStore, seed: u8) -> ContentHash {
        let (hash, bytes) = content(seed);
        store.put(hash, bytes).await.unwrap();
        hash
    }

    #[tokio::test]
    async fn content_is_found_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let hash = put(&SegmentStore::open(folder.path(), 10_000).unwrap(), 1).await;
        let store = SegmentStore::open(folder.path(), 10_000).unwrap();
        assert_eq!(store.get(hash).await.unwrap().unwrap(), content(1).1);
        assert_eq!(store.usage(), StoreUsage { cached: 1_000, pinned: 0, cap: 10_000, files: 1 });
    }

    #[tokio::test]
    async fn the_least_recently_used_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(folder.path(), 3_000).unwrap();
        let (a, b, c) = (put(&store, 1).await, put(&store, 2).await, put(&store, 3).await);
        store.get(a).await.unwrap().unwrap();
        let d = put(&store, 4).await;
        assert!(store.contains(&a) && !store.contains(&b) && store.contains(&c) && store.contains(&d));
        assert_eq!(store.get(b).await.unwrap(), None);
        assert_eq!(store.usage().cached, 3_000);
        store.set_cap(1_500).unwrap();
        assert_eq!(store.usage().files, 1);
        assert!(store.contains(&d));
    }

    #[tokio::test]
    async fn wrong_bytes_are_refused_when_they_come_and_deleted_when_they_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(folder.path(), 10_000).unwrap();
        let (hash, _) = content(1);
        assert!(matches!(store.put(hash, content(2).1).await, Err(StoreError::WrongHash(_))));
        put(&store, 1).await;
        std::fs::write(store.path(&hash), vec![9; 1_000]).unwrap();
        assert_eq!(store.get(hash).await.unwrap(), None);
        assert!(!store.path(&hash).exists());
        assert_eq!(store.usage().cached, 0);
    }

    #[tokio::test]
    async fn a_write_that_was_cut_short_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(folder.path(), 10_000).unwrap();
        let hash = put(&store, 1).await;
        let partial = store.path(&hash).with_extension("0badcafe");
        std::fs::write(&partial, b"half").unwrap();
        let store = SegmentStore::open(folder.path(), 10_000).unwrap();
        assert!(!partial.exists());
        assert_eq!(store.usage().files, 1);
    }

    #[tokio::test]
    async fn pinned_streams_stay_and_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(folder.path(), 2_000).unwrap();
        let stream = manifest(2).sign(&key(1)).unwrap();
        store.pin(&stream);
        for rendition in &stream.manifest().renditions {
            for info in &rendition.segments {
                store.put(info.hash, segment(&rendition.name, info.index).into()).await.unwrap();
            }
        }
        put(&store, 1).await;
        put(&store, 2).await;
        put(&store, 3).await;
        assert!(stream.contents().all(|(hash, _)| store.contains(&hash)));
        assert_eq!(store.usage().cached, 2_000);
        assert!(store.usage().pinned > 4_000);
        store.unpin(stream.id()).unwrap();
        assert!(store.usage().cached <= 2_000);
        assert_eq!(store.usage().pinned, 0);
    }

    #[tokio::test]
    async fn a_restart_loses_nothing_of_a_pinned_stream_that_is_larger_than_the_cap() {
        let folder = tempfile::tempdir().unwrap();
        let stream = manifest(2).sign(&key(1)).unwrap();
        let store = SegmentStore::open(folder.path(), 2_000).unwrap();
        store.pin(&stream);
        for rendition in &stream.manifest().renditions {
            for info in &rendition.segments {
                store.put(info.hash, segment(&rendition.name, info.index).into()).await.unwrap();
            }
        }
        drop(store);
        let store = SegmentStore::open(folder.path(), 2_000).unwrap();
        store.pin(&stream);
        put(&store, 1).await;
        for (hash, _) in stream.contents() {
            assert!(store.get(hash).await.unwrap().is_some(), "{hash}");
        }
        assert_eq!(store.usage().cached, 1_000);
    }

    #[tokio::test]
    async fn content_above_the_whole_cap_evicts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(folder.path(), 1_500).unwrap();
        let kept = put(&store, 1).await;
        let large = Bytes::from(vec![7; 1_501]);
        assert!(matches!(store.put(ContentHash::of(&large), large).await, Err(StoreError::AboveCap { .. })));
        assert!(store.contains(&kept));
        store.clear().unwrap();
        assert_eq!(store.usage().files, 0);
        assert_eq!(store.usage().cap, 1_500);
    }
}
