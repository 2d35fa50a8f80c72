//! What others offer: heard from those who announce it, and asked of each peer that connects, so that a fresh node need not wait
//! until every provider has announced itself again.

use std::{sync::Arc, time::Duration};

use edge_market::offer::{OfferError, Offers};
use edge_mesh::{Fault, MeshEvent, MeshHandle, PeerId, Protocol, Topic};
use tokio::sync::{Semaphore, broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Peers that are asked, and answered, at one time. One more is not: there are others.
const MOST_AT_ONCE: usize = 16;
/// How long one exchange may take.
const ONE_EXCHANGE: Duration = Duration::from_secs(10);

pub(super) async fn start(
    mesh: &MeshHandle,
    offers: &Offers,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    hear(mesh, offers, tasks).await?;
    answer_peers(mesh, offers, tasks, stop).await?;
    ask_new_peers(mesh, offers, tasks, stop);
    Ok(())
}

/// Takes in what is announced.
async fn hear(mesh: &MeshHandle, offers: &Offers, tasks: &TaskTracker) -> anyhow::Result<()> {
    let mut heard = mesh.subscribe(Topic::OFFERS).await?;
    let (offers, mesh) = (offers.clone(), mesh.clone());
    tasks.spawn(async move {
        while let Some((peer, wallet, bytes)) = heard.recv().await {
            let Err(error) = offers.take(&bytes, wallet) else { continue };
            tracing::debug!(%peer, %error, "an offer is not taken");
            // Somebody's clock, or an old message that came late, is nobody's fault.
            if !matches!(error, OfferError::Time) && mesh.report(peer, Fault::Garbage).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Gives what is known to peers that ask.
async fn answer_peers(
    mesh: &MeshHandle,
    offers: &Offers,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut incoming = mesh.accept(Protocol::OFFERS).await?;
    let (places, offers) = (Arc::new(Semaphore::new(MOST_AT_ONCE)), offers.clone());
    let (their_tasks, stop) = (tasks.clone(), stop.clone());
    tasks.spawn(async move {
        while let Some((peer, _, mut stream)) = incoming.next().await {
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (offers, stop) = (offers.clone(), stop.clone());
            their_tasks.spawn(async move {
                let giving = tokio::time::timeout(ONE_EXCHANGE, offers.give(&mut stream));
                if let Some(Ok(Err(error))) = stop.run_until_cancelled(giving).await {
                    tracing::debug!(%peer, %error, "a peer did not take the offers that it asked for");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

/// Asks each peer when it connects.
fn ask_new_peers(mesh: &MeshHandle, offers: &Offers, tasks: &TaskTracker, stop: &CancellationToken) {
    let mut news = mesh.events();
    // Those that connected before the news began.
    let first = mesh.peers().into_iter().map(|known| known.peer);
    let asking =
        Asking { mesh: mesh.clone(), offers: offers.clone(), places: Arc::new(Semaphore::new(MOST_AT_ONCE)) };
    let (their_tasks, stop) = (tasks.clone(), stop.clone());
    for peer in first {
        tasks.spawn(asking.clone().ask(peer, stop.clone()));
    }
    tasks.spawn(async move {
        loop {
            match stop.run_until_cancelled(news.recv()).await {
                Some(Ok(MeshEvent::Joined { peer, .. })) => {
                    their_tasks.spawn(asking.clone().ask(peer, stop.clone()));
                }
                Some(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Some(Err(RecvError::Closed)) | None => return,
            }
        }
    });
}

#[derive(Clone)]
struct Asking {
    mesh: MeshHandle,
    offers: Offers,
    places: Arc<Semaphore>,
}

impl Asking {
    async fn ask(self, peer: PeerId, stop: CancellationToken) {
        let Ok(_place) = self.places.try_acquire() else { return };
        let exchange = async {
            let mut stream = match self.mesh.open(peer, Protocol::OFFERS).await {
                Ok(stream) => stream,
                Err(error) => return tracing::debug!(%peer, %error, "a new peer cannot be asked for offers"),
            };
            match self.offers.take_all(&mut stream).await {
                Ok(taken) => tracing::debug!(%peer, taken, "a new peer gave the offers that it knows"),
                Err(error) => {
                    tracing::debug!(%peer, %error, "a new peer's offers are not taken");
                    if error.is_fault() {
                        // When the overlay has ended there is nobody to blame.
                        let _ = self.mesh.report(peer, Fault::Garbage).await;
                    }
                }
            }
        };
        let _ = stop.run_until_cancelled(tokio::time::timeout(ONE_EXCHANGE, exchange)).await;
    }
}
