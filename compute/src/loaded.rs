//! The models that are in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    ComputeError,
    chat::ChatModel,
    embeddings::EmbeddingModel,
    model_store::ModelStore,
    registry::{FileRole, ModelEntry, ModelTask, Registry},
    runtime::Runtime,
};

/// How much memory models may take, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Bytes that the weights of all loaded models may take together. One model alone may take more.
    pub bytes: u64,
    /// A model that no job used for so long is unloaded.
    pub idle: Duration,
}

/// Loads models when they are asked for, keeps those that were used last within a memory limit, and lets go of those
/// that nobody used for a while. Models in use are never unloaded.
#[derive(Debug)]
pub struct LoadedModels {
    registry: Registry,
    store: ModelStore,
    runtime: Box<dyn Runtime>,
    limits: MemoryLimits,
    loaded: Vec<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    id: String,
    model: Model,
    bytes: u64,
    used: Instant,
}

#[derive(Clone, Debug)]
enum Model {
    Chat(Arc<ChatModel>),
    Embeddings(Arc<EmbeddingModel>),
}

impl LoadedModels {
    /// Models of a registry, from a store, on a runtime.
    pub fn new(
        registry: Registry,
        store: ModelStore,
        runtime: Box<dyn Runtime>,
        limits: MemoryLimits,
    ) -> Self {
        Self { registry, store, runtime, limits, loaded: Vec::new() }
    }

    /// What the models run on.
    pub fn runtime(&self) -> &dyn Runtime {
        self.runtime.as_ref()
    }

    /// The ids of the models that could be loaded.
    pub fn installed(&self) -> Vec<String> {
        self.store.installed(&self.registry)
    }

    /// The ids of the models in memory, in the order of their loading.
    pub fn in_memory(&self) -> Vec<&str> {
        self.loaded.iter().map(|loaded| loaded.id.as_str()).collect()
    }

    /// The chat model of that id.
    pub fn chat(&mut self, id: &str, now: Instant) -> Result<Arc<ChatModel>, ComputeError> {
        match self.get(id, ModelTask::Chat, now)? {
            Model::Chat(model) => Ok(model),
            Model::Embeddings(_) => Err(ComputeError::WrongTask { model: id.into(), task: "chat" }),
        }
    }

    /// The embeddings model of that id.
    pub fn embeddings(&mut self, id: &str, now: Instant) -> Result<Arc<EmbeddingModel>, ComputeError> {
        match self.get(id, ModelTask::Embeddings, now)? {
            Model::Embeddings(model) => Ok(model),
            Model::Chat(_) => Err(ComputeError::WrongTask { model: id.into(), task: "embeddings" }),
        }
    }

    /// Unloads the models that nobody used since `now` minus the idle time.
    pub fn unload_idle(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.loaded.retain_mut(|loaded| {
            if loaded.model.is_used() {
                loaded.used = now;
            }
            let keep = now.saturating_duration_since(loaded.used) < idle;
            if !keep {
                tracing::info!(model = loaded.id, "unloaded, because nobody used it");
            }
            keep
        });
    }

    fn get(&mut self, id: &str, task: ModelTask, now: Instant) -> Result<Model, ComputeError> {
        let entry = self.registry.model(id)?.clone();
        if entry.task != task {
            let task = match task {
                ModelTask::Chat => "chat",
                ModelTask::Embeddings => "embeddings",
            };
            return Err(ComputeError::WrongTask { model: entry.id, task });
        }
        if let Some(loaded) = self.loaded.iter_mut().find(|loaded| loaded.id == id) {
            loaded.used = now;
            return Ok(loaded.model.clone());
        }
        // Room is made by the size on disk first, so that two large models are not in memory at once, and checked
        // again by the true size.
        let on_disk = entry.files.iter().map(|file| file.bytes).sum();
        self.make_room(on_disk, &entry.id)?;
        let started = Instant::now();
        let model = self.load(&entry)?;
        let bytes = model.bytes();
        self.make_room(bytes, &entry.id)?;
        tracing::info!(model = id, bytes, seconds = started.elapsed().as_secs_f32(), "loaded");
        self.loaded.push(Loaded { id: entry.id, model: model.clone(), bytes, used: now });
        Ok(model)
    }

