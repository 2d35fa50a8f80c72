#!/usr/bin/env bash
. "$(dirname "$0")/steps.sh"
step "Set-up" need_to_build
step "Format" cargo fmt --all --check
step "Clippy" cargo clippy --workspace --all-targets -- -D warnings
step "Dependency directions" tools/check-dependencies.py
