#!/usr/bin/env python3
"""Measures the compute worker beside onnxruntime and llama.cpp on one thread of the processor, and its own runtime for chats
on the processor beside burn's.

    inference.py WORKER

WORKER is a release build of `thetis-compute`. Each figure is the best of several runs, because other work on the machine
only ever makes a run slower; both sides of a row run in turns.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "reference"))
MODELS = Path(os.environ.get("THETIS_MODELS") or ROOT / "models")
RUNS = 5
TOKENS = 64
SHORT = "The quick brown fox jumps over the lazy dog."
LONG = "Each voucher carries a total counted from the last settlement, so a lost one costs nothing. " * 10


def main():
    figures = [sys.executable, str(ROOT / "bench" / "figures.py"), "add"]
    for row in (*embeddings_rows(), *chat_rows()):
        figure = [row["what"], str(row["ours"]), row["unit"], str(row["peer"]), row["name"]]
        subprocess.run([*figures, *figure], check=True)


class Worker:
    def __init__(self, device="cpu"):
        self.process = subprocess.Popen(
            [sys.argv[1], "--device", device, "--threads", "1", "--models", str(MODELS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.jobs = 0
        self.read()

    def read(self):
        length, = struct.unpack(">I", self.process.stdout.read(4))
        return json.loads(self.process.stdout.read(length))

    def events(self, task):
        """The events of a task, each with the time at which it came."""
        self.jobs += 1
        job = f"job_{self.jobs:032x}"
        body = json.dumps({"command": "start", "job": job, "task": task}).encode()
        self.process.stdin.write(struct.pack(">I", len(body)) + body)
        self.process.stdin.flush()
        while True:
            event = self.read()
            yield time.perf_counter(), event
            if event["event"] in ("embedded", "chatted", "failed"):
                assert event["event"] != "failed", event
                return


def place(model, role):
    registry = json.loads((ROOT / "compute" / "registry.json").read_text())["models"]
    files = next(entry["files"] for entry in registry if entry["id"] == model)
    return MODELS / next(file["blake3"] for file in files if file["role"] == role)


def embeddings_rows():
    import minilm_onnx
    import onnxruntime
    from tokenizers import Tokenizer

    model = "all-minilm-l6-v2"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").symlink_to(place(model, "config"))
        (Path(folder) / "model.safetensors").symlink_to(place(model, "weights"))
        session = onnxruntime.InferenceSession(minilm_onnx.build(Path(folder)), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(place(model, "tokenizer")))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    worker = Worker()
    for what, inputs in (("a short sentence", [SHORT]), ("a long text", [LONG]), ("16 short sentences", [SHORT] * 16)):
        def ours():
            list(worker.events({"task": "embeddings", "model": model, "inputs": inputs}))

        def peer():
            ids = np.array([encoding.ids for encoding in tokenizer.encode_batch(inputs)], dtype=np.int64)
            session.run(None, {"ids": ids, "mask": np.ones_like(ids)})

        ours_s, peer_s = in_turns(ours, peer)
        yield {"what": f"embeddings, {what}", "ours": len(inputs) / ours_s, "peer": len(inputs) / peer_s,
               "unit": "texts/s", "name": f"onnxruntime {onnxruntime.__version__}"}
    worker.process.stdin.close()


def chat_rows():
    import xllamacpp

    model = "smollm2-135m-instruct"
    params = xllamacpp.CommonParams()
    params.model.path = str(place(model, "gguf"))
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 2048, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    worker, burn = Worker(), Worker("flex")
    messages = [{"role": "user", "content": LONG + "Tell me a long story about this."}]
    sampling = {"temperature": 0.0, "top_p": 1.0, "seed": 1}
    order = {"task": "chat", "model": model, "messages": messages, "max_tokens": TOKENS, "sampling": sampling, "stop": []}
    ours, burns, peers = ({"prompt": 0.0, "answer": 0.0} for _ in range(3))
    for _ in range(RUNS):
        for best, program in ((ours, worker), (burns, burn)):
            start = time.perf_counter()
            events = list(program.events(order))
            first, last = events[0][0], events[-1][0]
            note(best, events[-1][1]["prompt_tokens"] / (first - start), (len(events) - 2) / (last - first))
        answer = server.handle_chat_completions({
            "messages": messages, "max_tokens": TOKENS, "temperature": 0, "cache_prompt": False, "ignore_eos": True,
        })
        timings = (json.loads(answer) if isinstance(answer, (str, bytes)) else answer)["timings"]
        note(peers, timings["prompt_per_second"], timings["predicted_per_second"])
    worker.process.stdin.close()
    burn.process.stdin.close()
    for name, peer in ((f"llama.cpp (xllamacpp {xllamacpp.__version__})", peers), ("burn Flex, in the same program", burns)):
        for part in ("prompt", "answer"):
            yield {"what": f"chat, {part}", "ours": ours[part], "peer": peer[part], "unit": "tokens/s", "name": name}


def note(best, prompt, answer):
    best["prompt"], best["answer"] = max(best["prompt"], prompt), max(best["answer"], answer)


def in_turns(*functions):
    """Seconds of the best run of each."""
    best = [float("inf")] * len(functions)
    for _ in range(RUNS):
        for at, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[at] = min(best[at], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
