#!/usr/bin/env bash
# Every test of the project.
. "$(dirname "$0")/steps.sh"
set_up() {
  need_to_build
  need_apt "making test videos" "${VIDEO_TEST_PACKAGES[@]}"
  need_apt "testing the keyring" "${KEYRING_TEST_PACKAGES[@]}"
  need_apt "playing the stream" "${BROWSER_PACKAGES[@]}"
}
step "Set-up" set_up
step "Models" tools/models.sh
step "Build" cargo build --workspace --all-targets
step "Crate tests" cargo test --workspace --no-fail-fast
