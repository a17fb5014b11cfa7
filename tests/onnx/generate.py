#!/usr/bin/env python3
"""Writes the ONNX fixtures beside this file: whole models as exporters write them.

Layout of a case (ONNX's backend tests): <case>/model.onnx, <case>/test_data_set_0/{input,output}_N.pb.

    python3 -m venv tests/onnx/.venv
    tests/onnx/.venv/bin/pip install -r conformance/requirements-torch.txt
    tests/onnx/.venv/bin/python tests/onnx/generate.py            # all cases
    tests/onnx/.venv/bin/python tests/onnx/generate.py --only lm  # those whose name holds 'lm'

Weights and inputs are seeded per case. The expected outputs of an exported model are PyTorch's, computed
in float64 from the float32 weights and rounded once; those of a hand-built graph are onnxruntime's. Every
case is run through onnxruntime before it is written and must agree within 1e-5.

Cases ending in `_ts` come from torch.onnx.export(dynamo=False), in `_dynamo` from dynamo=True. A model
with dynamic axes is exported at one batch and length and its data uses others. The dynamo exporter of
PyTorch 2.15 knows no RNN operator: it unrolls nn.RNN into MatMul, Add and Tanh for the exported number of
steps, so the RNN cases come from the other exporter alone; neither does it take packed sequences.
"""

import argparse
import io
import logging
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "conformance"))
from layout import write_case  # noqa: E402

SEED = 20261125
TOLERANCE = 1e-5
I, H, CLASSES, VOCABULARY = 4, 6, 3, 11


# --- PyTorch modules ------------------------------------------------------------------------------


class Classifier(nn.Module):
    """A recurrent stack and a Linear on one vector a sequence.

    head: 'last' = the output at the last time step; 'states' = concatenated final states of the last
    layer's two directions. x: [B, T, I] if batch_first else [T, B, I]; returns [B, CLASSES].
    """

    def __init__(self, kind="LSTM", head="last", batch_first=True, layers=2, dropout=0.0):
        super().__init__()
        self.rnn = getattr(nn, kind)(I, H, num_layers=layers, bidirectional=True, batch_first=batch_first,
                                     dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2 * H, CLASSES)
        self.head, self.batch_first, self.kind = head, batch_first, kind

    def forward(self, x):
        y, states = self.rnn(x)
        if self.head == "last":
            vector = y[:, -1] if self.batch_first else y[-1]
        else:
            h_n = states[0] if self.kind == "LSTM" else states
            vector = torch.cat((h_n[-2], h_n[-1]), dim=1)
        return self.fc(self.dropout(vector))


class LastOfOneDirection(nn.Module):
    """A one-directional stack, the Linear on h_n[-1]: [B, T, I] -> [B, 1], as forecasters write it."""

    def __init__(self, kind):
        super().__init__()
        self.rnn = getattr(nn, kind)(I, H, num_layers=2, batch_first=True)
        self.fc = nn.Linear(H, 1)
        self.kind = kind

    def forward(self, x):
        _, states = self.rnn(x)
        return self.fc((states[0] if self.kind == "LSTM" else states)[-1])


class LanguageModel(nn.Module):
    """Embedding, GRU, Linear and (log-)softmax at every step: tokens [B, T] -> [B, T, VOCABULARY]."""

    def __init__(self, head="log_softmax", state=False):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, I)
        self.gru = nn.GRU(I, H, batch_first=True)
        self.fc = nn.Linear(H, VOCABULARY)
        self.head, self.state = head, state

    def forward(self, tokens, h_0=None):
        y, h_n = self.gru(self.embedding(tokens), h_0)
        y = self.fc(y)
        if self.head == "log_softmax":
            y = torch.log_softmax(y, dim=-1)
        elif self.head == "softmax":
            y = torch.softmax(y, dim=-1)
        return (y, h_n) if self.state else y


class Stack(nn.Module):
    """A bare recurrent stack: [T, B, I] -> y [T, B, H·D], h_n [L·D, B, H]."""

    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = getattr(nn, kind)(I, H, **options)

    def forward(self, x):
        return self.rnn(x)


class LstmStates(nn.Module):
    """An LSTM from given states: x [B, T, I], h_0, c_0 [L·D, B, H] -> y, h_n, c_n."""

    def __init__(self, bidirectional=False):
        super().__init__()
        self.rnn = nn.LSTM(I, H, num_layers=2, batch_first=True, bidirectional=bidirectional)

    def forward(self, x, h_0, c_0):
        y, (h_n, c_n) = self.rnn(x, (h_0, c_0))
        return y, h_n, c_n


