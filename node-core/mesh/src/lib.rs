//! The libp2p overlay of edge nodes: discovery, offers, and streams for segments and jobs.
