#!/usr/bin/env python3
"""Makes testdata/compute/embeddings.f32: what onnxruntime says about the sentences of embeddings.json.

    embeddings.py FOLDER      FOLDER holds config.json, model.safetensors and vocab.txt of all-MiniLM-L6-v2

Run once, with the packages of requirements.txt. The tokenizer is the pure-Python one of transformers, so that nothing
is shared with the program under test. The file holds 50 x 384 little-endian floats; token counts go back into the JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from transformers import BertTokenizer

import minilm_onnx

MAX_TOKENS = 256  # max_seq_length of the model's sentence_bert_config.json


def main():
    folder = Path(sys.argv[1])
    data = Path(__file__).resolve().parents[2] / "testdata" / "compute"
    record = json.loads((data / "embeddings.json").read_text())
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    session = onnxruntime.InferenceSession(minilm_onnx.build(folder), providers=["CPUExecutionProvider"])
    vectors, counts = [], []
    for sentence in record["sentences"]:
        ids = tokenizer(sentence, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        row = np.array([ids], dtype=np.int64)
        vectors.append(session.run(None, {"ids": row, "mask": np.ones_like(row)})[0][0])
        counts.append(len(ids))
    vectors = np.array(vectors, dtype="<f4")
    assert vectors.shape == (50, 384) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    (data / "embeddings.f32").write_bytes(vectors.tobytes())
    record["made_with"] = f"onnxruntime {onnxruntime.__version__}, transformers BertTokenizer"
    record["tokens"] = counts
    text = json.dumps(record, ensure_ascii=False, indent=1)
    (data / "embeddings.json").write_text(text + "\n")
    print(f"{len(counts)} sentences, {min(counts)} to {max(counts)} tokens")


if __name__ == "__main__":
    main()
