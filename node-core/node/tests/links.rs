//! The node's program links neither GStreamer nor a GPU driver: those belong to its worker programs (design section 2).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn the_node_links_neither_gstreamer_nor_a_gpu_driver() {
    let listed =
        Command::new("ldd").arg(env!("CARGO_BIN_EXE_thetis")).output().expect("ldd is part of libc-bin");
    assert!(listed.status.success(), "ldd failed: {}", String::from_utf8_lossy(&listed.stderr));
    let libraries = String::from_utf8_lossy(&listed.stdout).to_lowercase();
    assert!(libraries.contains("libc.so"), "ldd printed nothing to check: {libraries}");
    for forbidden in ["libgst", "libglib", "vulkan", "libgl.", "libegl", "libcuda"] {
        assert!(!libraries.contains(forbidden), "the node links {forbidden}:\n{libraries}");
    }
}
