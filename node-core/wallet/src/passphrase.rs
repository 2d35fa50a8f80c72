//! Where the passphrase of a key file comes from: the operating system's keyring, a person, or a file that only its owner reads. Never
//! an argument or the environment, which other programs of the machine can see.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::os_keyring::{KeyringError, OsKeyring};

/// Longest passphrase that is read.
const MAX_LENGTH: usize = 1024;

/// The name that a systemd credential must have: `LoadCredential=thetis-passphrase:/etc/…`.
pub const CREDENTIAL_NAME: &str = "thetis-passphrase";

/// A passphrase. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// A random one that nobody has to remember: for the keyring.
    ///
    /// # Errors
    /// [`PassphraseError::Randomness`].
    pub fn random() -> Result<Self, PassphraseError> {
        let mut bytes = Zeroizing::new([0u8; 24]);
        rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, bytes.as_mut_slice())
            .map_err(|_| PassphraseError::Randomness)?;
        Ok(Self::new(hex::encode(bytes.as_slice())))
    }

    /// The text. Do not copy it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True for the empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Neither keyring nor person nor file has it. Start with `--passphrase-file`, a systemd credential, or at a terminal.
    #[error("no keyring holds the passphrase, nobody is there to ask, and no passphrase file is given")]
    NoSource,
    /// Others may read the file. Set its mode to 0600.
    #[error("{} must be readable by its owner alone: chmod 600", .0.display())]
    OpenFile(PathBuf),
    /// The file cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// More than a passphrase.
    #[error("a passphrase has at most {MAX_LENGTH} bytes")]
    TooLong,
    /// The person gave none, or not the same twice.
    #[error("{0}")]
    NotGiven(&'static str),
    /// The keyring refused to keep it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
}

/// Somebody who can be asked. The terminal, or the window of the app.
pub trait Prompt: Send {
    /// Asks, and gives what was typed. `None` when nobody is there.
    fn ask(&mut self, question: &str) -> io::Result<Option<Zeroizing<String>>>;
}

/// Asks at the terminal, without showing what is typed.
#[derive(Debug, Default)]
pub struct TerminalPrompt;

impl Prompt for TerminalPrompt {
    fn ask(&mut self, question: &str) -> io::Result<Option<Zeroizing<String>>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        rpassword::prompt_password(format!("{question}: ")).map(|typed| Some(Zeroizing::new(typed)))
    }
}

/// The places to look, in order: a file or credential that the operator named, the keyring, a person.
///
/// What the operator named is taken alone: a service must not wait for a person because its file is wrong.
pub struct PassphraseSource {
    file: Option<PathBuf>,
    keyring: Option<OsKeyring>,
    prompt: Option<Box<dyn Prompt>>,
}

impl PassphraseSource {
    /// The usual source of the program: `file` is what `--passphrase-file` says, or else the [`systemd_credential`]; the prompt is the
    /// terminal, or none.
    pub fn new(file: Option<PathBuf>, keyring: Option<OsKeyring>, prompt: Option<Box<dyn Prompt>>) -> Self {
        Self { file: file.or_else(systemd_credential), keyring, prompt }
    }

    /// The passphrase of an existing key.
    ///
    /// # Errors
    /// Nobody has it, or the file is open to others.
    pub fn for_unlocking(&mut self) -> Result<Passphrase, PassphraseError> {
        if let Some(path) = &self.file {
            return read_file(path);
        }
        if let Some(kept) = self.keyring.as_ref().and_then(OsKeyring::passphrase) {
            return Ok(kept);
        }
        self.ask("Passphrase of the wallet")?.ok_or(PassphraseError::NoSource)
    }

    /// A passphrase for a new key: the file's; else a random one that the keyring keeps; else one that a person types twice.
    ///
    /// # Errors
    /// None of the three is there, or the person gave none.
    pub fn for_new_key(&mut self) -> Result<Passphrase, PassphraseError> {
        if let Some(path) = &self.file {
            return read_file(path);
        }
        if let Some(keyring) = &self.keyring {
            let passphrase = Passphrase::random()?;
            // A keyring is there when it keeps what is written: some answer reads while locked.
            if keyring.keep(&passphrase).is_ok() {
                return Ok(passphrase);
            }
        }
        let first = self.ask("Passphrase for the new wallet")?.ok_or(PassphraseError::NoSource)?;
        if first.is_empty() {
            return Err(PassphraseError::NotGiven("a wallet needs a passphrase"));
        }
        let second = self.ask("The same again")?.ok_or(PassphraseError::NoSource)?;
        if first.reveal() != second.reveal() {
            return Err(PassphraseError::NotGiven("the two passphrases differ"));
        }
        Ok(first)
    }

    fn ask(&mut self, question: &str) -> Result<Option<Passphrase>, PassphraseError> {
        let Some(prompt) = &mut self.prompt else { return Ok(None) };
        let typed = prompt
            .ask(question)
            .map_err(|error| PassphraseError::File { path: PathBuf::from("the terminal"), error })?;
        Ok(typed.map(Passphrase))
    }
}

impl fmt::Debug for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseSource")
            .field("file", &self.file)
            .field("keyring", &self.keyring)
            .field("prompt", &self.prompt.is_some())
            .finish()
    }
}

/// The file in which systemd put the credential [`CREDENTIAL_NAME`] of this service, if it did. The environment says where the file is,
/// never what is in it.
pub fn systemd_credential() -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL_NAME);
    path.is_file().then_some(path)
}

/// The first line of a file of mode 0600 (or 0400, as systemd gives its credentials).
fn read_file(path: &Path) -> Result<Passphrase, PassphraseError> {
    let failed = |error| PassphraseError::File { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Checked on the open file, so that nobody can swap it in between.
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(PassphraseError::OpenFile(path.to_owned()));
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_LENGTH + 2));
    file.take(MAX_LENGTH as u64 + 2).read_to_string(&mut text).map_err(failed)?;
    let line = text.lines().next().unwrap_or_default();
    if line.len() > MAX_LENGTH {
        return Err(PassphraseError::TooLong);
    }
    if line.is_empty() {
        return Err(PassphraseError::NotGiven("the passphrase file is empty"));
    }
    Ok(Passphrase::new(line))
}
