//! Segments: one unit each.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, Provider, collect::Collector, serve::Tally};
use crate::session::{Reply, Request};

pub(super) async fn serve_segments<S>(
    provider: &Provider,
    collector: &mut Collector<S>,
    tally: &mut Tally,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // Between two requests it is the viewer who keeps the session waiting.
    collector.working = false;
    let idle = provider.shared.settings.idle_wait;
    while let Some(request) = collector.next_request(idle).await? {
        let Request::Get { hash, max_bytes } = request else { continue };
        let found = match provider.shared.shelf.segment(hash).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, %hash, "a segment cannot be read");
                None
            }
        };
        let Some(segment) = found.filter(|segment| segment.len() as u64 <= max_bytes) else {
            collector.say(&Reply::NotHere { hash }).await?;
            continue;
        };
        // The payment for the segment before came ahead of this request, or it must come now.
        collector.wait_paid(collector.delivered).await?;
        collector.deliver(1).await?;
        let bytes = segment.len() as u64;
        collector.send_file(&Reply::Segment { hash, bytes }, segment.as_ref(), bytes).await?;
        tally.bytes += bytes;
        tally.keep(collector.delivered).await;
    }
    if collector.paid < collector.delivered {
        return Err(Ended::Unpaid("the last segment was not paid".into()));
    }
    Ok(())
}
