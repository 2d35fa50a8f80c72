#!/usr/bin/env bash
# Every measurement, each beside a peer where there is one; ends in one table, which docs/benchmarks.md keeps. Run it on a machine that does
# nothing else.
. "$(dirname "$0")/steps.sh"
THETIS_FIGURES=$(mktemp)
export THETIS_FIGURES
trap 'rm -f "$THETIS_FIGURES"' EXIT
set_up() {
  need_to_build
  need_peers
}
criterion_benches() {
  cargo bench --workspace --bench block_execution --bench segment_transfer
  bench/figures.py criterion "$(target_dir)/criterion"
}
step "Set-up" set_up
step "Models" tools/models.sh
step "Build" cargo build --release --workspace --bins --examples
step "Genesis import" bench/genesis.sh
step "Block execution, and segments over the mesh" criterion_benches
step "Relay" bench/relay.sh
step "Ladder" bench/ladder.sh
step "Inference" bench/inference/run.sh
step "An idle node" bench/idle.sh
say "Figures of $(uname -sm), $(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)"
bench/figures.py show
