//! Key files and their folder. The standard cost of a key file is about a second and 256 MiB, so few are made.

use std::fs;
use std::path::Path;

use serde_json::Value;
use theta_types::{Address, SecretKey, checksum_text, parse_address};
use theta_wallet::*;

#[test]
fn key_files_of_the_vectors_open() {
    let entries = vectors();
    assert_eq!(entries.len(), 5);
    for entry in &entries {
        println!("{}", entry["name"]);
        let passphrase = Passphrase::new(entry["password"].as_str().unwrap());
        let key = open_key_file(&entry["keystore"].to_string(), &passphrase).unwrap();
        if let Some(expected) = entry["expected_private_key"].as_str() {
            // Short keys have lost their leading zeros.
            assert_eq!(hex::encode(key.to_bytes().as_slice()), format!("{expected:0>64}"));
        }
        if let Some(expected) = entry["expected_address"].as_str() {
            assert_eq!(key.address(), parse_address(expected).unwrap());
        }
        // The wrong passphrase, where trying costs little.
        if entry["keystore"]["crypto"]["kdfparams"]["n"] == 2 {
            let wrong = open_key_file(&entry["keystore"].to_string(), &Passphrase::new("wrong"));
            assert_eq!(wrong.unwrap_err(), KeyFileError::WrongPassphrase);
        }
    }
}

#[test]
fn files_of_other_programs_open_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/types.json");
    let entries: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut light =
        entries.iter().find(|entry| entry["name"] == "keystore_very_light_scrypt").unwrap()["keystore"]
            .clone();
    // Old geth writes `Crypto`, web wallets a prefix, ethers a member of its own.
    let crypto = light.as_object_mut().unwrap().remove("crypto").unwrap();
    light["Crypto"] = crypto;
    light["address"] = format!("0x{}", light["address"].as_str().unwrap()).into();
    light["x-ethers"] = serde_json::json!({ "client": "ethers.js" });
    let text = light.to_string();
    let key = open_key_file(&text, &Passphrase::new("")).unwrap();
    assert_eq!(address_of_key_file(&text), Some(key.address()));
}

#[test]
fn a_key_is_kept_and_opened() {
    let place = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(place.path().join("keys/encrypted")).unwrap();
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let address = key.address();
    let passphrase = Passphrase::new("correct horse");

    folder.store(&key, &passphrase).unwrap();
    assert_eq!(folder.addresses().unwrap(), [address]);
    assert!(matches!(folder.store(&key, &passphrase), Err(KeyFolderError::AlreadyThere(_))));
    let name = checksum_text(&address)[2..].to_owned();
    assert_eq!(names(folder.path()), [name.as_str()], "one file, and nothing left beside it");
    let text = folder.export(&address).unwrap();
    assert!(text.contains("\"n\":262144,\"p\":1,\"r\":8"), "the cost stays");
    #[cfg(unix)]
    {
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join(&name)), 0o600);
    }
    assert_eq!(*folder.export_key(&address, &passphrase).unwrap(), "07".repeat(32));
}

#[test]
fn a_file_of_geth_is_found_and_takes_a_new_passphrase() {
    let place = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(place.path().join("keys")).unwrap();
    let (text, address) = light_key_file();
    let name = checksum_text(&address)[2..].to_owned();
    fs::write(folder.path().join(name.to_lowercase()), &text).unwrap();
    let wrong = folder.unlock(&address, &Passphrase::new("wrong")).unwrap_err();
    assert!(matches!(wrong, KeyFolderError::KeyFile(KeyFileError::WrongPassphrase)));

    // A file under another address's name does not pass for it.
    let other = SecretKey::from_bytes(&[8; 32]).unwrap().address();
    let file_of_other = folder.path().join(&checksum_text(&other)[2..]);
    fs::write(&file_of_other, &text).unwrap();
    assert!(matches!(folder.unlock(&other, &Passphrase::new("")), Err(KeyFolderError::OtherKey { .. })));
    fs::remove_file(file_of_other).unwrap();

    folder.change_passphrase(&address, &Passphrase::new(""), &Passphrase::new("new")).unwrap();
    assert_eq!(names(folder.path()), [name.as_str()], "the old file is gone");
    assert!(folder.export(&address).unwrap().contains("\"n\":262144"), "at the standard cost");
    assert_eq!(folder.unlock(&address, &Passphrase::new("new")).unwrap().address(), address);
}

#[test]
fn what_is_no_key_file_is_passed_over_and_what_is_open_to_others_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(place.path().join("keys")).unwrap();
    fs::write(folder.path().join(".0x12.tmp"), "{").unwrap();
    fs::write(folder.path().join("README"), "hello").unwrap();
    assert!(folder.addresses().unwrap().is_empty());
    let address = SecretKey::from_bytes(&[9; 32]).unwrap().address();
    let nobody = folder.unlock(&address, &Passphrase::new("p")).unwrap_err();
    assert!(matches!(nobody, KeyFolderError::NoKey { .. }));
    let file = folder.path().join(hex::encode(address));
    fs::write(&file, vec![b' '; 70_000]).unwrap();
    assert!(matches!(
        folder.unlock(&address, &Passphrase::new("p")),
        Err(KeyFolderError::KeyFile(KeyFileError::Refused(_)))
    ));
    fs::write(&file, "not a key").unwrap();
    assert!(matches!(
        folder.unlock(&address, &Passphrase::new("p")),
        Err(KeyFolderError::KeyFile(KeyFileError::Malformed(_)))
    ));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(KeyFolder::open(folder.path()), Err(KeyFolderError::OpenFolder(_))));
        assert!(matches!(folder.unlock(&address, &Passphrase::new("p")), Err(KeyFolderError::OpenFolder(_))));
    }
}

#[tokio::test]
async fn a_locked_wallet_does_not_sign() {
    let place = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(place.path().join("keys")).unwrap();
    let (text, address) = light_key_file();
    fs::write(folder.path().join(hex::encode(address)), text).unwrap();

    let wallet = Wallet::locked(address);
    let mut locked = wallet.lock_changes();
    assert!(wallet.is_locked());
    assert!(matches!(wallet.sign(b"m"), Err(WalletError::Locked)));
    assert!(matches!(
        wallet.unlock_with(SecretKey::from_bytes(&[1; 32]).unwrap()),
        Err(WalletError::OtherKey { .. })
    ));
    assert!(wallet.unlock(&folder, &Passphrase::new("wrong")).await.is_err() && wallet.is_locked());
    wallet.unlock(&folder, &Passphrase::new("")).await.unwrap();
    assert!(locked.has_changed().unwrap() && !*locked.borrow_and_update());
    assert!(wallet.sign(b"m").unwrap().verify(b"m", &address));

    let clone = wallet.clone();
    clone.lock();
    assert!(wallet.is_locked() && matches!(wallet.sign(b"m"), Err(WalletError::Locked)));
    let passphrase = Passphrase::random().unwrap();
    let shown = format!("{wallet:?} {passphrase:?}");
    assert!(!shown.contains(passphrase.reveal()));
}

/// The key files of the vectors.
fn vectors() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/types.json");
    let mut entries: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    entries.retain(|entry| entry["kind"] == "keystore_decrypt");
    entries
}

/// A key file that costs next to nothing to open, with the empty passphrase.
fn light_key_file() -> (String, Address) {
    let entries = vectors();
    let entry = entries.iter().find(|entry| entry["name"] == "keystore_very_light_scrypt").unwrap();
    (entry["keystore"].to_string(), parse_address(entry["expected_address"].as_str().unwrap()).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
