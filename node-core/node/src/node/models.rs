//! The models that the network knows, as requesters and prices need them. What providers have of each, their offers say.

use edge_gateway::Model;
use edge_jobs::JobKind;
use edge_market::requester::ModelLimits;

/// A model of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownModel {
    pub id: &'static str,
    pub kind: JobKind,
    /// Tokens of prompt and completion together.
    pub context_tokens: u32,
    /// Numbers in a vector.
    pub dimensions: Option<u32>,
    pub owned_by: &'static str,
    /// When it was published, Unix seconds.
    created: i64,
}

/// All of them.
const MODELS: [KnownModel; 2] = [
    KnownModel {
        id: "all-minilm-l6-v2",
        kind: JobKind::Embeddings,
        context_tokens: 256,
        dimensions: Some(384),
        owned_by: "sentence-transformers",
        created: 1_630_281_600,
    },
    KnownModel {
        id: "smollm2-135m-instruct",
        kind: JobKind::Chat,
        context_tokens: 8_192,
        dimensions: None,
        owned_by: "Hugging Face TB",
        created: 1_730_332_800,
    },
];

/// The model of an id.
pub(crate) fn find(id: &str) -> Option<&'static KnownModel> {
    MODELS.iter().find(|model| model.id == id)
}

/// All models as the gateway lists them.
pub(crate) fn listed() -> Vec<Model> {
    let listed = |model: &KnownModel| Model {
        id: model.id.to_owned(),
        kind: model.kind,
        created: model.created,
        owned_by: model.owned_by.to_owned(),
        context_tokens: (model.kind == JobKind::Chat).then_some(model.context_tokens),
        dimensions: model.dimensions,
    };
    MODELS.iter().map(listed).collect()
}

/// All models as the market knows them.
pub(crate) fn limits() -> Vec<ModelLimits> {
    let limits = |model: &KnownModel| ModelLimits {
        id: model.id.to_owned(),
        context_tokens: model.context_tokens,
        dimensions: model.dimensions,
    };
    MODELS.iter().map(limits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compute worker's registry decides; this list follows it.
    #[test]
    fn the_list_is_that_of_the_registry() {
        let registry = include_str!("../../../../compute/registry.json");
        let registry: serde_json::Value = serde_json::from_str(registry).unwrap();
        let registered: Vec<_> = registry["models"].as_array().unwrap().iter().collect();
        assert_eq!(registered.len(), MODELS.len());
        for model in registered {
            let known = find(model["id"].as_str().unwrap()).unwrap();
            assert_eq!(known.kind.name(), model["task"].as_str().unwrap());
            assert_eq!(u64::from(known.context_tokens), model["max_tokens"].as_u64().unwrap());
            assert_eq!(known.owned_by, model["authors"].as_str().unwrap());
        }
    }
}
