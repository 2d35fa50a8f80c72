//! Tells other nodes of the streams that are here.

use std::time::Duration;

use edge_mesh::{MeshError, Topic};
use edge_streams::StreamId;
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Sharing;

/// How often, so that edge nodes that come later hear of them too.
const EVERY: Duration = Duration::from_secs(15);
/// Streams that are announced in one round; the next round goes on behind them. Peers do not listen to more.
const MOST: usize = 64;

/// That a stream exists, and the node that says so has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Announcement {
    pub stream: StreamId,
}

/// Announces one stream.
pub(super) async fn announce(sharing: &Sharing, stream: StreamId) {
    let Ok(bytes) = serde_json::to_vec(&Announcement { stream }) else { return };
    match sharing.mesh.publish(Topic::STREAMS, bytes).await {
        Ok(()) | Err(MeshError::NobodyListens) => {}
        Err(error) => tracing::debug!(%error, %stream, "a stream could not be announced"),
    }
}

pub(super) fn start(sharing: &Sharing, tasks: &TaskTracker, stop: &CancellationToken) {
    let (sharing, stop) = (sharing.clone(), stop.clone());
    tasks.spawn(async move {
        let mut last = None;
        loop {
            sharing.withdraw_evicted().await;
            for stream in next_round(&sharing.held_streams(), last) {
                announce(&sharing, stream).await;
                last = Some(stream);
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    });
}

/// The streams behind `last`, and then from the beginning, each once. `held` is in order.
fn next_round(held: &[StreamId], last: Option<StreamId>) -> Vec<StreamId> {
    let next = last.map_or(0, |last| held.partition_point(|id| *id <= last));
    held[next..].iter().chain(&held[..next]).take(MOST).copied().collect()
}

#[cfg(test)]
mod tests {
    use theta_types::Address;

    use super::*;

    #[test]
    fn every_stream_has_its_turn() {
        let id = |number: u8| StreamId::derive(&Address::repeat_byte(1), &[number; 16]);
        let mut held: Vec<StreamId> = (0..200).map(id).collect();
        held.sort_unstable();
        assert!(next_round(&[], None).is_empty() && next_round(&[], Some(held[3])).is_empty());
        assert_eq!(next_round(&held[..3], Some(held[0])), [held[1], held[2], held[0]]);
        let (mut last, mut heard) = (None, Vec::new());
        for _ in 0..4 {
            let round = next_round(&held, last);
            assert_eq!(round.len(), MOST);
            last = round.last().copied();
            heard.extend(round);
        }
        assert_eq!(heard[..200], held);
    }
}
