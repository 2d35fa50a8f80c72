# Sourced by the scripts beside it: named, timed steps, and the set-up that more than one command needs.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MIN_RUST=1.95.0
MIN_NODE=20.19.0

BUILD_PACKAGES=(build-essential pkg-config)
MEDIA_PACKAGES=(libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav)
VIDEO_TEST_PACKAGES=(ffmpeg)
MODEL_PACKAGES=(python3-venv)
BROWSER_PACKAGES=(chromium)
PEER_PACKAGES=(nginx-light ffmpeg curl python3)
KEYRING_TEST_PACKAGES=(dbus dbus-x11 gnome-keyring)
NETWORK_TEST_PACKAGES=(iproute2 util-linux)

say() { printf '\n==> %s\n' "$*"; }

# step NAME COMMAND...: runs the command, prints the minutes it took.
step() {
  local name=$1 start=$SECONDS status
  shift
  say "$name"
  # In a shell of its own and not in a condition, where `set -e` would be off in everything that the command calls.
  set +e
  (set -e; "$@")
  status=$?
  set -e
  if [ "$status" -ne 0 ]; then
    printf '    %s failed after %s min\n' "$name" "$(minutes $((SECONDS - start)))" >&2
    exit "$status"
  fi
  printf '    %s: %s min\n' "$name" "$(minutes $((SECONDS - start)))"
}

# without_warnings COMMAND...: runs cargo, which repeats the warnings of what it did not need to compile again, and fails when there is any.
without_warnings() {
  local log status=0
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=$?
  if grep -q '^warning' "$log"; then
    echo "    warnings count as errors here" >&2
    status=1
  fi
  rm -f "$log"
  return "$status"
}

minutes() { awk -v s="$1" 'BEGIN { printf "%.1f", s / 60 }'; }

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

need_rust() {
  local found
  found=$(rustc --version 2>/dev/null | awk '{ print $2 }') || true
  if [ -z "$found" ] || ! at_least "$found" "$MIN_RUST"; then
    echo "Thetis needs Rust $MIN_RUST or newer (found: ${found:-none}). Get it from https://rustup.rs, then: rustup toolchain install stable" >&2
    exit 1
  fi
}

need_node() {
  local found
  found=$(node --version 2>/dev/null | tr -d v) || true
  if [ -z "$found" ] || ! at_least "$found" "$MIN_NODE"; then
    echo "Thetis needs Node $MIN_NODE or newer (found: ${found:-none}). Get it from https://nodejs.org or your distribution." >&2
    exit 1
  fi
}

# need_apt WHY PACKAGE...: installs the Debian packages that are missing.
need_apt() {
  local why=$1 package missing=()
  shift
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "    installing for $why: ${missing[*]}"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# need_npm FOLDER WHY: npm ci where the lock file changed since the last time.
need_npm() {
  local folder=$1 why=$2
  if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed-lock"; then
    echo "    npm packages for $why, in $folder"
    rm -f "$folder/node_modules/.installed-lock"
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$folder/package-lock.json" "$folder/node_modules/.installed-lock"
  fi
}

# need_peers: programs to compare with. Debian starts nginx when it is installed; here it only serves a benchmark that starts its own.
need_peers() {
  local policy=/usr/sbin/policy-rc.d
  if ! command -v nginx >/dev/null && [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    # shellcheck disable=SC2064
    trap "rm -f '$policy'" EXIT
  fi
  need_apt "the programs to compare with" "${PEER_PACKAGES[@]}"
}

need_player() { need_npm node-core/streams/player "the player page (hls.js)"; }
need_e2e() { need_npm e2e "driving the browser and the OpenAI client"; }

need_to_build() {
  need_rust
  need_node
  need_apt "building" "${BUILD_PACKAGES[@]}"
  need_apt "the media worker" "${MEDIA_PACKAGES[@]}"
  need_player
}

target_dir() { echo "${CARGO_TARGET_DIR:-$PWD/target}"; }

build_programs() { cargo build --workspace --bins; }