class Tagger(nn.Module):
    """A bidirectional LSTM and a sigmoid Linear at every step: [B, T, I] -> [B, T, CLASSES]."""

    def __init__(self, bias=True):
        super().__init__()
        self.rnn = nn.LSTM(I, H, batch_first=True, bidirectional=True, bias=bias)
        self.fc = nn.Linear(2 * H, CLASSES, bias=bias)

    def forward(self, x):
        return torch.sigmoid(self.fc(self.rnn(x)[0]))


class Packed(nn.Module):
    """A bidirectional LSTM over ragged sequences: x [B, T, I], lengths [B] -> y [B, T, 2H], h_n, c_n."""

    def __init__(self, kind="LSTM"):
        super().__init__()
        self.rnn = getattr(nn, kind)(I, H, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=True)
        y, states = self.rnn(packed)
        y, _ = pad_packed_sequence(y, batch_first=True)
        return (y, *states) if isinstance(states, tuple) else (y, states)


class MixedStack(nn.Module):
    """A GRU into an LSTM into a ReLU RNN of other sizes, and two Linears: [B, T, I] -> [B, T, CLASSES]."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(I, H, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(2 * H, 5, batch_first=True)
        self.rnn = nn.RNN(5, 7, batch_first=True, nonlinearity="relu")
        self.fc = nn.Linear(7, CLASSES)

    def forward(self, x):
        y, _ = self.gru(x)
        y, _ = self.lstm(y)
        y, _ = self.rnn(y)
        return torch.tanh(self.fc(y))


# --- exporting ------------------------------------------------------------------------------------

# case: exporter, opset, module, inputs at export, inputs of the data, output names, dynamic axes.
# Arrays are described as ("x", shape), tokens as ("tokens", shape), lengths as a list.


def features(*shape):
    return torch.randn(shape)


def tokens(*shape):
    return torch.randint(0, VOCABULARY, shape)


BATCH_TIME = {"x": {0: "batch", 1: "time"}}
TIME_BATCH = {"x": {0: "time", 1: "batch"}}
STATE = {1: "batch"}


def torch_cases():
    """{name without its exporter: (module, export inputs, data inputs, outputs, axes, ts opset, dynamo opset)}.

    axes None means static shapes: the data then has the shapes of the export. Opset None: this
    exporter is left out.
    """
    x23, x35 = lambda: {"x": features(2, 5, I)}, lambda: {"x": features(3, 7, I)}
    t53, t72 = lambda: {"x": features(5, 2, I)}, lambda: {"x": features(7, 3, I)}
    lm2, lm3 = lambda: {"tokens": tokens(2, 5)}, lambda: {"tokens": tokens(3, 8)}
    states = lambda b, t, d: {"x": features(b, t, I), "h_0": features(2 * d, b, H),  # noqa: E731
                              "c_0": features(2 * d, b, H)}
    state_axes = {"x": {0: "batch", 1: "time"}, "h_0": STATE, "c_0": STATE}
    return {
        "lstm_classifier_last": (Classifier, x23, x35, ["logits"], BATCH_TIME, 17, 18),
        "lstm_classifier_last_static": (Classifier, x23, x23, ["logits"], None, 11, 20),
        "lstm_classifier_last_time_major": (
            lambda: Classifier(batch_first=False), t53, t72, ["logits"], TIME_BATCH, 13, 18),
        "lstm_classifier_states": (
            lambda: Classifier(head="states"), x23, x35, ["logits"], BATCH_TIME, 14, 20),
        "lstm_classifier_states_static": (
            lambda: Classifier(head="states"), x23, x23, ["logits"], None, 14, 18),
        "lstm_classifier_states_time_major": (
            lambda: Classifier(head="states", batch_first=False), t53, t72, ["logits"], TIME_BATCH, 9, 22),
        "gru_classifier_states_dropout": (
            lambda: Classifier("GRU", "states", dropout=0.4), x23, x35, ["logits"], BATCH_TIME, 17, 18),
        "lstm_classifier_dropout": (
            lambda: Classifier(dropout=0.3), x23, x35, ["logits"], BATCH_TIME, 12, 18),
        "lstm_forecaster": (lambda: LastOfOneDirection("LSTM"), x23, x35, ["forecast"], BATCH_TIME, 17, 18),
        "rnn_forecaster_static": (lambda: LastOfOneDirection("RNN"), x23, x23, ["forecast"], None, 17, None),
        "gru_lm_log_softmax": (
            LanguageModel, lm2, lm3, ["logits"], {"tokens": {0: "batch", 1: "time"}}, 17, 18),
        "gru_lm_softmax_static": (
            lambda: LanguageModel("softmax"), lm2, lm2, ["probabilities"], None, 11, 18),
        "gru_lm_state": (
            lambda: LanguageModel("none", True), lambda: {**lm2(), "h_0": features(1, 2, H)},
            lambda: {**lm3(), "h_0": features(1, 3, H)}, ["logits", "h_n"],
            {"tokens": {0: "batch", 1: "time"}, "h_0": STATE}, 18, 20),
        "rnn_tanh": (lambda: Stack("RNN"), t53, t72, ["y", "h_n"], TIME_BATCH, 14, None),
        "rnn_relu_2l_bi": (
            lambda: Stack("RNN", nonlinearity="relu", num_layers=2, bidirectional=True), t53, t72,
            ["y", "h_n"], TIME_BATCH, 13, None),
        "gru_2l_bi": (lambda: Stack("GRU", num_layers=2, bidirectional=True), t53, t72, ["y", "h_n"],
                      TIME_BATCH, 17, 18),
        "gru_no_bias": (lambda: Stack("GRU", bias=False), t53, t53, ["y", "h_n"], None, 17, 18),
        "lstm_states": (LstmStates, lambda: states(2, 5, 1), lambda: states(3, 7, 1),
                        ["y", "h_n", "c_n"], state_axes, 17, 18),
        "lstm_states_bi_static": (lambda: LstmStates(True), lambda: states(2, 5, 2), lambda: states(2, 5, 2),
                                  ["y", "h_n", "c_n"], None, 15, 23),
        "lstm_tagger": (Tagger, x23, x35, ["tags"], BATCH_TIME, 16, 21),
        "lstm_tagger_no_bias": (lambda: Tagger(bias=False), x23, x35, ["tags"], BATCH_TIME, 17, 18),
        "mixed_stack": (MixedStack, x23, x35, ["y"], BATCH_TIME, 17, None),
        "lstm_packed": (
            Packed, lambda: {"x": features(3, 5, I), "lengths": torch.tensor([5, 3, 2])},
            lambda: {"x": features(4, 7, I), "lengths": torch.tensor([7, 4, 4, 1])}, ["y", "h_n", "c_n"],
            {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}, 17, None),
        "gru_packed": (
            lambda: Packed("GRU"), lambda: {"x": features(3, 5, I), "lengths": torch.tensor([5, 3, 2])},
            lambda: {"x": features(4, 7, I), "lengths": torch.tensor([7, 4, 4, 1])}, ["y", "h_n"],
            {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}, 14, None),
    }


def export_ts(module, inputs, outputs, axes, opset):
    """The exporter by TorchScript tracing."""
    buffer = io.BytesIO()
    dynamic = None
    if axes is not None:
        dynamic = {**axes, **{name: output_axes(name, axes) for name in outputs}}
    torch.onnx.export(module, tuple(inputs.values()), buffer, dynamo=False, opset_version=opset,
                      input_names=list(inputs), output_names=outputs, dynamic_axes=dynamic)
    return onnx.load_from_string(buffer.getvalue())


def output_axes(name, axes):
    """The dynamic axes of an output, by what it is."""
    if name in ("h_n", "c_n"):
        return {1: "batch"}
    if name in ("forecast",) or (name == "logits" and "tokens" not in axes):
        return {0: "batch"}
    first = axes.get("x") or axes["tokens"]
    return dict(first)


def export_dynamo(module, inputs, outputs, axes, opset):
    """The exporter by torch.export."""
    shapes = None
    if axes is not None:
        dims = {}
        shapes = tuple({axis: dims.setdefault(dim, torch.export.Dim(dim)) for axis, dim in axes[name].items()}
                       for name in inputs)
    program = torch.onnx.export(module, tuple(inputs.values()), dynamo=True, opset_version=opset,
                                input_names=list(inputs), output_names=outputs, dynamic_shapes=shapes,
                                external_data=False, verbose=False)
    return strip(program.model_proto)


def strip(model):
    """Drops the exporter's notes: they hold stack traces with the paths of the machine."""
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.graph.input,
                 *model.graph.output, model.graph, model):
        del item.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    return model


