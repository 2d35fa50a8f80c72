#!/usr/bin/env bash
# Segments of 2 MB from disk over loopback, 16 connections: our origin (which checks each segment's hash) against nginx with sendfile.
# Prints GB per second of server CPU, ratio first.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
seconds=${1:-8}
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

cargo build --quiet --release --workspace --example serve_segments
"$target/release/examples/serve_segments" "$work/store" 32 2000000 > "$work/ours" &
pids+=($!)
ours=$!
until [ "$(wc -l < "$work/ours" 2>/dev/null || echo 0)" -ge 33 ]; do sleep 0.1; done

mkdir -p "$work/www"
n=0
for file in "$work"/store/*/*; do ln "$file" "$work/www/$n.ts"; n=$((n + 1)); done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$work/nginx.conf" <<CONF
daemon off; worker_processes auto; pid $work/nginx.pid; error_log $work/nginx.err;
user $(id -un);
events { worker_connections 256; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; server { listen 127.0.0.1:$port; root $work/www; } }
CONF
nginx -c "$work/nginx.conf" -p "$work" &
pids+=($!)
until curl -sf -o /dev/null "http://127.0.0.1:$port/0.ts"; do sleep 0.1; done

# CPU seconds of a process and its children.
cpu() {
  local total=0 pid stat
  for pid in "$1" $(pgrep -P "$1"); do
    stat=$(cut -d' ' -f14,15 "/proc/$pid/stat" | tr ' ' '+')
    total=$((total + stat))
  done
  echo $total
}

# load NAME PID BASE PATHS-FILE: prints bytes, seconds and CPU ticks.
load() {
  local before after result
  before=$(cpu "$1")
  result=$(python3 bench/http_load.py "$2" "$3" "$seconds" 16) || return 1
  after=$(cpu "$1")
  echo "$result $((after - before))"
}

tail -n +2 "$work/ours" > "$work/our-paths"
seq 0 31 | sed 's#.*#/&.ts#' > "$work/nginx-paths"
nginx_pid=$(cat "$work/nginx.pid")
# In two steps each, so that a load that fails ends the script.
result=$(load "$ours" "$(head -n 1 "$work/ours")" "$work/our-paths")
read -r our_bytes our_seconds our_ticks <<< "$result"
result=$(load "$nginx_pid" "http://127.0.0.1:$port" "$work/nginx-paths")
read -r their_bytes their_seconds their_ticks <<< "$result"
per_cpu_second() { awk -v bytes="$1" -v ticks="$2" -v hz="$(getconf CLK_TCK)" 'BEGIN { print bytes / 1e9 / (ticks / hz) }'; }
per_second() { awk -v bytes="$1" -v seconds="$2" 'BEGIN { print bytes / 1e9 / seconds }'; }
bench/figures.py add 'relay of 2 MB segments, 16 connections' "$(per_cpu_second "$our_bytes" "$our_ticks")" 'GB per CPU-second' \
  "$(per_cpu_second "$their_bytes" "$their_ticks")" 'nginx, sendfile'
bench/figures.py add 'the same, with the load on the same cores' "$(per_second "$our_bytes" "$our_seconds")" 'GB/s' \
  "$(per_second "$their_bytes" "$their_seconds")" 'nginx, sendfile'
