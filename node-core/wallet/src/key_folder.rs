//! The folder of encrypted key files, as thetacli keeps it: mode 0700, a file of mode 0600 per key, named by its address.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use theta_types::{Address, SecretKey, checksum_text, is_address, parse_address};
use zeroize::Zeroizing;

use crate::kdf::STANDARD;
use crate::key_file::{self, KeyFileError, MAX_FILE_LENGTH};
use crate::passphrase::Passphrase;

/// Why a key was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFolderError {
    /// Others may look into the folder. Set its mode to 0700.
    #[error("{} must be closed to others: chmod 700", .0.display())]
    OpenFolder(PathBuf),
    /// No file for this address.
    #[error("no key for {} in {}", checksum_text(.address), .folder.display())]
    NoKey {
        /// The address.
        address: Address,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is a file for this address. It is never written over.
    #[error("there is a key for {} already", checksum_text(.0))]
    AlreadyThere(Address),
    /// The file opened, but its key is another address's.
    #[error("the file of {} holds the key of {}", checksum_text(.expected), checksum_text(.found))]
    OtherKey {
        /// The address that the file is named after.
        expected: Address,
        /// The address of the key in it.
        found: Address,
    },
    /// The file did not open.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Reading or writing failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// A folder of key files. Files of thetacli, geth (renamed to the bare address) and this program are alike.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
}

impl KeyFolder {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// It is open to others, or cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFolderError> {
        let path = path.into();
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|error| KeyFolderError::Io { path: path.clone(), error })?;
        let folder = Self { path };
        folder.check_closed()?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The addresses that have a file, ascending. Other files are passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn addresses(&self) -> Result<Vec<Address>, KeyFolderError> {
        let entries = fs::read_dir(&self.path).map_err(|error| self.failed(&self.path, error))?;
        let mut addresses: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_address(name))
            .filter_map(|name| parse_address(&name).ok())
            .collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }

    /// Writes a new key file. Takes about a second.
    ///
    /// # Errors
    /// There is one for this address already, or the disk refuses.
    pub fn store(&self, key: &SecretKey, passphrase: &Passphrase) -> Result<(), KeyFolderError> {
        if self.file_of(&key.address()).is_some() {
            return Err(KeyFolderError::AlreadyThere(key.address()));
        }
        self.write(&key.address(), &key_file::encrypt(key, passphrase, STANDARD)?)
    }

    /// Opens a key file. Takes about a second.
    ///
    /// # Errors
    /// No such file, a wrong passphrase, or a file that holds another key than its name says.
    pub fn unlock(&self, address: &Address, passphrase: &Passphrase) -> Result<SecretKey, KeyFolderError> {
        let key = key_file::decrypt(&self.export(address)?, passphrase)?;
        if key.address() != *address {
            return Err(KeyFolderError::OtherKey { expected: *address, found: key.address() });
        }
        Ok(key)
    }

    /// Encrypts a key anew under another passphrase. The old file stays until the new one is on the disk.
    ///
    /// # Errors
    /// As [`KeyFolder::unlock`]; and when the disk refuses.
    pub fn change_passphrase(
        &self,
        address: &Address,
        old: &Passphrase,
        new: &Passphrase,
    ) -> Result<(), KeyFolderError> {
        let key = self.unlock(address, old)?;
        let former = self.file_of(address);
        self.write(address, &key_file::encrypt(&key, new, STANDARD)?)?;
        // A file of other case would be found first, with the old passphrase.
        if let Some(former) = former.filter(|former| *former != self.path_of(address)) {
            fs::remove_file(&former).map_err(|error| self.failed(&former, error))?;
        }
        Ok(())
    }

    /// Takes in a key file of another program, after opening it: its parameters may be weaker, so it is written anew under the same
    /// passphrase.
    ///
    /// # Errors
    /// It does not open, or the key is there already.
    pub fn import_file(&self, text: &str, passphrase: &Passphrase) -> Result<Address, KeyFolderError> {
        let key = key_file::decrypt(text, passphrase)?;
        self.store(&key, passphrase)?;
        Ok(key.address())
    }

    /// The encrypted file as it is, for a backup or another program.
    ///
    /// # Errors
    /// No such file, or it is no key file by its size.
    pub fn export(&self, address: &Address) -> Result<String, KeyFolderError> {
        self.check_closed()?;
        let path = self
            .file_of(address)
            .ok_or_else(|| KeyFolderError::NoKey { address: *address, folder: self.path.clone() })?;
        let file = File::open(&path).map_err(|error| self.failed(&path, error))?;
        let mut text = String::new();
        file.take(MAX_FILE_LENGTH as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| self.failed(&path, error))?;
        if text.len() > MAX_FILE_LENGTH {
            return Err(KeyFileError::Refused("it is too large".into()).into());
        }
        Ok(text)
    }

    /// The key itself as 64 hex digits. Whoever reads them owns the coins.
    ///
    /// # Errors
    /// As [`KeyFolder::unlock`].
    pub fn export_key(
        &self,
        address: &Address,
        passphrase: &Passphrase,
    ) -> Result<Zeroizing<String>, KeyFolderError> {
        let key = self.unlock(address, passphrase)?;
        Ok(Zeroizing::new(hex::encode(key.to_bytes().as_slice())))
    }

    /// The existing file of an address: the reference looks for lower case, then mixed, then upper case.
    fn file_of(&self, address: &Address) -> Option<PathBuf> {
        let lower = hex::encode(address);
        [lower.clone(), file_name(address), lower.to_uppercase()]
            .into_iter()
            .map(|name| self.path.join(name))
            .find(|path| path.is_file())
    }

    fn path_of(&self, address: &Address) -> PathBuf {
        self.path.join(file_name(address))
    }

    /// Writes beside, syncs, and renames: at any moment the name stands for a whole file.
    fn write(&self, address: &Address, text: &str) -> Result<(), KeyFolderError> {
        self.check_closed()?;
        let path = self.path_of(address);
        let beside = self.path.join(format!(".{}.tmp{}", file_name(address), uuid::Uuid::new_v4().simple()));
        let written = write_synced(&beside, text).and_then(|()| fs::rename(&beside, &path));
        if let Err(error) = written {
            // What is left of it holds nothing but ciphertext; a failure to remove it adds nothing to the first.
            let _ = fs::remove_file(&beside);
            return Err(self.failed(&path, error));
        }
        sync_folder(&self.path).map_err(|error| self.failed(&self.path, error))
    }

    fn check_closed(&self) -> Result<(), KeyFolderError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs::metadata(&self.path).map_err(|error| self.failed(&self.path, error))?;
            if metadata.permissions().mode() & 0o777 != 0o700 {
                return Err(KeyFolderError::OpenFolder(self.path.clone()));
            }
        }
        Ok(())
    }

    fn failed(&self, path: &Path, error: io::Error) -> KeyFolderError {
        KeyFolderError::Io { path: path.to_owned(), error }
    }
}

/// The address that an encrypted key file says it is for, to show before it is opened.
pub fn address_of_key_file(text: &str) -> Option<Address> {
    key_file::claimed_address(text)
}

/// Opens an encrypted key file of any program, without taking it into a folder. May take some seconds.
///
/// # Errors
/// A wrong passphrase, or not a key file.
pub fn open_key_file(text: &str, passphrase: &Passphrase) -> Result<SecretKey, KeyFileError> {
    key_file::decrypt(text, passphrase)
}

/// The mixed-case address without `0x`.
fn file_name(address: &Address) -> String {
    checksum_text(address).split_off(2)
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the rename itself durable. Only Unix lets a folder be opened for that.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
