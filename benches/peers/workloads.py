"""The fixed workload list, and the files that every runtime reads: weights, graphs, inputs, expected outputs.

    target/peers/<name>/weights.safetensors   PyTorch's state_dict, f32
                        model.onnx            the same network as ONNX nodes; model_lengths.onnx with sequence_lens
                        data.safetensors      input [T, B, I] f32, output [T, B, D*H] of the f64 oracle (as f32)
                        data_lengths.safetensors   the same with lengths [B] i32; output is 0 beyond a length
                        workload.json         the numbers below

Everything is seeded by the workload's name. The oracle is PyTorch in float64.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from torch.nn.utils import rnn as packing

# Raise it when what is written changes: old folders are made again.
FORMAT = 1
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
# PyTorch's gate order -> ONNX's: LSTM i f g o -> i o f c; GRU r z n -> z r h.
ONNX_ORDER = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}


@dataclass(frozen=True)
class Workload:
    """One network and shape: I, H, B, T of kernels' letters, L layers, D directions."""

    name: str
    cell: str
    inputs: int
    hidden: int
    batch: int
    steps: int
    layers: int = 1
    directions: int = 1
    lengths: bool = False

    @property
    def base(self):
        """The folder's name: with and without lengths share weights and input."""
        return self.name.removesuffix("-lengths")

    @property
    def flops(self):
        """Multiply-adds count twice; all steps of all sequences, padding included."""
        total = 0
        for layer in range(self.layers):
            width = self.inputs if layer == 0 else self.hidden * self.directions
            total += 2 * GATES[self.cell] * self.hidden * (width + self.hidden) * self.directions
        return total * self.batch * self.steps


def workload(cell, inputs, hidden, batch, steps, layers=1, directions=1):
    stack = f"-L{layers}D{directions}" if layers * directions > 1 else ""
    name = f"{cell}-I{inputs}-H{hidden}-B{batch}-T{steps}{stack}"
    return Workload(name, cell, inputs, hidden, batch, steps, layers, directions)


PLAIN = [
    workload("rnn", 64, 128, 1, 1000),
    workload("rnn", 128, 256, 64, 256),
    workload("rnn", 256, 512, 512, 100),
    workload("rnn", 1024, 1760, 16, 50),
    workload("lstm", 512, 512, 16, 25),
    workload("lstm", 80, 256, 8, 300, layers=2, directions=2),
    workload("gru", 128, 256, 64, 256),
]


def workloads(quick=False):
    """The list; `quick` cuts T to a tenth (at least 5). One sequence alone has no lengths to differ."""
    plain = PLAIN
    if quick:
        plain = [workload(w.cell, w.inputs, w.hidden, w.batch, max(w.steps // 10, 5), w.layers, w.directions)
                 for w in PLAIN]
    lengths = [Workload(**{**asdict(w), "name": f"{w.name}-lengths", "lengths": True}) for w in plain if w.batch > 1]
    return plain + lengths


def draw_lengths(generator, batch, steps):
    """Log-normal (sigma 0.6, median 0.4 T), between 1 and T; the longest is T."""
    drawn = np.exp(generator.normal(np.log(0.4 * steps), 0.6, batch))
    lengths = np.clip(np.round(drawn), 1, steps).astype(np.int32)
    lengths[lengths.argmax()] = steps
    return lengths


def build_module(w):
    torch.manual_seed(zlib.crc32(w.base.encode()))
    return MODULES[w.cell](w.inputs, w.hidden, w.layers, bidirectional=w.directions == 2)


@torch.inference_mode()
def expected(module, x, lengths=None):
    """The oracle's output [T, B, D*H], 0 beyond the lengths."""
    x = torch.from_numpy(x).double()
    if lengths is None:
        output = module(x)[0]
    else:
        packed = packing.pack_padded_sequence(x, torch.from_numpy(lengths).long(), enforce_sorted=False)
        output, _ = packing.pad_packed_sequence(module(packed)[0], total_length=x.shape[0])
    return output.float().numpy()


def onnx_model(w, weights, with_lengths):
    """One RNN, LSTM or GRU node a layer; a transpose and a reshape join two directions."""
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def gates(stem, layer):
        """[D, G*H, ...] with the gates in ONNX's order."""
        rows = []
        for suffix in ("", "_reverse")[: w.directions]:
            parts = np.split(weights[f"{stem}_l{layer}{suffix}"], GATES[w.cell])
            rows.append(np.concatenate([parts[gate] for gate in ONNX_ORDER[w.cell]]))
        return np.stack(rows)

    current = "x"
    width = w.directions * w.hidden
    for layer in range(w.layers):
        bias = np.concatenate([gates("bias_ih", layer), gates("bias_hh", layer)], axis=1)
        inputs = [current, constant(f"W{layer}", gates("weight_ih", layer)),
                  constant(f"R{layer}", gates("weight_hh", layer)), constant(f"B{layer}", bias),
                  *(["lengths"] if with_lengths else [])]
        attributes = {"hidden_size": w.hidden, "direction": "bidirectional" if w.directions == 2 else "forward"}
        if w.cell == "gru":
            attributes["linear_before_reset"] = 1
        nodes.append(helper.make_node(w.cell.upper(), inputs, [f"y{layer}"], f"layer{layer}", **attributes))
        current = f"h{layer}" if layer + 1 < w.layers else "output"
        nodes.append(helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        shape = constant(f"shape{layer}", np.array([w.steps, w.batch, width], np.int64))
        nodes.append(helper.make_node("Reshape", [f"t{layer}", shape], [current]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [w.steps, w.batch, w.inputs])]
    if with_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [w.batch]))
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [w.steps, w.batch, width])
    graph = helper.make_graph(nodes, w.base, inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def write(root, w):
    """The folder of a workload, made unless it is there."""
    folder = Path(root) / w.base
    suffix = "_lengths" if w.lengths else ""
    stamp = folder / f"made{suffix}"
    if stamp.exists() and stamp.read_text() == str(FORMAT):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    module = build_module(w)
    weights = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    generator = np.random.default_rng(zlib.crc32(w.base.encode()))
    x = generator.standard_normal((w.steps, w.batch, w.inputs), np.float32)
    lengths = draw_lengths(generator, w.batch, w.steps) if w.lengths else None
    data = {"input": x, "output": expected(module.double(), x, lengths)}
    if w.lengths:
        data["lengths"] = lengths
    save_file(weights, folder / "weights.safetensors")
    save_file(data, folder / f"data{suffix}.safetensors")
    onnx.save(onnx_model(w, weights, w.lengths), folder / f"model{suffix}.onnx")
    (folder / f"workload{suffix}.json").write_text(json.dumps(asdict(w)))
    stamp.write_text(str(FORMAT))
    return folder
