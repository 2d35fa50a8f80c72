#!/usr/bin/env bash
# Every test of the project. The demo is the last: it uses all of it.
. "$(dirname "$0")/steps.sh"
set_up() {
  need_to_build
  need_apt "making test videos" "${VIDEO_TEST_PACKAGES[@]}"
  need_apt "testing the keyring" "${KEYRING_TEST_PACKAGES[@]}"
  need_apt "testing discovery in a network of its own" "${NETWORK_TEST_PACKAGES[@]}"
  need_apt "playing the stream" "${BROWSER_PACKAGES[@]}"
  need_e2e
}
step "Set-up" set_up
step "Models" tools/models.sh
step "Build" without_warnings cargo build --workspace --all-targets --locked
step "Crate tests" cargo test --workspace --locked --no-fail-fast
step "Tests of the demo's own tools" node --test e2e/chain-audit.test.mjs
step "Demo" env THETIS_BIN="$(target_dir)/debug" node e2e/demo.mjs
say "All tests passed after $(minutes $SECONDS) min"
