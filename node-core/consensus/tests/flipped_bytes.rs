//! No changed byte of stored data passes the verification.
#![allow(clippy::unwrap_used, clippy::panic)]

mod local_chain;

use std::collections::BTreeMap;
use std::path::Path;

use local_chain::{payment, somebody, start, wait_for};
use theta_consensus::{DATABASE, verify};
use theta_state::{ChainDb, Table};
use theta_types::{ChainRules, keccak256};

type Dump = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn dump(folder: &Path) -> Option<Dump> {
    let db = ChainDb::open_checked(folder.join(DATABASE)).ok()?;
    let mut dump = Dump::new();
    for table in Table::ALL {
        for (key, value) in db.scan(table, &[], usize::MAX).ok()? {
            dump.insert((table, key), value);
        }
    }
    Some(dump)
}

fn passes(folder: &Path) -> bool {
    verify(folder, &ChainRules::local(), None, |_| {}).is_ok()
}

/// A chain with a few blocks and payments, its database written in one go, so that no page of it is left over from before.
async fn chain_in(folder: &Path) {
    let grown = tempfile::tempdir().unwrap();
    let chain = start(grown.path(), 30);
    for sequence in 1..=40u8 {
        chain.submit_transaction(payment(sequence.into(), &somebody(sequence + 10), 1)).await.unwrap();
    }
    wait_for(&chain, 12).await;
    chain.shutdown().await;
    let db = ChainDb::open(folder.join(DATABASE)).unwrap();
    let mut batch = theta_state::Batch::new();
    for ((table, key), value) in dump(grown.path()).unwrap() {
        batch.put(table, key, value);
    }
    db.commit(batch).unwrap();
}

/// Bytes of the file are changed one at a time: all over it, and in the middle of every value.
#[tokio::test]
async fn in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    chain_in(folder.path()).await;
    assert!(passes(folder.path()));
    let original = std::fs::read(folder.path().join(DATABASE)).unwrap();
    let wanted = dump(folder.path()).unwrap();

    let mut offsets: Vec<_> = (0..40u64)
        .map(|number| {
            let draw = keccak256(number.to_be_bytes());
            (u64::from_be_bytes(draw[..8].try_into().unwrap()) % original.len() as u64) as usize
        })
        .collect();
    let values = wanted.values().filter(|value| value.len() >= 32);
    let places = values.filter_map(|value| {
        let start = original.windows(value.len()).position(|window| window == value.as_slice())?;
        Some(start + value.len() / 2)
    });
    offsets.extend(places);
    assert!(offsets.len() >= 100, "only {} places to try", offsets.len());

    let mut noticed = 0;
    for offset in &offsets {
        let damaged = tempfile::tempdir().unwrap();
        let mut bytes = original.clone();
        bytes[*offset] ^= 0x10;
        std::fs::write(damaged.path().join(DATABASE), &bytes).unwrap();
        if passes(damaged.path()) {
            // Only where nothing is stored may a byte be anything.
            assert_eq!(dump(damaged.path()).as_ref(), Some(&wanted), "byte {offset} was changed unnoticed");
        } else {
            noticed += 1;
        }
        if let Ok(db) = ChainDb::open(damaged.path().join(DATABASE)) {
            for table in Table::ALL {
                let _ = db.scan(table, &[], usize::MAX);
            }
            let mut batch = theta_state::Batch::new();
            batch.put(Table::Consensus, *b"key", *b"value");
            let _ = db.commit(batch);
        }
    }
    println!("{noticed} of {} changed bytes were stored data, and noticed", offsets.len());
    assert!(noticed > 60, "only {noticed}");
}

/// Values are changed one byte at a time through the engine, whose checksums then fit: all that is left are the chain's own proofs.
#[tokio::test]
async fn behind_the_engines_back() {
    let folder = tempfile::tempdir().unwrap();
    chain_in(folder.path()).await;
    let original = std::fs::read(folder.path().join(DATABASE)).unwrap();
    let wanted = dump(folder.path()).unwrap();
    let mut tried = 0;
    for (number, ((table, key), value)) in wanted.iter().enumerate() {
        // All of the few, some of the many.
        if *table == Table::Nodes && number % 6 != 0 {
            continue;
        }
        let damaged = tempfile::tempdir().unwrap();
        std::fs::write(damaged.path().join(DATABASE), &original).unwrap();
        let mut value = value.clone();
        let draw = keccak256((number as u64).to_be_bytes());
        let at = draw[0] as usize * value.len() / 256;
        value[at] ^= 1 << (draw[1] % 8);
        let db = ChainDb::open(damaged.path().join(DATABASE)).unwrap();
        let mut batch = theta_state::Batch::new();
        batch.put(*table, key.clone(), value);
        db.commit(batch).unwrap();
        drop(db);
        assert!(!passes(damaged.path()), "{table:?} {} byte {at}", hex::encode(key));
        tried += 1;

        // Neither may it be gone. Votes may: those that count are in headers.
        if number % 4 == 0 && *table != Table::Consensus {
            let db = ChainDb::open(damaged.path().join(DATABASE)).unwrap();
            let mut batch = theta_state::Batch::new();
            batch.delete(*table, key.clone());
            db.commit(batch).unwrap();
            drop(db);
            assert!(!passes(damaged.path()), "{table:?} {} missing", hex::encode(key));
        }
    }
    assert!(tried > 40, "{tried}");
}
