//! The HTTP server around a service (spec 06 section 1.1), for programs of this machine.
//!
//! It is stricter than the reference where that protects the machine's owner: no page of another origin may read answers (no CORS
//! headers), a foreign name for this machine in `Host` is turned away (DNS rebinding), bodies and batches are bounded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::envelope;
use crate::service::Service;

/// Where the reference's clients look for a node.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 16888);

/// Bounds of the server.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Requests in a batch.
    pub batch: usize,
    /// Requests at a time; further ones wait.
    pub concurrent: usize,
    /// Time for one request, batch or not.
    pub timeout: Duration,
    /// Names for this machine that may stand in `Host`, besides `localhost` and numeric addresses.
    pub host_names: Vec<String>,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            body_bytes: 2 * 1024 * 1024,
            batch: 100,
            concurrent: 200,
            timeout: Duration::from_secs(60),
            host_names: Vec::new(),
        }
    }
}

struct Server {
    service: Arc<dyn Service>,
    limits: ServerLimits,
    places: Semaphore,
}

/// Serves until `stop` is cancelled; requests under way are answered before it returns.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    service: Arc<dyn Service>,
    limits: ServerLimits,
    stop: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(service, limits)).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// The routes, for a server that has more than these.
pub fn router(service: Arc<dyn Service>, limits: ServerLimits) -> Router {
    let places = Semaphore::new(limits.concurrent);
    Router::new()
        .route("/rpc", any(rpc))
        .route("/", get(|| async { "Theta Node is up and running!" }))
        .with_state(Arc::new(Server { service, limits, places }))
}

async fn rpc(State(server): State<Arc<Server>>, request: Request) -> Response {
    if !host_is_ours(request.headers(), &server.limits.host_names) {
        return empty(StatusCode::FORBIDDEN);
    }
    if request.method() == Method::OPTIONS {
        return empty(StatusCode::OK);
    }
    if request.method() != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    // A page of another origin cannot send this type without asking first, and is told nothing then.
    if !is_json(request.headers()) {
        return empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    match tokio::time::timeout(server.limits.timeout, answer(&server, request.into_body())).await {
        Ok(response) => response,
        Err(_) => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"error": {"message":"Timeout"}}"#.into()),
    }
}

async fn answer(server: &Server, body: Body) -> Response {
    let Ok(_place) = server.places.acquire().await else { return empty(StatusCode::SERVICE_UNAVAILABLE) };
    let Ok(body) = to_bytes(body, server.limits.body_bytes).await else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    match envelope::respond(&*server.service, &body, server.limits.batch).await {
        Some(text) => json(StatusCode::OK, text + "\n"),
        None => empty(StatusCode::NO_CONTENT),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Numeric addresses, `localhost` and the configured names. Another name means that a page made its own name point here.
fn host_is_ours(headers: &HeaderMap, names: &[String]) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host();
    let numeric = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    numeric
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

fn empty(status: StatusCode) -> Response {
    (status, [(CONTENT_TYPE, "application/json")]).into_response()
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}
