//! The data folder: where everything lies, and who owns it.
//!
//! One process owns a data folder, held by a lock of the operating system that ends with the process, however it ends.
//! Beside the lock stands `owner.json` (mode 0600), which tells other programs of the same user where the owner's
//! control API listens and with which token (design section 2).

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A data folder that this process owns until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    root: PathBuf,
    // Held for its lock.
    _lock: File,
}

/// What the owner of a data folder tells other programs of the same user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Address of the control API, e.g. `http://127.0.0.1:41234`.
    pub control: String,
    /// The bearer token of the control API.
    pub token: String,
    /// The owner's version.
    pub version: String,
    /// The owner's process id.
    pub pid: u32,
}

/// Why a data folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// Another process owns it: attach to its control API, or stop it first.
    #[error("the data folder {folder} is in use by {}", match .owner {
        Some(owner) => format!("process {} (Thetis {}, control API {})", owner.pid, owner.version, owner.control),
        None => "another process that is starting or stopping".to_owned(),
    })]
    Owned {
        /// The folder.
        folder: PathBuf,
        /// What the owner says of itself, if it has started.
        owner: Option<Owner>,
    },
    /// There is no data folder here: run `thetis init`.
    #[error("there is no Thetis data folder at {0}: create one with `thetis init --data {0}`")]
    Absent(PathBuf),
    /// The disk refused.
    #[error("the data folder {folder} cannot be used: {source}")]
    Io {
        /// The folder or file.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl DataFolder {
    /// Creates the folder (mode 0700) if it is not there, and takes ownership.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, DataFolderError> {
        let root = root.into();
        create_private_folder(&root)
            .map_err(|source| DataFolderError::Io { folder: root.clone(), source })?;
        Self::lock(root)
    }

    /// Takes ownership of an existing folder.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, DataFolderError> {
        let root = root.into();
        if !root.join(SETTINGS).is_file() {
            return Err(DataFolderError::Absent(root));
        }
        Self::lock(root)
    }

    fn lock(root: PathBuf) -> Result<Self, DataFolderError> {
        let io = |source| DataFolderError::Io { folder: root.clone(), source };
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK)).map_err(io)?;
        let mut looks = 0;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Who looks whether the folder has an owner holds the lock for that moment.
                Err(TryLockError::WouldBlock) if looks < LOOKS => {
                    looks += 1;
                    std::thread::sleep(BETWEEN_LOOKS);
                }
                Err(TryLockError::WouldBlock) => {
                    let owner = Self::owner(&root);
                    return Err(DataFolderError::Owned { folder: root, owner });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
        }
        // A file that an earlier owner left after a crash would mislead.
        match std::fs::remove_file(root.join(OWNER)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(error)),
            _ => Ok(Self { root, _lock: lock }),
        }
    }

    /// What a live owner of `root` says of itself; `None` when there is no owner, or none that has started. The file of one
    /// that crashed is not believed: somebody else may listen at its address by now, who must not get its token.
    pub fn owner(root: &Path) -> Option<Owner> {
        let lock = File::open(root.join(LOCK)).ok()?;
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            // Given back at once.
            Ok(()) | Err(TryLockError::Error(_)) => return None,
        }
        let text = std::fs::read(root.join(OWNER)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Tells other programs of this user how to reach the owner.
    pub fn announce(&self, owner: &Owner) -> Result<(), DataFolderError> {
        let path = self.root.join(OWNER);
        let io = |source| DataFolderError::Io { folder: path.clone(), source };
        let text = serde_json::to_vec_pretty(owner).map_err(|error| io(error.into()))?;
        write_private_file(&path, &text).map_err(io)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.root.join(SETTINGS)
    }

    /// The chain's database.
    pub fn chain(&self) -> PathBuf {
        self.root.join("chain")
    }

    /// The app database: jobs, vouchers, earnings, standing, events.
    pub fn database(&self) -> PathBuf {
        self.root.join("thetis.sqlite")
    }

    /// Stream segments, by hash.
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// Files of jobs under way, a folder for each side of them. A provider's go at the start; an unfinished video goes on.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Videos that a creator uploaded, by hash.
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// Models, by hash, unless the settings name another folder.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Encrypted keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The key of the node's overlay identity (not a key of money).
    pub fn mesh_key(&self) -> PathBuf {
        self.root.join("mesh.key")
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // The lock is what counts; a file that stays behind is removed by the next owner.
        let _ = std::fs::remove_file(self.root.join(OWNER));
    }
}

/// Name of the settings file in a data folder.
pub const SETTINGS: &str = "thetis.toml";
const LOCK: &str = "lock";
const OWNER: &str = "owner.json";
/// How often, and how long apart, a lock is tried that somebody holds.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Creates a folder, and those above it, that only its owner can enter.
pub fn create_private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only its owner can read, whole or not at all.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            control: "http://127.0.0.1:4000".into(),
            token: "secret".into(),
            version: "0.1.0".into(),
            pid: 42,
        }
    }

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("data");
        let first = DataFolder::create(&root).unwrap();
        assert!(matches!(DataFolder::create(&root), Err(DataFolderError::Owned { owner: None, .. })));
        first.announce(&owner()).unwrap();
        let refused = DataFolder::create(&root).unwrap_err();
        assert!(refused.to_string().contains("process 42"), "{refused}");
        assert!(!refused.to_string().contains("secret"), "the token must not be printed: {refused}");
        drop(first);
        assert_eq!(DataFolder::owner(&root), None);
        DataFolder::create(&root).unwrap();
    }

    #[test]
    fn a_file_left_by_a_crashed_owner_does_not_mislead() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::create(temporary.path()).unwrap();
        folder.announce(&owner()).unwrap();
        // A crash: the lock goes, the file stays.
        let left = std::fs::read(temporary.path().join(OWNER)).unwrap();
        drop(folder);
        std::fs::write(temporary.path().join(OWNER), left).unwrap();
        assert_eq!(DataFolder::owner(temporary.path()), None, "nobody owns it now");
        let _next = DataFolder::create(temporary.path()).unwrap();
        assert_eq!(DataFolder::owner(temporary.path()), None);
    }

    #[test]
    fn who_looks_for_an_owner_is_in_nobody_s_way() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().to_path_buf();
        drop(DataFolder::create(&root).unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    DataFolder::owner(&root);
                }
            });
            for _ in 0..20 {
                DataFolder::create(&root).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn an_absent_folder_names_the_command_that_creates_it() {
        let temporary = tempfile::tempdir().unwrap();
        let error = DataFolder::open(temporary.path()).unwrap_err();
        assert!(error.to_string().contains("thetis init"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::create(temporary.path().join("data")).unwrap();
        folder.announce(&owner()).unwrap();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.root().to_path_buf()), 0o700);
        assert_eq!(mode(folder.root().join(OWNER)), 0o600);
    }
}
