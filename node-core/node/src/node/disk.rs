//! What this node's files take on the disk, beside the chain and the books.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use edge_streams::SegmentStore;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{control::types::DiskSection, data_folder::DataFolder};

/// How often folders are measured.
const EVERY: Duration = Duration::from_secs(5);

/// Measures the folders that grow with work, in the background.
#[derive(Clone, Debug)]
pub(crate) struct DiskUse {
    segments: SegmentStore,
    folders: watch::Receiver<Folders>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Folders {
    uploads: u64,
    work: u64,
}

impl DiskUse {
    /// Measures once, and then again and again.
    pub async fn start(
        folder: &DataFolder,
        segments: SegmentStore,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (uploads, work, stop) = (folder.sources(), folder.work(), stop.clone());
        let (measured, folders) = watch::channel(measure(uploads.clone(), work.clone()).await);
        tasks.spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
                measured.send_replace(measure(uploads.clone(), work.clone()).await);
            }
        });
        Self { segments, folders }
    }

    /// What they take, all together and each.
    pub fn section(&self) -> DiskSection {
        let (segments, Folders { uploads, work }) = (self.segments.usage(), *self.folders.borrow());
        let segments = segments.cached + segments.pinned;
        DiskSection { used: segments + uploads + work, segments, uploads, work }
    }
}

async fn measure(uploads: PathBuf, work: PathBuf) -> Folders {
    let measuring =
        tokio::task::spawn_blocking(move || Folders { uploads: bytes_in(&uploads), work: bytes_in(&work) });
    // It does not panic, and is not aborted before the node ends.
    measuring.await.unwrap_or_default()
}

/// Bytes of all files in a folder and those below it. What goes away meanwhile counts as nothing.
fn bytes_in(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_folders_below_count_and_absent_ones_are_empty() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/one"), [0; 100]).unwrap();
        std::fs::write(folder.path().join("a/b/two"), [0; 23]).unwrap();
        assert_eq!(bytes_in(folder.path()), 123);
        assert_eq!(bytes_in(&folder.path().join("c")), 0);
    }
}
