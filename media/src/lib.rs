//! The media worker: video in, HLS ladder out.
