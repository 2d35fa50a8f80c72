//! A chat: 16 tokens at a time.

use edge_jobs::{ChatOrder, Event, JobError, JobErrorCode, JobId, Task};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Provider, collect::Collector, serve::Tally};
use crate::session::{Reply, chat_units};

pub(super) async fn serve_chat<S>(
    provider: &Provider,
    collector: &mut Collector<S>,
    job: JobId,
    order: ChatOrder,
    tally: &mut Tally,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut asked = 0;
    let mut task = provider.shared.worker.start(job, Task::Chat(order)).await?;
    while let Some(event) = collector.next_event(&mut task).await? {
        match event {
            Event::Tokens { text, count, .. } => {
                let units = chat_units(tally.tokens + u64::from(count));
                if units > collector.delivered {
                    // The worker goes on meanwhile; its tokens wait here.
                    if asked < collector.delivered {
                        asked = collector.delivered;
                        collector.ask().await?;
                    }
                    collector.wait_paid(collector.delivered).await?;
                    collector.deliver(units - collector.delivered).await?;
                }
                tally.tokens += u64::from(count);
                tally.bytes += text.len() as u64;
                collector.say(&Reply::Event { event: Event::Tokens { job, text, count } }).await?;
                if tally.tokens > 0 && chat_units(tally.tokens + 1) > collector.delivered {
                    // The unit is full.
                    asked = collector.delivered;
                    collector.ask().await?;
                    tally.keep(collector.delivered).await;
                }
            }
            Event::Chatted { .. } => {
                collector.say(&Reply::Event { event }).await?;
                collector.ask().await?;
                return collector.wait_paid(collector.delivered).await;
            }
            Event::Failed { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    Err(JobError::new(JobErrorCode::Internal, "the worker died").into())
}
