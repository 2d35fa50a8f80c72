#!/usr/bin/env bash
# What is looked at without compiling: format, and the rules of ARCHITECTURE.md.
. "$(dirname "$0")/steps.sh"
step "Set-up" need_to_build
step "Format" cargo fmt --all --check
step "Dependency directions" tools/check-dependencies.py
