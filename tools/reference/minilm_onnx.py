"""all-MiniLM-L6-v2 as an ONNX graph, written out operator by operator from its safetensors file.

The registry package has no ONNX file, and an exporter would drag in PyTorch. The graph takes `ids` and `mask`
(int64, batch x tokens) and gives `vectors` (float32, batch x 384, unit length).
"""

import json
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


def build(folder: Path) -> bytes:
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    graph = Graph(weights)
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head, eps = width // heads, config["layer_norm_eps"]

    words = graph.op("Gather", graph.weight("embeddings.word_embeddings.weight"), "ids")
    length = graph.op("Shape", "ids", start=1, end=2)
    positions = graph.op("Slice", graph.weight("embeddings.position_embeddings.weight"), graph.ints([0]), length, graph.ints([0]))
    kind = graph.constant(weights["embeddings.token_type_embeddings.weight"][0])
    x = graph.op("Add", graph.op("Add", words, positions), kind)
    x = graph.layer_norm(x, "embeddings.LayerNorm", eps)

    seen = graph.op("Cast", "mask", to=TensorProto.FLOAT)
    hidden = graph.op("Mul", graph.op("Sub", graph.floats(1.0), seen), graph.floats(-1e30))
    hidden = graph.op("Unsqueeze", hidden, graph.ints([1, 2]))
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        query, key, value = (graph.heads(graph.linear(x, f"{at}.attention.self.{part}"), heads, head) for part in ("query", "key", "value"))
        scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = graph.op("Add", graph.op("Div", scores, graph.floats(math.sqrt(head))), hidden)
        mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value)
        mixed = graph.op("Reshape", graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), graph.ints([0, 0, width]))
        mixed = graph.linear(mixed, f"{at}.attention.output.dense")
        x = graph.layer_norm(graph.op("Add", x, mixed), f"{at}.attention.output.LayerNorm", eps)
        wide = graph.gelu(graph.linear(x, f"{at}.intermediate.dense"))
        x = graph.layer_norm(graph.op("Add", x, graph.linear(wide, f"{at}.output.dense")), f"{at}.output.LayerNorm", eps)

    weight = graph.op("Unsqueeze", seen, graph.ints([2]))
    total = graph.op("ReduceSum", graph.op("Mul", x, weight), graph.ints([1]), keepdims=0)
    mean = graph.op("Div", total, graph.op("ReduceSum", weight, graph.ints([1]), keepdims=0))
    length = graph.op("ReduceL2", mean, graph.ints([1]), keepdims=1)
    graph.nodes.append(helper.make_node("Div", [mean, length], ["vectors"]))

    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("ids", "mask")]
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", width])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "minilm", inputs, outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.initializers, self.count = weights, [], [], 0

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def op(self, kind, *inputs, **attributes):
        out = self.name()
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def constant(self, array):
        name = self.name()
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, values):
        return self.constant(np.array(values, dtype=np.int64))

    def floats(self, value):
        return self.constant(np.array(value, dtype=np.float32))

    def weight(self, key):
        return self.constant(self.weights[key])

    def linear(self, x, key):
        return self.op("Add", self.op("MatMul", x, self.constant(self.weights[f"{key}.weight"].T)), self.weight(f"{key}.bias"))

    def layer_norm(self, x, key, eps):
        return self.op("LayerNormalization", x, self.weight(f"{key}.weight"), self.weight(f"{key}.bias"), axis=-1, epsilon=eps)

    def heads(self, x, heads, head):
        return self.op("Transpose", self.op("Reshape", x, self.ints([0, 0, heads, head])), perm=[0, 2, 1, 3])

    def gelu(self, x):
        error = self.op("Erf", self.op("Div", x, self.floats(math.sqrt(2.0))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", error, self.floats(1.0))), self.floats(0.5))
