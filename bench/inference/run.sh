#!/usr/bin/env bash
# Embeddings against onnxruntime and chat against llama.cpp, on the processor, one thread each. Prints a table.
. "$(dirname "$0")/../../tools/steps.sh"
set_up() {
  need_rust
  need_apt "the peers (pip in a venv)" "${MODEL_PACKAGES[@]}"
  tools/models.sh
  echo "    installing for comparison, in .venv: onnxruntime, llama.cpp (xllamacpp) and what they need (PyPI)"
  .venv/bin/pip install --quiet --disable-pip-version-check -r tools/reference/requirements.txt
}
step "Set-up" set_up
# As `make bench` builds them: with other targets, shared crates would have other features and be compiled anew.
step "Build" cargo build --release --workspace --bins --examples
step "Inference" .venv/bin/python bench/inference/inference.py "$(target_dir)/release/thetis-compute"
