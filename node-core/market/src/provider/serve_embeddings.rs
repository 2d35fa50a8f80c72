//! Embeddings: one unit a request.

use edge_jobs::{EmbeddingsOrder, Event, JobError, JobErrorCode, JobId, Task};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Provider, collect::Collector, serve::Tally};
use crate::session::Reply;

pub(super) async fn serve_embeddings<S>(
    provider: &Provider,
    collector: &mut Collector<S>,
    job: JobId,
    order: EmbeddingsOrder,
    tally: &mut Tally,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut task = provider.shared.worker.start(job, Task::Embeddings(order)).await?;
    while let Some(event) = collector.next_event(&mut task).await? {
        match event {
            Event::Embedded { vectors, prompt_tokens, .. } => {
                collector.deliver(1).await?;
                tally.tokens = u64::from(prompt_tokens);
                tally.bytes = vectors.iter().map(|vector| vector.len() as u64 * 4).sum();
                let event = Event::Embedded { job, vectors, prompt_tokens };
                collector.say(&Reply::Event { event }).await?;
                collector.ask().await?;
                tally.keep(collector.delivered).await;
                return collector.wait_paid(1).await;
            }
            Event::Failed { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    Err(JobError::new(JobErrorCode::Internal, "the worker died").into())
}
