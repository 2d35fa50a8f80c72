//! Stream manifests, the segment store, HLS playlists and the loopback origin.
//!
//! A stream is a signed [`Manifest`] that names every segment by its BLAKE3 hash, so that a segment can come from anybody and is
//! still the creator's. This crate owns what a stream is, where its bytes lie on this disk, and how a player gets them. It does
//! not know who has a segment or what it costs: the [`Origin`] asks a [`StreamSource`] for what the [`SegmentStore`] lacks. It links no
//! media library; the segments are made elsewhere.
#![warn(missing_docs)]

mod id;
mod manifest;
mod origin;
mod playlist;
mod store;

pub use id::{StreamId, StreamIdError};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, SignedManifest};
pub use origin::{Origin, SourceError, StreamSource, player_is_built};
pub use playlist::{master_playlist, media_playlist};
pub use store::{SegmentStore, StoreError, StoreUsage};
