//! The media worker: video file in, HLS ladder out.
//!
//! This crate owns everything that touches GStreamer: saying what a file holds ([`inspect`]), making renditions,
//! segments and still pictures of it ([`transcode`]), and comparing a ladder that somebody else made with its source
//! ([`check`]). The program `thetis-media` is the loop in [`worker`] around these three. The crate knows files and
//! nothing else: no network, no store, no chain, no payment.
//!
//! Sources come from strangers. [`init`] therefore leaves GStreamer only the containers and decoders of the allowed
//! list in `plugins`, none of which follows an address; every wait has an end; every queue has a bound.
#![warn(missing_docs)]

mod check;
mod codecs;
mod decoding;
mod encoder;
mod error;
mod frame_rate;
mod ladder;
mod picture_parameters;
mod pipeline;
mod playlist;
mod plugins;
mod rungs;
mod segment;
mod source;
mod stop;
mod thumbnails;
mod timeline;
mod transcode;
mod transport_stream;
pub mod worker;

pub use check::check;
pub use encoder::Threads;
pub use error::MediaError;
pub use frame_rate::{FrameRate, Pace, SEGMENT_SECONDS};
pub use picture_parameters::PictureSize;
pub use playlist::{MASTER_PLAYLIST, MEDIA_PLAYLIST, master_playlist, media_playlist};
pub use plugins::{init, working_encoders};
pub use rungs::{MAX_RUNGS, Rung, fitting_rungs};
pub use source::{Source, inspect};
pub use stop::Stop;
pub use transcode::{Ladder, Update, transcode};
pub use transport_stream::{TransportSegment, TransportStreamError};
