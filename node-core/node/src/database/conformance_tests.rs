//! The market's stores do what the market asks of every store.

use std::sync::Arc;

use edge_market::testing::{
    job_store_keeps_its_promise, payee_store_keeps_its_promise, payer_store_keeps_its_promise,
    standing_store_keeps_its_promise,
};

use super::{Database, PayeeBooks, PayerBooks};

/// Opens the same file each time, as after a restart.
fn file() -> (tempfile::TempDir, impl Fn() -> Database) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thetis.sqlite");
    (folder, move || Database::open(&path).unwrap())
}

#[test]
fn the_payer_s_book() {
    let (_folder, open) = file();
    payer_store_keeps_its_promise(|| Arc::new(PayerBooks(open())));
}

#[test]
fn the_provider_s_book() {
    let (_folder, open) = file();
    payee_store_keeps_its_promise(|| Arc::new(PayeeBooks(open())));
}

#[test]
fn jobs() {
    let (_folder, open) = file();
    job_store_keeps_its_promise(|| Arc::new(open()));
}

#[test]
fn standing() {
    let (_folder, open) = file();
    standing_store_keeps_its_promise(|| Arc::new(open()));
}
