#!/usr/bin/env bash
# Every measurement, each beside a peer; the tables of docs/benchmarks.md. Run it on a machine that does nothing else.
. "$(dirname "$0")/steps.sh"
set_up() {
  need_to_build
  need_apt "the peers (nginx, ffmpeg)" nginx-light ffmpeg curl
}
step "Set-up" set_up
step "Models" tools/models.sh
step "Build" cargo build --release --workspace --bins
step "Genesis import" bench/genesis.sh
step "Block execution" cargo bench -p theta-ledger --bench block_execution
step "Relay" bench/relay.sh
step "Segments over the overlay" cargo bench -p edge-mesh --bench segment_transfer
step "Ladder" bench/ladder.sh
step "Inference" bench/inference/run.sh
step "An idle node" bench/idle.sh
