#!/usr/bin/env bash
# What a node costs that has nothing to do: memory and processor of `thetis serve` with its chain on the local network, and without one.
set -euo pipefail
cd "$(dirname "$0")/.."
thetis=${CARGO_TARGET_DIR:-target}/release/thetis
seconds=${1:-30}
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
(umask 077; echo bench > "$work/passphrase")
ports=(--set control.listen=127.0.0.1:0 --set player.listen=127.0.0.1:0 --set chain.rpc_listen=127.0.0.1:0
  --set 'mesh.listen=["/ip4/127.0.0.1/udp/0/quic-v1"]')

measure() {
  local name=$1 pid=$2 before after memory
  sleep 5
  before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
  sleep "$seconds"
  after=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
  memory=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup")
  bench/figures.py add "idle node $name: memory" "$(awk -v kb="$memory" 'BEGIN { print kb / 1024 }')" 'MiB'
  bench/figures.py add "idle node $name: processor" \
    "$(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" 'BEGIN { print 100 * t / hz / s }')" '% of a core'
}

start() {
  "$thetis" init --data "$work/$1" --passphrase-file "$work/passphrase" "${ports[@]}" "${@:2}" >/dev/null
  "$thetis" serve --data "$work/$1" --passphrase-file "$work/passphrase" >"$work/$1.log" 2>&1 &
  pids+=($!)
  until [ -e "$work/$1/owner.json" ]; do sleep 0.1; done
}

start chain
measure "with its own chain, a block a second" "${pids[0]}"
rpc=$(python3 - "$work/chain/owner.json" <<'PY'
import json, sys, urllib.request
owner = json.load(open(sys.argv[1]))
request = urllib.request.Request(owner["control"] + "/api/status", headers={"Authorization": "Bearer " + owner["token"]})
print(json.load(urllib.request.urlopen(request))["chain"]["rpc"])
PY
)
start edge --rpc "$rpc"
measure "over the RPC of another node" "${pids[1]}"
