//! The folder with the model files, each named by its BLAKE3 hash.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use edge_jobs::ContentHash;

use crate::{
    ComputeError,
    registry::{FileRole, ModelEntry, ModelFile, Registry},
};

/// A folder of model files. A file is used only after its content was hashed and found to be what the registry names.
#[derive(Clone, Debug)]
pub struct ModelStore {
    folder: PathBuf,
}

impl ModelStore {
    /// A store in `folder`; the folder need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where a file lies.
    pub fn path(&self, file: &ModelFile) -> PathBuf {
        self.folder.join(file.blake3.to_string())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ids of the models whose files are all there with the right hash. Reads every file once.
    pub fn installed(&self, registry: &Registry) -> Vec<String> {
        let whole = |model: &&ModelEntry| match self.check(model) {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(model = model.id, %error, "model left out");
                false
            }
        };
        registry.models().iter().filter(whole).map(|model| model.id.clone()).collect()
    }

    /// Hashes every file of a model.
    pub fn check(&self, model: &ModelEntry) -> Result<(), ComputeError> {
        for file in &model.files {
            let found = self
                .open(model, file)
                .and_then(|opened| Ok(ContentHash::of_reader(opened.take(file.bytes))?))?;
            self.expect(model, file, found)?;
        }
        Ok(())
    }

    /// The content of a model's file: the very bytes that were hashed.
    pub fn read(&self, model: &ModelEntry, role: FileRole) -> Result<Vec<u8>, ComputeError> {
        let file = model.file(role)?;
        let opened = self.open(model, file)?;
        // The size is known to be the registry's, so a huge file is never read whole.
        let mut bytes = Vec::with_capacity(file.bytes as usize);
        opened.take(file.bytes).read_to_end(&mut bytes)?;
        self.expect(model, file, ContentHash::of(&bytes))?;
        Ok(bytes)
    }

    fn open(&self, model: &ModelEntry, file: &ModelFile) -> Result<File, ComputeError> {
        let path = self.path(file);
        let absent = |reason: String| ComputeError::NotInstalled { model: model.id.clone(), reason };
        let opened = File::open(&path)
            .map_err(|error| absent(format!("{:?} file {}: {error}", file.role, path.display())))?;
        let length = opened.metadata()?.len();
        if length != file.bytes {
            return Err(absent(format!("{} has {length} bytes instead of {}", path.display(), file.bytes)));
        }
        Ok(opened)
    }

    fn expect(&self, model: &ModelEntry, file: &ModelFile, found: ContentHash) -> Result<(), ComputeError> {
        if found == file.blake3 {
            return Ok(());
        }
        let reason = format!("{} has the hash {found}", self.path(file).display());
        Err(ComputeError::NotInstalled { model: model.id.clone(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(content: &[u8]) -> Registry {
        Registry::parse(&format!(
            r#"{{"models":[{{"id":"tiny","task":"chat","title":"","licence":"MIT","authors":"","max_tokens":8,
            "files":[{{"role":"gguf","bytes":{},"blake3":"{}"}}]}}]}}"#,
            content.len(),
            ContentHash::of(content)
        ))
        .unwrap()
    }

    #[test]
    fn a_file_counts_only_while_its_size_and_hash_are_right() {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::new(folder.path());
        let registry = registry(b"weights");
        let model = registry.model("tiny").unwrap();
        let path = store.path(&model.files[0]);

        assert_eq!(store.installed(&registry), Vec::<String>::new());
        std::fs::write(&path, b"weights").unwrap();
        assert_eq!(store.installed(&registry), ["tiny"]);
        assert_eq!(store.read(model, FileRole::Gguf).unwrap(), b"weights");

        for wrong in [&b"weightS"[..], b"weights and more", b"weigh"] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(store.installed(&registry), Vec::<String>::new());
            let error = store.read(model, FileRole::Gguf).unwrap_err();
            assert!(matches!(error, ComputeError::NotInstalled { .. }), "{error}");
        }
    }
}
