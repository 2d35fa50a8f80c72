#!/usr/bin/env bash
# The genesis of the main network, into a new database: every account is read, the state root computed and compared, all of it stored in
# one durable batch. The best of five processes. The reference client's figure is for the same on a machine of the same kind
# (docs/benchmarks.md says how it was measured); REFERENCE_SECONDS replaces it.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-../shared/data/mainnet-genesis.gz}
[ -e "$file" ] || { echo "skipped: $file is missing"; exit 0; }
cargo build --quiet --release --workspace --example import_genesis
import=${CARGO_TARGET_DIR:-target}/release/examples/import_genesis
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TIMEFORMAT='%R'
best=$(for run in 1 2 3 4 5; do { time "$import" "$file" "$work/$run" >/dev/null; } 2>&1; done | sort -n | head -n 1)
figure=(add "mainnet genesis, 26,352 accounts, imported" "$best" "s")
[ -z "${REFERENCE_SECONDS:-}" ] || figure+=("$REFERENCE_SECONDS" 'reference client' lower)
bench/figures.py "${figure[@]}"
