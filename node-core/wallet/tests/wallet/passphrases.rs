//! Where passphrases come from. Keyring and systemd need a process of their own: those tests start this program again.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use theta_types::SecretKey;
use theta_wallet::*;
use zeroize::Zeroizing;

struct Typed(VecDeque<Option<&'static str>>);

impl Prompt for Typed {
    fn ask(&mut self, _: &str) -> std::io::Result<Option<Zeroizing<String>>> {
        Ok(self.0.pop_front().expect("asked too often").map(|text| Zeroizing::new(text.to_owned())))
    }
}

fn typed(answers: &[Option<&'static str>]) -> Option<Box<dyn Prompt>> {
    Some(Box::new(Typed(answers.iter().copied().collect())))
}

fn file(place: &Path, text: &[u8], mode: u32) -> PathBuf {
    let path = place.join("passphrase");
    let _ = fs::remove_file(&path);
    fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    path
}

#[test]
fn a_file_is_read_when_it_is_its_owners_alone() {
    let place = tempfile::tempdir().unwrap();
    let read = |text: &[u8], mode| {
        PassphraseSource::new(Some(file(place.path(), text, mode)), None, typed(&[])).for_unlocking()
    };
    assert_eq!(read(b"secret words\n", 0o600).unwrap().reveal(), "secret words");
    assert_eq!(read(b"first\r\nsecond", 0o400).unwrap().reveal(), "first");
    for mode in [0o640, 0o604, 0o644, 0o666] {
        assert!(matches!(read(b"x", mode), Err(PassphraseError::OpenFile(_))), "{mode:o}");
    }
    assert!(matches!(read(b"\n", 0o600), Err(PassphraseError::NotGiven(_))));
    assert!(matches!(read(&[b'x'; 2000], 0o600), Err(PassphraseError::TooLong)));
    assert!(matches!(read(b"\xff\xfe", 0o600), Err(PassphraseError::File { .. })));
    let missing = PassphraseSource::new(Some(place.path().join("none")), None, typed(&[])).for_new_key();
    assert!(
        matches!(missing, Err(PassphraseError::File { .. })),
        "a named file is not replaced by a question"
    );
}

#[test]
fn a_person_is_asked_when_nothing_else_has_it() {
    let source = |answers: &[_]| PassphraseSource::new(None, None, typed(answers));
    assert_eq!(source(&[Some("p")]).for_unlocking().unwrap().reveal(), "p");
    assert_eq!(source(&[Some("p"), Some("p")]).for_new_key().unwrap().reveal(), "p");
    assert!(matches!(source(&[Some("p"), Some("q")]).for_new_key(), Err(PassphraseError::NotGiven(_))));
    assert!(matches!(source(&[Some("")]).for_new_key(), Err(PassphraseError::NotGiven(_))));
    assert!(matches!(source(&[None]).for_unlocking(), Err(PassphraseError::NoSource)));
    assert!(matches!(PassphraseSource::new(None, None, None).for_new_key(), Err(PassphraseError::NoSource)));
}

#[test]
fn a_systemd_credential_counts_as_a_file() {
    let place = tempfile::tempdir().unwrap();
    fs::rename(file(place.path(), b"from systemd\n", 0o400), place.path().join(CREDENTIAL_NAME)).unwrap();
    let mut command = again("passphrases::inside::the_credential_is_found");
    run(command.env("CREDENTIALS_DIRECTORY", place.path()));
}

#[test]
fn the_keyring_keeps_a_passphrase() {
    let tools = ["dbus-run-session", "gnome-keyring-daemon"];
    if let Some(missing) = tools.iter().find(|tool| Command::new(tool).arg("--version").output().is_err()) {
        assert!(std::env::var_os("CI").is_none(), "{missing} is missing");
        println!("skipped: the keyring test wants {missing}");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "printf test | gnome-keyring-daemon --unlock --components=secrets >/dev/null; \
                  \"$0\" --ignored --exact passphrases::inside::the_keyring_keeps";
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", script]).arg(program);
    command.env("HOME", home.path()).env("XDG_DATA_HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
    run(&mut command);
}

#[test]
fn without_a_keyring_a_person_is_asked() {
    let mut command = again("passphrases::inside::there_is_no_keyring");
    run(command.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent"));
}

/// This program again, for one of the tests in [`inside`].
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test]);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "the inner test ran: {text}");
}

/// Tests that need an environment, and are started by the ones above.
mod inside {
    use super::*;

    fn entry() -> OsKeyring {
        OsKeyring::of_wallet(&SecretKey::from_bytes(&[3; 32]).unwrap().address(), "/some/folder")
    }

    #[test]
    #[ignore = "started by a_systemd_credential_counts_as_a_file"]
    fn the_credential_is_found() {
        let mut source = PassphraseSource::new(None, None, typed(&[]));
        assert!(systemd_credential().is_some());
        assert_eq!(source.for_unlocking().unwrap().reveal(), "from systemd");
    }

    #[test]
    #[ignore = "started by the_keyring_keeps_a_passphrase"]
    fn the_keyring_keeps() {
        assert!(entry().passphrase().is_none());
        let made = PassphraseSource::new(None, Some(entry()), typed(&[])).for_new_key().unwrap();
        assert_eq!(made.reveal().len(), 48, "a random one, and nobody was asked");
        let kept = PassphraseSource::new(None, Some(entry()), typed(&[])).for_unlocking().unwrap();
        assert_eq!(kept.reveal(), made.reveal());
        let other =
            OsKeyring::of_wallet(&SecretKey::from_bytes(&[3; 32]).unwrap().address(), "/other/folder");
        assert!(other.passphrase().is_none(), "another folder has its own");
        entry().forget().unwrap();
        entry().forget().unwrap();
        assert!(entry().passphrase().is_none());
    }

    #[test]
    #[ignore = "started by without_a_keyring_a_person_is_asked"]
    fn there_is_no_keyring() {
        assert!(matches!(entry().keep(&Passphrase::new("p")), Err(KeyringError::Absent(_))));
        assert!(entry().passphrase().is_none());
        let asked = PassphraseSource::new(None, Some(entry()), typed(&[Some("p"), Some("p")])).for_new_key();
        assert_eq!(asked.unwrap().reveal(), "p");
        let asked = PassphraseSource::new(None, Some(entry()), typed(&[Some("q")])).for_unlocking();
        assert_eq!(asked.unwrap().reveal(), "q");
    }
}
