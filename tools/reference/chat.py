#!/usr/bin/env python3
"""Makes testdata/compute/chat.json: what llama.cpp says to five conversations, greedily.

    chat.py FILE.gguf

Run once, with the packages of requirements.txt. For each conversation the file has the text that jinja2 renders from
the model's own template, llama.cpp's token ids of it, and 32 greedy steps with the likeliest tokens and their log
probabilities.

llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights. To know how much that moves, the
script writes the same weights as 32-bit floats into a second file and asks llama.cpp again, step by step behind the same
text. Each entry of `top` is (token, log probability, the same without the rounding).
"""

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

import gguf
import jinja2
import xllamacpp

STEPS = 32
LIKELIEST = 8
# Enough to find every one of the likeliest again in the other run.
SEARCHED = 400

CONVERSATIONS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    [
        {"role": "user", "content": "My name is Ada and I am 36 years old."},
        {"role": "assistant", "content": "Nice to meet you, Ada!"},
        {"role": "user", "content": "Write a story about me and my age."},
    ],
    [{"role": "user", "content": "Write a Python function that adds two numbers:\n\n```python\ndef add(a, b):\n```"}],
    [{"role": "user", "content": "Tell me about the café „Straße 1234“ in Zürich – très chic! 日本語 🎬"}],
]


class LlamaCpp:
    def __init__(self, model, exact):
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx, params.n_parallel, params.n_gpu_layers = 2048, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if exact:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self.server = xllamacpp.Server(params)

    def post(self, path, body):
        request = urllib.request.Request(
            self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return json.loads(urllib.request.urlopen(request).read())

    def complete(self, prompt, steps, likeliest):
        return self.post("/completion", {
            "prompt": prompt, "temperature": 0, "n_predict": steps, "n_probs": likeliest, "cache_prompt": False,
        })


def main():
    model = Path(sys.argv[1])
    data = Path(__file__).resolve().parents[2] / "testdata" / "compute"
    reader = gguf.GGUFReader(model)
    template = jinja2.Environment().from_string(reader.fields["tokenizer.chat_template"].contents())
    rounding = LlamaCpp(model, exact=False)
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "f32.gguf"
        write_f32(reader, wide)
        exact = LlamaCpp(wide, exact=True)
        records = [record(messages, template, rounding, exact) for messages in CONVERSATIONS]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in records)
    made_with = json.dumps(f"xllamacpp {xllamacpp.__version__}")
    (data / "chat.json").write_text(f'{{"made_with":{made_with},"conversations":[\n{lines}\n]}}\n')


def record(messages, template, rounding, exact):
    rendered = template.render(messages=messages, add_generation_prompt=True)
    prompt = rounding.post("/tokenize", {"content": rendered, "parse_special": True, "add_special": True})["tokens"]
    answer = rounding.complete(rendered, STEPS, LIKELIEST)
    text, steps, largest = list(prompt), [], 0.0
    for step in answer["completion_probabilities"]:
        other = exact.complete(text, 1, SEARCHED)["completion_probabilities"][0]["top_logprobs"]
        known = {entry["id"]: entry["logprob"] for entry in other}
        top = [[entry["id"], round(entry["logprob"], 5), round(known[entry["id"]], 5)] for entry in step["top_logprobs"]]
        largest = max([largest, *(abs(rounded - right) for _, rounded, right in top)])
        steps.append({"token": step["id"], "exact": other[0]["id"], "top": top})
        text.append(step["id"])
    print(f"{len(prompt)} + {len(steps)} tokens, rounding moves up to {largest:.3f}: {answer['content']!r}")
    return {"messages": messages, "rendered": rendered, "prompt_tokens": prompt, "text": answer["content"], "steps": steps}


def write_f32(reader, path):
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
