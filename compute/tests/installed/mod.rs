//! The real models, for tests that need them.

use std::path::PathBuf;

use edge_compute::{model_store::ModelStore, registry::Registry};

/// The store and registry, if the model is installed (`make models`). If not, the test is skipped by name; in CI that
/// is a failure.
pub fn model(test: &str, id: &str) -> Option<(ModelStore, Registry)> {
    let folder = std::env::var_os("THETIS_MODELS")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../models").into(), PathBuf::from);
    let (store, registry) = (ModelStore::new(folder), Registry::built_in().unwrap());
    match store.check(registry.model(id).unwrap()) {
        Ok(()) => Some((store, registry)),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{test}: {error}");
            println!("skipped: {test}: {error} (make models)");
            None
        }
    }
}

/// A file of testdata/compute.
#[allow(dead_code)]
pub fn reference(name: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/compute")).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
