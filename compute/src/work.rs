//! A job of this worker, done in short steps.

use std::time::Instant;

use edge_jobs::{Event, JobId, Task};

use crate::{
    ComputeError,
    chat::{Answer, Step},
    embeddings::Embedding,
    loaded::LoadedModels,
};

/// A job in work. Its steps are short, so several jobs take turns, and a cancelled one ends at once.
#[derive(Debug)]
pub struct Work {
    job: JobId,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Embeddings(Embedding),
    Chat(Box<Answer>),
}

impl Work {
    /// Begins a task; loads its model if need be. `fresh_seed` is taken when a chat has no seed.
    pub fn begin(
        job: JobId,
        task: &Task,
        models: &mut LoadedModels,
        now: Instant,
        fresh_seed: u64,
    ) -> Result<Self, ComputeError> {
        let kind = match task {
            Task::Embeddings(order) => Kind::Embeddings(models.embeddings(&order.model, now)?.embed(order)?),
            Task::Chat(order) => {
                Kind::Chat(Box::new(models.chat(&order.model, now)?.answer(order, fresh_seed)?))
            }
            Task::Inspect { .. } | Task::Transcode(_) | Task::Check(_) => {
                return Err(ComputeError::OtherWorker);
            }
        };
        Ok(Self { job, kind })
    }

    /// The job's id.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Does one step and returns what there is to tell. The job is done when the last event says so
    /// ([`Event::is_last`]).
    pub fn step(&mut self) -> Result<Vec<Event>, ComputeError> {
        let job = self.job;
        match &mut self.kind {
            Kind::Embeddings(embedding) => {
                if !embedding.step()? {
                    return Ok(vec![Event::Progress { job, permille: embedding.permille() }]);
                }
                let (vectors, prompt_tokens) = embedding.take();
                Ok(vec![Event::Embedded { job, vectors, prompt_tokens }])
            }
            Kind::Chat(answer) => Ok(match answer.step()? {
                Step::Reading => Vec::new(),
                Step::Text { text, count } => vec![Event::Tokens { job, text, count }],
                Step::End { text, count, finish } => {
                    let mut events = Vec::new();
                    if count > 0 || !text.is_empty() {
                        events.push(Event::Tokens { job, text, count });
                    }
                    events.push(Event::Chatted {
                        job,
                        finish,
                        prompt_tokens: answer.prompt_tokens(),
                        completion_tokens: answer.completion_tokens(),
                    });
                    events
                }
            }),
        }
    }
}
