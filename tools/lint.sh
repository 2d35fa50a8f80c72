#!/usr/bin/env bash
# Format, the rules of ARCHITECTURE.md, and clippy.
. "$(dirname "$0")/steps.sh"
tools/rules.sh
step "Clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
