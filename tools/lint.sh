#!/usr/bin/env bash
# Format, clippy and the rules of ARCHITECTURE.md.
. "$(dirname "$0")/steps.sh"
step "Set-up" need_to_build
step "Format" cargo fmt --all --check
step "Dependency directions" tools/check-dependencies.py
step "Clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
