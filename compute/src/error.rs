//! What can go wrong in the compute worker.

use edge_jobs::{JobError, JobErrorCode};

use crate::gguf::GgufError;

/// Why a model could not be loaded or a job could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// The registry has no model of that id; ask for one that it has.
    #[error("there is no model `{0}`")]
    UnknownModel(String),
    /// A model is asked for something that it does not do; ask another model.
    #[error("the model `{model}` does not do {task}")]
    WrongTask {
        /// The model's id.
        model: String,
        /// What was asked of it.
        task: &'static str,
    },
    /// A task of another worker; send it there.
    #[error("this is the compute worker; it does no media")]
    OtherWorker,
    /// A model is not installed, or not whole; install it (`make models`).
    #[error("the model `{model}` is not installed: {reason}")]
    NotInstalled {
        /// The model's id.
        model: String,
        /// Which file is missing or wrong.
        reason: String,
    },
    /// The registry's own text is wrong; fix it.
    #[error("the model registry is wrong: {0}")]
    Registry(String),
    /// A model file cannot be used; another file may.
    #[error("the model file cannot be used: {0}")]
    ModelFile(String),
    /// A GGUF file cannot be used; another file may.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The prompt leaves no room for an answer; shorten it.
    #[error("the prompt has {tokens} tokens, and the model takes at most {limit} with its answer")]
    PromptTooLong {
        /// The prompt's tokens; with texts that are far too long, a lower bound.
        tokens: usize,
        /// The model's context in tokens.
        limit: usize,
    },
    /// The order cannot be done by anyone; correct it.
    #[error("{0}")]
    BadOrder(String),
    /// There is no GPU that computes right; take the processor.
    #[error("no GPU can be used: {0}")]
    NoGpu(String),
    /// The device gave a wrong or no result; start the worker again.
    #[error("the device failed: {0}")]
    Device(String),
    /// Other jobs hold the memory; try again when they are done.
    #[error("the models in use leave no room for `{0}`")]
    NoRoom(String),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl From<ComputeError> for JobError {
    fn from(error: ComputeError) -> Self {
        let code = match &error {
            ComputeError::UnknownModel(_)
            | ComputeError::OtherWorker
            | ComputeError::NotInstalled { .. }
            | ComputeError::ModelFile(_)
            | ComputeError::Gguf(_) => JobErrorCode::Unsupported,
            ComputeError::WrongTask { .. }
            | ComputeError::PromptTooLong { .. }
            | ComputeError::BadOrder(_) => JobErrorCode::BadInput,
            ComputeError::NoRoom(_) => JobErrorCode::Busy,
            ComputeError::Registry(_)
            | ComputeError::NoGpu(_)
            | ComputeError::Device(_)
            | ComputeError::Io(_) => JobErrorCode::Internal,
        };
        JobError::new(code, error.to_string())
    }
}