    fn load(&self, entry: &ModelEntry) -> Result<Model, ComputeError> {
        let read = |role| self.store.read(entry, role);
        let runtime = self.runtime.as_ref();
        Ok(match entry.task {
            ModelTask::Chat => {
                Model::Chat(ChatModel::load(read(FileRole::Gguf)?, entry.max_tokens, runtime)?)
            }
            ModelTask::Embeddings => Model::Embeddings(EmbeddingModel::load(
                &read(FileRole::Config)?,
                &read(FileRole::Weights)?,
                &read(FileRole::Tokenizer)?,
                entry.max_tokens,
                runtime,
            )?),
        })
    }

    /// Unloads the models that were not used for the longest time until `bytes` more fit.
    fn make_room(&mut self, bytes: u64, id: &str) -> Result<(), ComputeError> {
        loop {
            let taken: u64 = self.loaded.iter().map(|loaded| loaded.bytes).sum();
            if self.loaded.is_empty() || taken.saturating_add(bytes) <= self.limits.bytes {
                return Ok(());
            }
            let unused = self.loaded.iter().enumerate().filter(|(_, loaded)| !loaded.model.is_used());
            let Some((oldest, _)) = unused.min_by_key(|(_, loaded)| loaded.used) else {
                return Err(ComputeError::NoRoom(id.into()));
            };
            let gone = self.loaded.remove(oldest);
            tracing::info!(model = gone.id, "unloaded, to make room");
        }
    }
}

impl Model {
    fn bytes(&self) -> u64 {
        match self {
            Model::Chat(model) => model.decoder().bytes(),
            Model::Embeddings(model) => model.encoder().bytes(),
        }
    }

    /// Whether a job holds it.
    fn is_used(&self) -> bool {
        let owners = match self {
            Model::Chat(model) => Arc::strong_count(model),
            Model::Embeddings(model) => Arc::strong_count(model),
        };
        owners > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{burn_runtime::BurnRuntime, tiny_llama};

    const MINUTE: Duration = Duration::from_secs(60);

    /// A test's models in memory, within so many times the size of one.
    fn models(ids: &[&str], room: u64) -> (tempfile::TempDir, LoadedModels) {
        let (folder, store, registry) = tiny_llama::installed(ids);
        let runtime = || Box::new(BurnRuntime::processor());
        let bytes = tiny_llama::bytes(0);
        let one = ChatModel::load(bytes, tiny_llama::CONTEXT, runtime().as_ref()).unwrap().decoder().bytes();
        let limits = MemoryLimits { bytes: room * one, idle: MINUTE };
        (folder, LoadedModels::new(registry, store, runtime(), limits))
    }

    #[test]
    fn the_model_that_was_not_used_for_the_longest_time_makes_room() {
        let (_folder, mut models) = models(&["a", "b", "c"], 2);
        let start = Instant::now();
        models.chat("a", start).unwrap();
        models.chat("b", start + MINUTE / 60).unwrap();
        models.chat("a", start + MINUTE / 30).unwrap();
        models.chat("c", start + MINUTE / 20).unwrap();
        assert_eq!(models.in_memory(), ["a", "c"]);
    }

    #[test]
    fn a_model_in_use_stays_and_another_one_is_refused_when_it_does_not_fit() {
        let (_folder, mut models) = models(&["a", "b"], 1);
        let now = Instant::now();
        let held = models.chat("a", now).unwrap();
        assert!(matches!(models.chat("b", now), Err(ComputeError::NoRoom(_))));
        drop(held);
        models.chat("b", now).unwrap();
        assert_eq!(models.in_memory(), ["b"]);
    }

    #[test]
    fn a_model_that_nobody_uses_is_unloaded_after_a_while() {
        let (_folder, mut models) = models(&["a", "b"], 2);
        let start = Instant::now();
        let held = models.chat("a", start).unwrap();
        models.chat("b", start).unwrap();
        models.unload_idle(start + MINUTE / 2);
        assert_eq!(models.in_memory(), ["a", "b"]);
        models.unload_idle(start + MINUTE);
        assert_eq!(models.in_memory(), ["a"]);
        drop(held);
        models.unload_idle(start + 2 * MINUTE);
        assert!(models.in_memory().is_empty());
    }

    #[test]
    fn a_model_is_asked_only_for_what_it_does() {
        let (_folder, mut models) = models(&["a"], 1);
        let now = Instant::now();
        assert!(matches!(models.embeddings("a", now), Err(ComputeError::WrongTask { .. })));
        assert!(matches!(models.chat("z", now), Err(ComputeError::UnknownModel(_))));
    }
}
