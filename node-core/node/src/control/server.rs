//! The control API over HTTP on loopback.

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::JsonRejection},
    middleware,
    response::sse::{Event, KeepAlive, Sse},
    routing::{get, post},
};
use edge_market::jobs::JobSide;
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Control, ControlError, ErrorCode,
    guard::{self, Guard},
    types::{
        ChangeLimits, CreateKey, CreatedKey, Earnings, KeyRow, OfferRow, Pause, Play, Playing, SendCoins,
        SentTransaction, Settled, Status, StreamRow, Unlock,
    },
};

/// Requests are small; a passphrase or an address is the longest thing in them.
const LARGEST_BODY: usize = 64 * 1024;
/// How often a listener's picture is compared with the node's.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A control API that listens.
#[derive(Clone, Debug)]
pub struct ControlServer {
    /// Where, e.g. `http://127.0.0.1:41234`.
    pub url: String,
    /// What requests must carry: `Authorization: Bearer`.
    pub token: String,
}

/// Serves `control` on a loopback address until `stop` is cancelled. The task is the caller's to wait for.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    control: Control,
    listen: SocketAddr,
    stop: CancellationToken,
) -> std::io::Result<(ControlServer, impl Future<Output = ()> + Send + 'static)> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let token = hex::encode(rand::random::<[u8; 32]>());
    let guard = Guard::new(token.clone(), address);
    let router =
        routes(stop.clone()).with_state(control).layer(middleware::from_fn_with_state(guard, guard::guard));
    let serving = async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the control API ended");
        }
    };
    Ok((ControlServer { url: format!("http://{address}"), token }, serving))
}

fn routes(stop: CancellationToken) -> Router<Control> {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/changes", get(move |control| changes(control, stop)))
        .route("/api/earnings", get(earnings))
        .route("/api/pause", post(pause))
        .route("/api/resume", post(resume))
        .route("/api/limits", post(change_limits))
        .route("/api/settle", post(settle))
        .route("/api/wallet/lock", post(lock))
        .route("/api/wallet/unlock", post(unlock))
        .route("/api/wallet/send", post(send))
        .route("/api/gateway/keys", get(keys).post(create_key))
        .route("/api/gateway/keys/{id}/revoke", post(revoke_key))
        .route("/api/streams", get(streams))
        .route("/api/offers", get(offers))
        .route("/api/play", post(play))
        .route("/api/stop", post(stop_node))
        .fallback(|| async { ControlError::new(ErrorCode::NotFound, "the control API has no such address") })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

type Answer<T> = Result<Json<T>, ControlError>;
type Body<T> = Result<Json<T>, JsonRejection>;

fn body<T>(body: Body<T>) -> Result<T, ControlError> {
    body.map(|Json(value)| value).map_err(|error| ControlError::new(ErrorCode::BadRequest, error.body_text()))
}

async fn status(State(control): State<Control>) -> Json<Status> {
    Json(control.status().await)
}

/// Each section of the status once, then those that change, as events named after the section.
async fn changes(
    State(control): State<Control>,
    stop: CancellationToken,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let known: HashMap<String, Value> = HashMap::new();
    let state = (control, known, true);
    let batches = stream::unfold(state, move |(control, mut known, first)| {
        let stop = stop.clone();
        async move {
            if !first && stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return None;
            }
            let Ok(Value::Object(sections)) = serde_json::to_value(control.status().await) else {
                return None;
            };
            let mut events = Vec::new();
            for (name, section) in sections {
                if known.get(&name) != Some(&section) {
                    events.push(Ok(Event::default().event(&name).data(section.to_string())));
                    known.insert(name, section);
                }
            }
            Some((stream::iter(events), (control, known, false)))
        }
    });
    Sse::new(futures::StreamExt::flatten(batches)).keep_alive(KeepAlive::default())
}

#[derive(Deserialize)]
struct EarningsQuery {
    side: Option<JobSide>,
    limit: Option<u32>,
}

async fn earnings(State(control): State<Control>, Query(query): Query<EarningsQuery>) -> Answer<Earnings> {
    control
        .earnings(query.side.unwrap_or(JobSide::Provider), query.limit.unwrap_or(50).min(1_000))
        .await
        .map(Json)
}

async fn pause(State(control): State<Control>, request: Body<Pause>) -> Answer<Status> {
    control.pause(body(request)?).await?;
    Ok(Json(control.status().await))
}

async fn resume(State(control): State<Control>) -> Answer<Status> {
    control.resume().await?;
    Ok(Json(control.status().await))
}

async fn change_limits(State(control): State<Control>, request: Body<ChangeLimits>) -> Answer<Status> {
    control.change_limits(body(request)?)?;
    Ok(Json(control.status().await))
}

async fn settle(State(control): State<Control>) -> Answer<Settled> {
    control.settle().await.map(Json)
}

async fn lock(State(control): State<Control>) -> Answer<Status> {
    control.lock();
    Ok(Json(control.status().await))
}

async fn unlock(State(control): State<Control>, request: Body<Unlock>) -> Answer<Status> {
    control.unlock(body(request)?).await?;
    Ok(Json(control.status().await))
}

async fn send(State(control): State<Control>, request: Body<SendCoins>) -> Answer<SentTransaction> {
    control.send(body(request)?).await.map(Json)
}

async fn keys(State(control): State<Control>) -> Answer<Vec<KeyRow>> {
    control.keys().await.map(Json)
}

async fn create_key(State(control): State<Control>, request: Body<CreateKey>) -> Answer<CreatedKey> {
    control.create_key(body(request)?).await.map(Json)
}

async fn revoke_key(State(control): State<Control>, Path(id): Path<String>) -> Answer<Value> {
    control.revoke_key(&id).await?;
    Ok(Json(json!({})))
}

async fn offers(State(control): State<Control>) -> Answer<Vec<OfferRow>> {
    control.offers().map(Json)
}

async fn streams(State(control): State<Control>) -> Answer<Vec<StreamRow>> {
    control.streams().await.map(Json)
}

async fn play(State(control): State<Control>, request: Body<Play>) -> Answer<Playing> {
    control.play(body(request)?).await.map(Json)
}

async fn stop_node(State(control): State<Control>) -> Json<Value> {
    control.stop();
    Json(json!({}))
}
