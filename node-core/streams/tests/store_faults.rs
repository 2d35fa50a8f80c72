//! The segment store when its process is killed, and when the disk is full.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use edge_jobs::ContentHash;
use edge_streams::{SegmentStore, StoreError};

const FOLDER: &str = "THETIS_STORE_TEST_FOLDER";
const CAP: u64 = 8 * 1024 * 1024;

/// A segment of 256 KiB that no other number has.
fn segment(number: u64) -> (ContentHash, Bytes) {
    let bytes: Vec<u8> = (0..32 * 1024u64).flat_map(|at| (at ^ (number << 20)).to_le_bytes()).collect();
    (ContentHash::of(&bytes), bytes.into())
}

/// This test program again, as another process that runs one of the tests below with a folder.
fn again(program: &str, before: &[&str], test: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(before)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        .stderr(Stdio::null());
    command
}

/// Not a test by itself: writes segments into a full store until it is killed.
#[tokio::test]
async fn a_writer_in_another_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = SegmentStore::open(folder, CAP).unwrap();
    for number in 0.. {
        let (hash, bytes) = segment(number % 64);
        store.put(hash, bytes).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_whose_process_was_killed_serves_right_bytes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = 0;
    for round in 0..12u64 {
        let mut writer = again("env", &[], "a_writer_in_another_process", folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(60 + round * 17));
        writer.kill().unwrap();
        writer.wait().unwrap();

        let store = SegmentStore::open(folder.path(), CAP).unwrap();
        for number in 0..64 {
            let (hash, bytes) = segment(number);
            if let Some(found) = store.get(hash).await.unwrap() {
                assert!(found == bytes, "segment {number} in round {round}");
                served += 1;
            }
        }
        let (hash, bytes) = segment(1_000 + round);
        store.put(hash, bytes).await.unwrap();
        assert!(store.usage().cached <= CAP, "{:?}", store.usage());
    }
    println!("12 kills, {served} segments served in between, none of them wrong");
    assert!(served > 0);
}

/// Not a test by itself: fills a disk of 4 MiB that is mounted at the folder.
#[tokio::test]
async fn a_store_on_a_small_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = SegmentStore::open(&folder, CAP).unwrap();
    let mut full = None;
    for number in 0..32 {
        let (hash, bytes) = segment(number);
        match store.put(hash, bytes).await {
            Ok(()) => {}
            Err(StoreError::DiskFull) => {
                full = Some(number);
                assert!(!store.contains(&hash));
                assert_eq!(store.get(hash).await.unwrap(), None);
                break;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    let full = full.expect("a disk of 4 MiB holds no 8 MiB");
    assert!(full > 8, "it was full after {full} segments");
    for number in 0..full {
        let (hash, bytes) = segment(number);
        assert!(store.get(hash).await.unwrap().unwrap() == bytes, "segment {number}");
    }
    let partial = std::fs::read_dir(&folder)
        .unwrap()
        .flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap())
        .filter(|file| file.as_ref().unwrap().path().extension().is_some());
    assert_eq!(partial.count(), 0, "half files were left");
    // A smaller cap makes room, and the store goes on.
    store.set_cap(2 * 1024 * 1024).unwrap();
    let (hash, bytes) = segment(500);
    store.put(hash, bytes).await.unwrap();
    println!("full after {full} segments");
}

#[test]
fn a_full_disk_is_said_so_and_spoils_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A mount of our own, seen by the other process alone and gone with it.
    let script = format!("mount -t tmpfs -o size=4m none '{}' && exec \"$@\"", folder.path().display());
    let namespace = ["--user", "--map-root-user", "--mount"];
    let possible = Command::new("unshare").args(namespace).args(["sh", "-c", &script, "sh", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: a_full_disk_is_said_so_and_spoils_nothing (this machine gives no mount namespaces)"
        );
        return;
    }
    let before = [&namespace[..], &["sh", "-c", &script, "sh"]].concat();
    let output = again("unshare", &before, "a_store_on_a_small_disk", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success() && said.contains("full after"), "{said}");
}
