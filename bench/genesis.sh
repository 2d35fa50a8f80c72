#!/usr/bin/env bash
# Reads and verifies the genesis of the main network: every account, the state root, the block's hash. The figure of the reference client
# (validate and import) is the one that was measured on a machine of this kind.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-../shared/data/mainnet-genesis.gz}
reference=0.73
[ -e "$file" ] || { echo "skipped: $file is missing"; exit 0; }
thetis=${CARGO_TARGET_DIR:-target}/release/thetis
runs=()
for _ in 1 2 3 4 5; do
  runs+=("$( { TIMEFORMAT='%R'; time "$thetis" genesis inspect "$file" --json >/dev/null; } 2>&1 )")
done
median=$(printf '%s\n' "${runs[@]}" | sort -n | sed -n 3p)
awk -v ours="$median" -v theirs="$reference" 'BEGIN {
  printf "mainnet genesis, 26,352 accounts, whole process\n  ratio %.2f   ours %.2f s   reference client %.2f s\n", theirs / ours, ours, theirs }'