def torch_outputs(module, inputs, names):
    """PyTorch's float64 results for float32 weights and inputs, rounded to float32."""
    doubled = [value.double() if value.is_floating_point() else value for value in inputs.values()]
    with torch.no_grad():
        flat = module.double()(*doubled)
    flat = flat if isinstance(flat, tuple) else (flat,)
    values = []
    for item in flat:
        values += list(item) if isinstance(item, tuple) else [item]
    return {name: value.float().numpy() for name, value in zip(names, values, strict=True)}


def write_torch_cases(only):
    for name, (build, export_inputs, data_inputs, outputs, axes, ts_opset, dynamo_opset) in torch_cases().items():
        for suffix, exporter, opset in (("ts", export_ts, ts_opset), ("dynamo", export_dynamo, dynamo_opset)):
            case = f"{name}_{suffix}"
            if opset is None or only not in case:
                continue
            torch.manual_seed(SEED + sum(map(ord, name)))
            module = build().eval()
            for parameter in module.parameters():
                parameter.data *= 1.5  # further from the linear middle of the gates
            model = exporter(module, export_inputs(), outputs, axes, opset)
            inputs = data_inputs()
            expected = torch_outputs(module, inputs, outputs)
            finish(case, model, {k: v.numpy() for k, v in inputs.items()}, expected)


