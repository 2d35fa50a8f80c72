//! The Theta Video API's part for video on demand (spec 07 section 2.1).

mod create;
mod envelope;
mod extract;
mod read;
mod receive;
mod record;
mod room;
mod shop;
mod upload;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post, put},
};

use self::envelope::VideoApiError;
pub use self::record::{UploadRecord, UploadState, VideoFilter, VideoRecord, VideoState, VideoStore};
pub(crate) use self::{envelope::no_such_page, shop::VideoShop};
use crate::gateway::Parts;

/// A request's body may be this large, except for the bytes of an upload.
const LARGEST_BODY: usize = 1 << 20;

pub(crate) fn routes() -> Router<Arc<Parts>> {
    let talk = Router::new()
        .route("/upload", post(upload::create))
        .route("/video", post(create::create))
        .route("/video/{id}", get(read::one))
        .route("/video/{id}/list", get(read::list))
        .route("/video/{id}/search", get(read::search))
        .layer(DefaultBodyLimit::max(LARGEST_BODY));
    // The upload counts its own bytes against the configured size.
    let bytes = Router::new().route("/upload/{id}", put(receive::receive)).layer(DefaultBodyLimit::disable());
    talk.merge(bytes).method_not_allowed_fallback(|| async { VideoApiError::wrong_method() })
}
