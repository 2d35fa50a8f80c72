//! What the origin answers.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;

use super::{Origin, SourceError, fetch::AHEAD};
use crate::{SignedManifest, StreamId, master_playlist, media_playlist};

const PAGE: &str = include_str!("../../player/player.html");
const STYLE: &str = include_str!("../../player/player.css");
const SCRIPT: &str = include_str!("../../player/player.js");
/// hls.js, or nothing when it was not there at build time (see build.rs).
const HLS_JS: &str = include_str!(concat!(env!("OUT_DIR"), "/hls.min.js"));
/// Nothing from elsewhere is loaded, and nothing but our own script runs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      media-src 'self' blob:; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors *";

/// Whether the player page has hls.js, which browsers without HLS of their own need.
pub fn player_is_built() -> bool {
    !HLS_JS.is_empty()
}

pub fn router(origin: Origin) -> Router {
    Router::new()
        .route("/watch/{stream}", get(watch))
        // Browsers ask for it on their own; there is none.
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/assets/player.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/assets/player.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/assets/hls.min.js", get(|| asset("text/javascript; charset=utf-8", HLS_JS)))
        .route("/hls/{stream}/info.json", get(info))
        .route("/hls/{stream}/master.m3u8", get(master))
        .route("/hls/{stream}/{rendition}/index.m3u8", get(media))
        .route("/hls/{stream}/{rendition}/{segment}", get(segment))
        .route("/hls/{stream}/thumbnails/{number}", get(thumbnail))
        .with_state(origin)
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn watch(Path(stream): Path<String>) -> Response {
    // The page reads the id from its own address; an id that is none gets no page.
    if stream.parse::<StreamId>().is_err() {
        return Problem::BadId.into_response();
    }
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

async fn info(State(origin): State<Origin>, Path(stream): Path<String>) -> Result<Response, Problem> {
    let stream = find(&origin, &stream).await?;
    let manifest = stream.manifest();
    Ok(axum::Json(serde_json::json!({
        "title": manifest.title,
        "creator": manifest.creator,
        "duration_ms": manifest.duration_ms,
        "thumbnails": manifest.thumbnails.len(),
        "renditions": manifest.renditions.iter().map(|r| serde_json::json!({
            "name": r.name, "width": r.width, "height": r.height, "segments": r.segments.len(),
        })).collect::<Vec<_>>(),
    }))
    .into_response())
}

async fn master(State(origin): State<Origin>, Path(stream): Path<String>) -> Result<Response, Problem> {
    Ok(playlist(master_playlist(find(&origin, &stream).await?.manifest())))
}

async fn media(
    State(origin): State<Origin>,
    Path((stream, rendition)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let stream = find(&origin, &stream).await?;
    Ok(playlist(media_playlist(stream.rendition(&rendition).ok_or(Problem::NoSuchPart)?)))
}

async fn segment(
    State(origin): State<Origin>,
    Path((stream, rendition, file)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let stream = find(&origin, &stream).await?;
    let index: usize =
        file.strip_suffix(".ts").and_then(|number| number.parse().ok()).ok_or(Problem::NoSuchPart)?;
    let segments = &stream.rendition(&rendition).ok_or(Problem::NoSuchPart)?.segments;
    let hash = segments.get(index).ok_or(Problem::NoSuchPart)?.hash;
    let next: Vec<_> = segments[index..].iter().skip(1).take(AHEAD).map(|segment| segment.hash).collect();
    origin.fetch.ahead(&stream, next.into_iter());
    let bytes = origin.fetch.segment(stream.clone(), hash).await?;
    Ok(content("video/mp2t", bytes))
}

async fn thumbnail(
    State(origin): State<Origin>,
    Path((stream, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let stream = find(&origin, &stream).await?;
    let number: usize =
        number.strip_suffix(".jpg").and_then(|text| text.parse().ok()).ok_or(Problem::NoSuchPart)?;
    let hash = stream.manifest().thumbnails.get(number).ok_or(Problem::NoSuchPart)?.hash;
    Ok(content("image/jpeg", origin.fetch.segment(stream.clone(), hash).await?))
}

async fn find(origin: &Origin, stream: &str) -> Result<Arc<SignedManifest>, Problem> {
    let id: StreamId = stream.parse().map_err(|_| Problem::BadId)?;
    let found = origin.source.manifest(id).await?;
    // The source is trusted to look, not to answer with another stream.
    if found.id() == id { Ok(found) } else { Err(SourceError::Unknown.into()) }
}

fn playlist(text: String) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/vnd.apple.mpegurl"), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

fn content(kind: &'static str, bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=3600")], bytes).into_response()
}

/// Why a request is not answered, as text for the player page.
enum Problem {
    BadId,
    NoSuchPart,
    Source(SourceError),
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        Problem::Source(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Problem::BadId => (StatusCode::BAD_REQUEST, "a stream id is 32 hex digits".to_owned()),
            Problem::NoSuchPart => (StatusCode::NOT_FOUND, "the stream has no such part".to_owned()),
            Problem::Source(error) => {
                let status = match error {
                    SourceError::Unknown => StatusCode::NOT_FOUND,
                    SourceError::Unavailable(_) => StatusCode::BAD_GATEWAY,
                    SourceError::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
                };
                (status, error.to_string())
            }
        };
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
    }
}