# --- hand-built graphs ----------------------------------------------------------------------------


def random(generator, *shape, scale=0.5):
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def model_of(nodes, inputs, outputs, initializers, opset, doc=""):
    """A checked model. inputs, outputs: {name: (element type, shape)}; initializers: {name: array}."""
    info = lambda items: [helper.make_tensor_value_info(k, t, s) for k, (t, s) in items.items()]  # noqa: E731
    graph = helper.make_graph(
        nodes, "graph", info(inputs), info(outputs),
        [numpy_helper.from_array(v, k) for k, v in initializers.items()], doc_string=doc)
    ir = min(10, helper.find_min_ir_version_for([helper.make_opsetid("", opset)]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.checker.check_model(model, full_check=True)
    return model


FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
node = helper.make_node


def plumbing(opset):
    """An LSTM classifier wrapped in legal but unusual plumbing; axes as attribute below opset 13.

    x [B, T, I] -> logits [B, CLASSES]. Every value of this graph that is not on the way from x through
    the LSTM to the logits is a shape or a constant.
    """
    g = np.random.default_rng(SEED + opset)
    new = opset >= 13
    nodes, weights = [], {
        "W": random(g, 1, 4 * H, I), "R": random(g, 1, 4 * H, H), "B": random(g, 8 * H),
        "fc_w": random(g, CLASSES, H), "fc_b": random(g, CLASSES), "one": np.array([1], np.int64),
        "h_size": np.array([H], np.int64),
    }

    def axes(op, source, target, values):
        if new:
            weights[f"axes_{target}"] = np.array(values, np.int64)
            nodes.append(node(op, [source, f"axes_{target}"], [target]))
        else:
            nodes.append(node(op, [source], [target], axes=values))

    def constant(target, array):
        nodes.append(node("Constant", [], [target], value=numpy_helper.from_array(array)))

    constant("zero_index", np.array(0, np.int64))
    nodes.append(node("Identity", ["x"], ["x_named"]))
    nodes.append(node("Cast", ["x_named"], ["x_double"], to=TensorProto.DOUBLE))
    nodes.append(node("Cast", ["x_double"], ["x_float"], to=FLOAT))
    axes("Unsqueeze", "x_float", "x4", [0])
    axes("Squeeze", "x4", "x3", [0])
    nodes.append(node("Dropout", ["x3"], ["x_kept", "mask"]))
    nodes.append(node("Transpose", ["x_kept"], ["x_time_major"], perm=[1, 0, 2]))
    # B is stored flat and gets its direction axis here; so does an Identity of R.
    axes("Unsqueeze", "B", "B2", [0])
    nodes.append(node("Identity", ["R"], ["R2"]))
    # initial_h: zeros [1, batch, H] made from the shape of x; initial_c: a constant row expanded.
    nodes.append(node("Shape", ["x"], ["x_shape"]))
    nodes.append(node("Gather", ["x_shape", "zero_index"], ["batch"], axis=0))
    axes("Unsqueeze", "batch", "batch1", [0])
    nodes.append(node("Concat", ["one", "batch1", "h_size"], ["state_shape"], axis=0))
    nodes.append(node("ConstantOfShape", ["state_shape"], ["h_0"],
                      value=numpy_helper.from_array(np.array([0.25], np.float32))))
    constant("c_row", random(g, 1, 1, H))
    nodes.append(node("Expand", ["c_row", "state_shape"], ["c_0"]))
    # sequence_lens: every row has the full length, spelled out of the shape.
    constant("one_index", np.array(1, np.int64))
    nodes.append(node("Gather", ["x_shape", "one_index"], ["time"], axis=0))
    axes("Unsqueeze", "time", "time1", [0])
    nodes.append(node("Expand", ["time1", "batch1"], ["lens64"]))
    nodes.append(node("Cast", ["lens64"], ["lens"], to=INT32))
    nodes.append(node("LSTM", ["x_time_major", "W", "R2", "B2", "lens", "h_0", "c_0"],
                      ["", "last", "cell"], hidden_size=H))
    axes("Squeeze", "last", "last2", [0])
    nodes.append(node("Flatten", ["last2"], ["last_flat"], axis=1))
    nodes.append(node("Identity", ["last_flat"], ["last_named"]))
    nodes.append(node("Dropout", ["last_named"], ["last_kept"]))
    nodes.append(node("Gemm", ["last_kept", "fc_w", "fc_b"], ["logits_raw"], transB=1))
    constant("minus", np.array([-1, CLASSES], np.int64))
    nodes.append(node("Reshape", ["logits_raw", "minus"], ["logits_shaped"]))
    nodes.append(node("Identity", ["logits_shaped"], ["logits"]))
    model = model_of(nodes, {"x": (FLOAT, ["batch", "time", I])}, {"logits": (FLOAT, ["batch", CLASSES])},
                     weights, opset)
    return model, {"x": random(g, 3, 5, I, scale=1.0)}


def matmul_add():
    """A GRU and MatMul + Add + Softmax on every step, weights of the MatMul not transposed; static."""
    g = np.random.default_rng(SEED + 1)
    weights = {"W": random(g, 1, 3 * H, I), "R": random(g, 1, 3 * H, H), "B": random(g, 1, 6 * H),
               "fc_w": random(g, H, CLASSES), "fc_b": random(g, CLASSES),
               "axes": np.array([1], np.int64)}
    nodes = [
        node("GRU", ["x", "W", "R", "B"], ["y4", "h_n"], hidden_size=H, linear_before_reset=1),
        node("Squeeze", ["y4", "axes"], ["y3"]),
        node("MatMul", ["y3", "fc_w"], ["product"]),
        node("Add", ["fc_b", "product"], ["sum"]),
        node("Softmax", ["sum"], ["probabilities"], axis=2),
    ]
    model = model_of(nodes, {"x": (FLOAT, [6, 2, I])},
                     {"probabilities": (FLOAT, [6, 2, CLASSES]), "h_n": (FLOAT, [1, 2, H])}, weights, 18)
    return model, {"x": random(g, 6, 2, I, scale=1.0)}


def keras_style():
    """A stack as tf2onnx writes Keras's: batch-first x, Transpose, Slices of a stacked state, Squeeze.

    x [B, T, I], state [B, 2H] = h and c -> y [B, T, H], state_out [B, 2H].
    """
    g = np.random.default_rng(SEED + 2)
    weights = {"W": random(g, 1, 4 * H, I), "R": random(g, 1, 4 * H, H), "B": random(g, 1, 8 * H),
               "start": np.array([0], np.int64), "middle": np.array([H], np.int64),
               "end": np.array([2 * H], np.int64), "axis1": np.array([1], np.int64),
               "axis0": np.array([0], np.int64), "squeeze_direction": np.array([1], np.int64)}
    nodes = [
        node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
        node("Slice", ["state", "start", "middle", "axis1"], ["h_in"]),
        node("Slice", ["state", "middle", "end", "axis1"], ["c_in"]),
        node("Unsqueeze", ["h_in", "axis0"], ["h_0"]),
        node("Unsqueeze", ["c_in", "axis0"], ["c_0"]),
        node("LSTM", ["x_t", "W", "R", "B", "", "h_0", "c_0"], ["y4", "h_n", "c_n"], hidden_size=H),
        node("Squeeze", ["y4", "squeeze_direction"], ["y3"]),
        node("Transpose", ["y3"], ["y"], perm=[1, 0, 2]),
        node("Squeeze", ["h_n", "axis0"], ["h_out"]),
        node("Squeeze", ["c_n", "axis0"], ["c_out"]),
        node("Concat", ["h_out", "c_out"], ["state_out"], axis=1),
    ]
    model = model_of(
        nodes, {"x": (FLOAT, ["batch", "time", I]), "state": (FLOAT, ["batch", 2 * H])},
        {"y": (FLOAT, ["batch", "time", H]), "state_out": (FLOAT, ["batch", 2 * H])}, weights, 15)
    return model, {"x": random(g, 3, 5, I, scale=1.0), "state": random(g, 3, 2 * H)}


def external_data():
    """A two-layer bidirectional GRU whose weights lie in a file of their own."""
    g = np.random.default_rng(SEED + 3)
    weights = {"zero": np.array([0, 0, -1], np.int64)}
    nodes, source, width = [], "x", I
    for layer in range(2):
        weights |= {f"W{layer}": random(g, 2, 3 * H, width), f"R{layer}": random(g, 2, 3 * H, H),
                    f"B{layer}": random(g, 2, 6 * H)}
        nodes += [
            node("GRU", [source, f"W{layer}", f"R{layer}", f"B{layer}"], [f"y4_{layer}", f"h_{layer}"],
                 hidden_size=H, direction="bidirectional", linear_before_reset=1),
            node("Transpose", [f"y4_{layer}"], [f"yt_{layer}"], perm=[0, 2, 1, 3]),
            node("Reshape", [f"yt_{layer}", "zero"], [f"y_{layer}"]),
        ]
        source, width = f"y_{layer}", 2 * H
    nodes.append(node("Concat", ["h_0", "h_1"], ["h_n"], axis=0))
    model = model_of(nodes, {"x": (FLOAT, ["time", "batch", I])},
                     {"y_1": (FLOAT, ["time", "batch", 2 * H]), "h_n": (FLOAT, [4, "batch", H])}, weights, 17)
    return model, {"x": random(g, 5, 3, I, scale=1.0)}


def tokens_lens():
    """Tokens through a Gather, an LSTM with sequence_lens of its own, every output: as a server calls it."""
    g = np.random.default_rng(SEED + 4)
    weights = {"table": random(g, VOCABULARY, I, scale=1.0), "W": random(g, 2, 4 * H, I),
               "R": random(g, 2, 4 * H, H), "B": random(g, 2, 8 * H), "P": random(g, 2, 3 * H)}
    nodes = [
        node("Gather", ["table", "tokens"], ["embedded"], axis=0),
        node("LSTM", ["embedded", "W", "R", "B", "lens", "", "", "P"], ["Y", "Y_h", "Y_c"], hidden_size=H,
             direction="bidirectional"),
    ]
    model = model_of(nodes, {"tokens": (INT64, ["time", "batch"]), "lens": (INT32, ["batch"])},
                     {"Y": (FLOAT, ["time", 2, "batch", H]), "Y_h": (FLOAT, [2, "batch", H]),
                      "Y_c": (FLOAT, [2, "batch", H])}, weights, 14)
    inputs = {"tokens": g.integers(0, VOCABULARY, (6, 4)), "lens": np.array([6, 1, 4, 6], np.int32)}
    return model, inputs


HAND_BUILT = {
    "plumbing_opset11": lambda: plumbing(11), "plumbing_opset17": lambda: plumbing(17),
    "gru_matmul_add_softmax": matmul_add, "lstm_stacked_state_keras_style": keras_style,
    "gru_2l_bi_external_data": external_data, "lstm_tokens_lens_peepholes": tokens_lens,
}


def write_hand_built(only):
    for name, build in HAND_BUILT.items():
        if only in name:
            model, inputs = build()
            external = "weights.bin" if "external" in name else None
            finish(name, model, inputs, onnxruntime_outputs(model.SerializeToString(), inputs), external)


# --- writing --------------------------------------------------------------------------------------


def onnxruntime_outputs(model, inputs):
    """{name: array} from onnxruntime's CPU provider. model: bytes or a path."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def finish(case, model, inputs, expected, external=None):
    """Compares with onnxruntime, writes the case and says what it is."""
    folder = HERE / case
    shutil.rmtree(folder, ignore_errors=True)
    write_case(folder, model, inputs, expected, external)
    got = onnxruntime_outputs(str(folder / "model.onnx"), inputs)
    for name, want in expected.items():
        if got[name].shape != want.shape or not (np.abs(got[name] - want) <= TOLERANCE + TOLERANCE * np.abs(want)).all():
            sys.exit(f"{case}: {name}: onnxruntime and the expected output differ")
    operators = " ".join(sorted({node.op_type for node in model.graph.node}))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{case:46} {size:7} bytes  opset {model.opset_import[0].version}  {operators}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    write_hand_built(args.only)
    write_torch_cases(args.only)


if __name__ == "__main__":
    main()
