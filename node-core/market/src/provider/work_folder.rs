//! Folders for sources and results while a job runs.

use std::{
    io,
    path::{Path, PathBuf},
};

use edge_jobs::JobId;

/// A folder whose contents belong to running jobs alone.
#[derive(Clone, Debug)]
pub(super) struct WorkFolder {
    root: PathBuf,
}

/// One job's folder, deleted when this is dropped.
#[derive(Debug)]
pub(super) struct JobFolder {
    path: PathBuf,
}

impl WorkFolder {
    /// Opens the folder and deletes what jobs of an earlier run left there; nothing else.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        for entry in std::fs::read_dir(&root)? {
            let entry = entry?;
            let is_a_job = entry.file_name().to_str().is_some_and(|name| name.parse::<JobId>().is_ok());
            if is_a_job && entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { root })
    }

    /// A new folder with an empty `output` in it. Fails when the job has one already: a job runs once.
    pub fn for_job(&self, job: JobId) -> io::Result<JobFolder> {
        let path = self.root.join(job.to_string());
        std::fs::create_dir(&path)?;
        let folder = JobFolder { path };
        std::fs::create_dir(folder.output())?;
        Ok(folder)
    }
}

impl JobFolder {
    /// Where the source goes.
    pub fn source(&self) -> PathBuf {
        self.path.join("source")
    }

    /// Where the results go.
    pub fn output(&self) -> PathBuf {
        self.path.join("output")
    }
}

impl Drop for JobFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a job's folder could not be deleted");
        }
    }
}

/// A path below `root` for a relative name with `/` that came from elsewhere; `None` for a name that could lead out of
/// it, or that no worker makes.
pub(crate) fn path_below(root: &Path, name: &str) -> Option<PathBuf> {
    let mut path = root.to_owned();
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 3 {
        return None;
    }
    for part in parts {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if part.is_empty() || part.len() > 64 || part.starts_with('.') || !part.bytes().all(plain) {
            return None;
        }
        path.push(part);
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_folder_goes_with_the_job_and_leftovers_go_at_the_start() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("work");
        let folder = WorkFolder::open(root.clone()).unwrap();
        let job = JobId([1; 16]);
        let own = folder.for_job(job).unwrap();
        assert!(own.output().is_dir());
        assert!(folder.for_job(job).is_err());
        drop(own);
        assert!(!root.join(job.to_string()).exists());
        std::mem::forget(folder.for_job(job).unwrap());
        std::fs::write(root.join("mine.txt"), "keep").unwrap();
        WorkFolder::open(root.clone()).unwrap();
        assert!(!root.join(job.to_string()).exists());
        assert!(root.join("mine.txt").exists());
    }

    #[test]
    fn names_from_elsewhere_stay_below_the_folder() {
        let root = Path::new("/work");
        assert_eq!(path_below(root, "360p/00001.ts"), Some("/work/360p/00001.ts".into()));
        for name in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a/b/c/d", "a\\b", "a\0b", "ä.ts"]
        {
            assert_eq!(path_below(root, name), None, "{name:?}");
        }
    }
}
