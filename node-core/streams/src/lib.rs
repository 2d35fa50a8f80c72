//! Stream manifests, the segment store, HLS playlists and the loopback origin.
