//! Judging with the own workers.

use std::sync::Arc;

use async_trait::async_trait;
use edge_jobs::{
    ChatMessage, ChatOrder, CheckTask, EmbeddingsOrder, Event, JobError, JobErrorCode, JobId, RenditionCheck,
    Role, Sampling, Task,
};
use rand::RngExt;

use super::{Judge, LadderCheck, Verdict, check_form, largest_difference};
use crate::provider::Worker;

/// How far numbers of two runtimes may differ in one place.
const VECTOR_TOLERANCE: f32 = 1e-3;
/// Frames of each rendition that are compared when a ladder is finished.
const FRAMES: u32 = 6;
/// Frames that are compared while it is being made.
const FRAMES_SO_FAR: u32 = 2;
/// A picture that differs more than this from the source's, in dB, is another picture.
const LEAST_PSNR_DB: f32 = 15.0;

/// Judges by doing a part of the work again on this machine.
#[derive(Clone)]
pub struct WorkerJudge {
    worker: Arc<dyn Worker>,
}

impl std::fmt::Debug for WorkerJudge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerJudge").finish_non_exhaustive()
    }
}

impl WorkerJudge {
    /// Judges with `worker`.
    pub fn new(worker: Arc<dyn Worker>) -> Self {
        Self { worker }
    }

    async fn run(&self, task: Task) -> Result<Event, JobError> {
        let task = self.worker.start(JobId::random(), task).await?;
        match task.last().await {
            Some(Event::Failed { error, .. }) => Err(error),
            Some(event) => Ok(event),
            None => Err(JobError::new(JobErrorCode::Internal, "the worker died")),
        }
    }

    async fn compare(&self, check: LadderCheck, frames: u32) -> Result<Vec<RenditionCheck>, String> {
        let task = Task::Check(CheckTask {
            source: check.source,
            output: check.output,
            renditions: check.renditions,
            ladder: check.ladder,
            frames_per_rendition: frames,
            seed: rand::random(),
        });
        match self.run(task).await {
            Ok(Event::Checked { renditions, .. }) => Ok(renditions),
            Ok(other) => Err(format!("the worker answered {other:?}")),
            Err(error) => Err(error.message),
        }
    }

    /// Tokens of a conversation with one message.
    async fn conversation_tokens(&self, model: &str, text: &str) -> Option<u64> {
        let order = ChatOrder {
            model: model.to_owned(),
            messages: vec![ChatMessage { role: Role::User, content: text.to_owned() }],
            continues: false,
            max_tokens: Some(1),
            sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: Some(0) },
            stop: Vec::new(),
        };
        match self.run(Task::Chat(order)).await {
            Ok(Event::Chatted { prompt_tokens, .. }) => Some(u64::from(prompt_tokens)),
            _ => None,
        }
    }
}

#[async_trait]
impl Judge for WorkerJudge {
    /// Does one of the texts again, chosen at random.
    async fn vectors(&self, order: &EmbeddingsOrder, vectors: &[Vec<f32>]) -> Verdict {
        if let Err(wrong) = check_form(order.inputs.len(), vectors) {
            return Verdict::Bad(wrong);
        }
        let chosen = rand::rng().random_range(0..order.inputs.len());
        let one = EmbeddingsOrder { model: order.model.clone(), inputs: vec![order.inputs[chosen].clone()] };
        match self.run(Task::Embeddings(one)).await {
            Ok(Event::Embedded { vectors: own, .. }) if own.len() == 1 => {
                let difference = largest_difference(&own[0], &vectors[chosen]);
                if difference <= VECTOR_TOLERANCE {
                    Verdict::Good
                } else {
                    Verdict::Bad(format!("text {chosen}: its vector is off by {difference}"))
                }
            }
            Ok(other) => Verdict::Unknown(format!("the worker answered {other:?}")),
            Err(error) => Verdict::Unknown(error.message),
        }
    }

    /// The tokens of a conversation with the text, less those of one without.
    async fn count_tokens(&self, model: &str, text: &str) -> Option<u64> {
        let empty = self.conversation_tokens(model, "").await?;
        let full = self.conversation_tokens(model, text).await?;
        Some(full.saturating_sub(empty))
    }

    async fn ladder(&self, check: LadderCheck) -> Verdict {
        match self.compare(check, FRAMES).await {
            Ok(checks) if checks.is_empty() => Verdict::Bad("there is no rendition".into()),
            Ok(checks) => match checks.iter().find(|check| !check.passed) {
                Some(failed) => Verdict::Bad(format!("{}: {}", failed.rendition, failed.problems.join(", "))),
                None => Verdict::Good,
            },
            Err(reason) => Verdict::Unknown(reason),
        }
    }

    /// An unfinished ladder cannot pass as a whole, so only its pictures are looked at.
    async fn ladder_so_far(&self, check: LadderCheck) -> Verdict {
        match self.compare(check, FRAMES_SO_FAR).await {
            Ok(checks) => {
                let frames = checks
                    .iter()
                    .flat_map(|check| check.frames.iter().map(move |frame| (&check.rendition, frame)));
                let mut seen = 0;
                for (rendition, frame) in frames {
                    seen += 1;
                    // Not a number is not enough either.
                    if !(frame.psnr_db >= LEAST_PSNR_DB) {
                        return Verdict::Bad(format!(
                            "{rendition}: the picture at {} ms is not the source's ({} dB)",
                            frame.at_ms, frame.psnr_db
                        ));
                    }
                }
                if seen > 0 { Verdict::Good } else { Verdict::Unknown("no picture was compared".into()) }
            }
            Err(reason) => Verdict::Unknown(reason),
        }
    }
}
