//! The models that this worker knows: what they do, which files they have, and whose they are.

use edge_jobs::ContentHash;
use serde::Deserialize;

use crate::ComputeError;

/// The registry that comes with the program.
const BUILT_IN: &str = include_str!("../registry.json");

/// The known models. Nothing else can be asked for, and a file counts only if its hash is the one named here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    models: Vec<ModelEntry>,
}

/// A model of the registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The name that orders use.
    pub id: String,
    /// What it does.
    pub task: ModelTask,
    /// A line for people.
    pub title: String,
    /// The weights' licence, as an SPDX expression.
    pub licence: String,
    /// Who made it.
    pub authors: String,
    /// The most tokens of one text (embeddings) or of prompt and answer together (chat).
    pub max_tokens: usize,
    /// Where it comes from; `tools/models.py` reads it.
    #[serde(default)]
    pub source: Option<ModelSource>,
    /// Its files.
    pub files: Vec<ModelFile>,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelTask {
    /// Text to vectors: a BERT in safetensors with its tokenizer.
    Embeddings,
    /// Continues conversations: a Llama in one GGUF file.
    Chat,
}

/// A package on PyPI that carries a model's files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSource {
    /// The package's name.
    pub pypi: String,
    /// Its version.
    pub version: String,
    /// The licence of the packaging, which is not always the weights'.
    pub packaging_licence: String,
    /// Size of the wheel in bytes.
    pub wheel_bytes: u64,
    /// SHA-256 of the wheel, 64 hex digits.
    pub wheel_sha256: String,
}

/// One file of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// What the file is to the model.
    pub role: FileRole,
    /// Its path inside the package it comes from.
    #[serde(default)]
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its content; also its name in the models folder.
    pub blake3: ContentHash,
}

/// What a file is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRole {
    /// Weights as safetensors.
    Weights,
    /// A `tokenizer.json`.
    Tokenizer,
    /// A `config.json` with the model's dimensions.
    Config,
    /// A GGUF file with everything in it.
    Gguf,
}

impl Registry {
    /// The registry that comes with the program.
    pub fn built_in() -> Result<Self, ComputeError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a registry in the form of the built-in one (`compute/registry.json`).
    pub fn parse(text: &str) -> Result<Self, ComputeError> {
        let registry: Self =
            serde_json::from_str(text).map_err(|error| ComputeError::Registry(error.to_string()))?;
        for (at, model) in registry.models.iter().enumerate() {
            let wrong = |what: &str| Err(ComputeError::Registry(format!("`{}` {what}", model.id)));
            if registry.models[..at].iter().any(|other| other.id == model.id) {
                return wrong("is there twice");
            }
            if model.max_tokens < 2 {
                return wrong("has no room for tokens");
            }
            let needed: &[FileRole] = match model.task {
                ModelTask::Embeddings => &[FileRole::Weights, FileRole::Tokenizer, FileRole::Config],
                ModelTask::Chat => &[FileRole::Gguf],
            };
            for role in needed {
                if model.files.iter().filter(|file| file.role == *role).count() != 1 {
                    return wrong(&format!("needs one file of role {role:?}"));
                }
            }
        }
        Ok(registry)
    }

    /// Every model, in the order of the registry.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// The model of that id.
    pub fn model(&self, id: &str) -> Result<&ModelEntry, ComputeError> {
        self.models.iter().find(|model| model.id == id).ok_or_else(|| ComputeError::UnknownModel(id.into()))
    }
}

impl ModelEntry {
    /// The file of that role.
    pub fn file(&self, role: FileRole) -> Result<&ModelFile, ComputeError> {
        self.files
            .iter()
            .find(|file| file.role == role)
            .ok_or_else(|| ComputeError::Registry(format!("`{}` has no file of role {role:?}", self.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_registry_names_both_models_with_files_licences_and_sources() {
        let registry = Registry::built_in().unwrap();
        let ids: Vec<_> = registry.models().iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["all-minilm-l6-v2", "smollm2-135m-instruct"]);
        for model in registry.models() {
            assert_eq!(model.licence, "Apache-2.0");
            assert!(model.source.is_some());
        }
        assert_eq!(registry.model("smollm2-135m-instruct").unwrap().task, ModelTask::Chat);
        assert!(matches!(registry.model("gpt-4"), Err(ComputeError::UnknownModel(_))));
    }

    #[test]
    fn a_registry_that_lacks_a_file_or_names_a_model_twice_is_refused() {
        let entry = |id: &str, role: &str| {
            format!(
                r#"{{"id":"{id}","task":"chat","title":"","licence":"MIT","authors":"","max_tokens":8,
                "files":[{{"role":"{role}","bytes":1,"blake3":"{}"}}]}}"#,
                "0".repeat(64)
            )
        };
        let registry =
            |entries: &[String]| Registry::parse(&format!(r#"{{"models":[{}]}}"#, entries.join(",")));
        assert!(registry(&[entry("a", "gguf"), entry("b", "gguf")]).is_ok());
        assert!(matches!(registry(&[entry("a", "weights")]), Err(ComputeError::Registry(_))));
        assert!(matches!(
            registry(&[entry("a", "gguf"), entry("a", "gguf")]),
            Err(ComputeError::Registry(_))
        ));
    }
}
