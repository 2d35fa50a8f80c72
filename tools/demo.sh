#!/usr/bin/env bash
# Five nodes on this machine do the main job; see e2e/demo.mjs.
. "$(dirname "$0")/steps.sh"
set_up() {
  need_to_build
  need_apt "playing the stream" "${BROWSER_PACKAGES[@]}"
  need_e2e
}
step "Set-up" set_up
step "Models" tools/models.sh
step "Build" build_programs
step "Demo" env THETIS_BIN="$(target_dir)/debug" node e2e/demo.mjs
