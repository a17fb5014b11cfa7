#!/usr/bin/env python3
"""Writes the golden fixtures: weights and inputs as F32, PyTorch's results in F64.

Every weight and input is a 32-bit float. PyTorch then computes in float64 from
exactly those values, so a fixture's results carry no 32-bit rounding of their own.

    pip install -r tests/golden/requirements.txt
    python tests/golden/generate.py            # rewrite the fixtures beside this file
    python tests/golden/generate.py --check    # compare with the committed ones instead
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).resolve().parent

# name: options. B = batch, T = longest sequence, I = input size, H = hidden size,
# L = layers, D = both directions?, fc = outputs of a Linear, P = proj_size.
CASES = {
    "rnn_tanh": dict(
        cell="rnn-tanh", B=3, T=7, I=4, H=6, description="one tanh layer"),
    "rnn_relu_2l": dict(
        cell="rnn-relu", B=4, T=6, I=3, H=9, L=2, scale=1.5, description="two ReLU layers"),
    "rnn_tanh_3l_bi_packed": dict(
        cell="rnn-tanh", B=5, T=8, I=5, H=7, L=3, D=True, lengths=[3, 8, 1, 6, 8],
        description="three bidirectional tanh layers over ragged sequences"),
    "lstm": dict(cell="lstm", B=3, T=9, I=5, H=11, description="one LSTM layer"),
    "lstm_h20": dict(
        cell="lstm", B=5, T=6, I=6, H=20, description="one LSTM layer, hidden size 20"),
    "lstm_nobias_state": dict(
        cell="lstm", B=4, T=5, I=3, H=10, bias=False, state=True,
        description="one LSTM layer without biases, from a given h_0 and c_0"),
    "lstm_2l_bi_fc": dict(
        cell="lstm", B=4, T=7, I=4, H=9, L=2, D=True, fc=5,
        description="two bidirectional LSTM layers and a Linear"),
    "lstm_2l_bi_fc_packed": dict(
        cell="lstm", B=5, T=9, I=6, H=13, L=2, D=True, fc=3, lengths=[4, 9, 1, 7, 2],
        description="two bidirectional LSTM layers and a Linear over ragged sequences"),
    "lstm_proj_2l_bi": dict(
        cell="lstm", B=3, T=6, I=5, H=11, P=3, L=2, D=True,
        description="two bidirectional LSTM layers with proj_size"),
    "lstm_proj_2l_bi_packed_state": dict(
        cell="lstm", B=4, T=7, I=3, H=10, P=5, L=2, D=True, lengths=[2, 7, 5, 1], state=True,
        description="two bidirectional LSTM layers with proj_size over ragged sequences, "
                    "from a given h_0 and c_0"),
    "gru": dict(cell="gru", B=3, T=8, I=4, H=7, description="one GRU layer"),
    "gru_2l_bi_packed_state": dict(
        cell="gru", B=5, T=7, I=5, H=10, L=2, D=True, lengths=[5, 1, 7, 3, 6], state=True,
        description="two bidirectional GRU layers over ragged sequences, from a given h_0"),
    "embedding_gru_fc_softmax": dict(
        cell="gru", B=4, T=9, I=6, H=13, V=17, fc=11, head_activation="softmax",
        description="Embedding, one GRU layer, a Linear and a softmax"),
    "gru_reset_before": dict(
        cell="gru-reset-before", B=3, T=6, I=4, H=9, state=True,
        description="one GRU layer that applies the reset gate before the recurrent product "
                    "(ONNX linear_before_reset=0), from a given h_0"),
    "gru_reset_before_bi": dict(
        cell="gru-reset-before", B=4, T=7, I=3, H=6, D=True,
        description="one bidirectional GRU layer with ONNX linear_before_reset=0"),
    "gru_reset_before_2l_bi_packed": dict(
        cell="gru-reset-before", B=5, T=8, I=5, H=11, L=2, D=True, lengths=[8, 3, 1, 5, 8],
        description="two bidirectional GRU layers with ONNX linear_before_reset=0 "
                    "over ragged sequences"),
}

ACTIVATIONS = {"none": lambda y: y, "softmax": lambda y: torch.softmax(y, dim=-1)}


class Net(nn.Module):
    def __init__(self, c):
        super().__init__()
        if c["V"]:
            self.embedding = nn.Embedding(c["V"], c["I"])
        args = dict(num_layers=c["L"], bias=c["bias"], batch_first=True, bidirectional=c["D"])
        if c["cell"].startswith("rnn-"):
            self.rnn = nn.RNN(c["I"], c["H"], nonlinearity=c["cell"][4:], **args)
        elif c["cell"] == "lstm":
            self.rnn = nn.LSTM(c["I"], c["H"], proj_size=c["P"], **args)
        else:
            self.rnn = nn.GRU(c["I"], c["H"], **args)
        if c["fc"]:
            width = (c["P"] or c["H"]) * (2 if c["D"] else 1)
            self.fc = nn.Linear(width, c["fc"])


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def reset_before_numpy(x, lengths, h_0, weights):
    """One direction of one layer, in float64: [B,T,I] -> [B,T,H], [B,H]. Gates r, z, n."""
    w_ih, w_hh, b_ih, b_hh = (w.astype(np.float64) for w in weights)
    H = w_hh.shape[1]
    y, h_n = np.zeros((*x.shape[:2], H)), h_0.astype(np.float64)
    for b, length in enumerate(lengths):
        h = h_n[b].copy()
        for t in range(length):
            i = w_ih @ x[b, t] + b_ih
            r = sigmoid(i[:H] + w_hh[:H] @ h + b_hh[:H])
            z = sigmoid(i[H:2 * H] + w_hh[H:2 * H] @ h + b_hh[H:2 * H])
            n = np.tanh(i[2 * H:] + w_hh[2 * H:] @ (r * h) + b_hh[2 * H:])
            h = (1.0 - z) * n + z * h
            y[b, t] = h
        h_n[b] = h
    return y, h_n


def flip(x, lengths):
    """Reverses each sequence within its own length."""
    out = x.copy()
    for b, length in enumerate(lengths):
        out[b, :length] = x[b, :length][::-1]
    return out


def reset_before_onnx(x, lengths, h_0, directions):
    """One layer through onnxruntime's GRU operator (float32)."""
    B, T, _ = x.shape
    D, H = len(directions), directions[0][1].shape[1]

    def zrh(w):  # PyTorch's row blocks r, z, n -> ONNX's z, r, h
        return np.concatenate([w[H:2 * H], w[:H], w[2 * H:]])

    feeds = {
        "X": x.transpose(1, 0, 2),
        "W": np.stack([zrh(w[0]) for w in directions]),
        "R": np.stack([zrh(w[1]) for w in directions]),
        "B": np.stack([np.concatenate([zrh(w[2]), zrh(w[3])]) for w in directions]),
        "lens": np.asarray(lengths),
        "h0": h_0,
    }
    types = {k: TensorProto.INT32 if k == "lens" else TensorProto.FLOAT for k in feeds}
    feeds = {k: np.ascontiguousarray(v, np.int32 if k == "lens" else np.float32)
             for k, v in feeds.items()}
    node = helper.make_node(
        "GRU", list(feeds), ["Y", "Y_h"], hidden_size=H, linear_before_reset=0,
        direction="bidirectional" if D == 2 else "forward")
    graph = helper.make_graph(
        [node], "gru",
        [helper.make_tensor_value_info(k, types[k], v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [T, D, B, H]),
         helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [D, B, H])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, h_n = session.run(None, feeds)
    return y.transpose(2, 0, 1, 3).reshape(B, T, D * H), h_n


def reset_before(c, state_dict, x, lengths, h_0):
    """The whole stack in float64, each layer checked against onnxruntime."""
    w = {k: v.numpy() for k, v in state_dict.items()}
    x = x.numpy().astype(np.float64)
    D = 2 if c["D"] else 1
    h_n = []
    for layer in range(c["L"]):
        directions = [
            [w[f"rnn.{n}_l{layer}{s}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            for s in ["", "_reverse"][:D]]
        h0 = h_0[layer * D:(layer + 1) * D].numpy()
        ys, hs = [], []
        for d, weights in enumerate(directions):
            y, h = reset_before_numpy(flip(x, lengths) if d else x, lengths, h0[d], weights)
            ys.append(flip(y, lengths) if d else y)
            hs.append(h)
        y, h = np.concatenate(ys, axis=-1), np.stack(hs)
        y_onnx, h_onnx = reset_before_onnx(x, lengths, h0, directions)
        assert np.abs(y - y_onnx).max() < 1e-5, "onnxruntime disagrees about the outputs"
        assert np.abs(h - h_onnx).max() < 1e-5, "onnxruntime disagrees about h_n"
        x = y
        h_n.append(h)
    return torch.from_numpy(x), torch.from_numpy(np.concatenate(h_n))


def build(name, seed):
    c = dict(L=1, D=False, P=0, V=0, fc=0, bias=True, lengths=None, state=False,
             head_activation="none", scale=2.0 if CASES[name]["cell"].startswith("rnn-") else 3.0)
    c |= CASES[name]
    torch.manual_seed(seed)
    net = Net(c)
    with torch.no_grad():
        # Two or three times PyTorch's initial weights: well out of the linear range.
        for key, p in net.named_parameters():
            if not key.startswith("embedding"):
                p.mul_(c["scale"])
    state_dict = {k: v.clone() for k, v in net.state_dict().items()}
    tensors = dict(state_dict)

    B, T, L, D = c["B"], c["T"], c["L"], 2 if c["D"] else 1
    net.double()
    if c["V"]:
        tokens = torch.randint(0, c["V"], (B, T))
        tensors["golden.tokens"] = tokens
        x = net.embedding(tokens)
    else:
        # Positions beyond a sequence's length hold ordinary numbers, not zeros:
        # whoever reads them by mistake gets a wrong answer.
        tensors["golden.input"] = torch.randn(B, T, c["I"])
        x = tensors["golden.input"].double()
    lengths = c["lengths"] or [T] * B
    if c["lengths"]:
        assert max(lengths) == T and min(lengths) == 1 and len(lengths) == B
        tensors["golden.lengths"] = torch.tensor(lengths)
    h_0 = torch.zeros(L * D, B, c["P"] or c["H"])
    c_0 = torch.zeros(L * D, B, c["H"])
    if c["state"]:
        h_0 = torch.rand_like(h_0) * 2 - 1
        tensors["golden.h_0"] = h_0
        if c["cell"] == "lstm":
            c_0 = torch.randn_like(c_0)
            tensors["golden.c_0"] = c_0

    with torch.no_grad():
        if c["cell"] == "gru-reset-before":
            y, h_n = reset_before(c, state_dict, tensors["golden.input"], lengths, h_0)
        else:
            packed = x
            if c["lengths"]:
                packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            state = (h_0.double(), c_0.double()) if c["cell"] == "lstm" else h_0.double()
            y, h_n = net.rnn(packed, state)
            if c["lengths"]:
                y, _ = pad_packed_sequence(y, batch_first=True, total_length=T)
            if c["cell"] == "lstm":
                h_n, tensors["golden.c_n"] = h_n
        if c["fc"]:
            y = ACTIVATIONS[c["head_activation"]](net.fc(y))
        y = y * (torch.arange(T)[None, :, None] < torch.tensor(lengths)[:, None, None])
    tensors["golden.output"], tensors["golden.h_n"] = y, h_n
    assert y.dtype == h_n.dtype == torch.float64 and torch.isfinite(y).all()

    about = {
        "cell": c["cell"], "num_layers": L, "hidden_size": c["H"], "input_size": c["I"],
        "bidirectional": c["D"], "bias": c["bias"], "proj_size": c["P"],
        "head_activation": c["head_activation"], "torch": torch.__version__.split("+")[0],
        "seed": seed, "description": c["description"]}
    return {k: v.detach().contiguous() for k, v in tensors.items()}, about


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="compare with the files on disk and write nothing")
    parser.add_argument("names", nargs="*", help="only these fixtures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bad = 0
    for seed, name in enumerate(CASES, start=1):
        if options.names and name not in options.names:
            continue
        tensors, about = build(name, seed)
        path = HERE / f"{name}.safetensors"
        if not options.check:
            save_file(tensors, path, metadata={"golden": json.dumps(about)})
            path.chmod(0o644)
            print(f"{path.name}: {path.stat().st_size} bytes")
            continue
        with safe_open(path, "pt") as f:
            same = set(f.keys()) == set(tensors)
            worst = 0.0
            for key in set(f.keys()) & set(tensors):
                old, new = f.get_tensor(key), tensors[key]
                same &= old.dtype == new.dtype and old.shape == new.shape
                if old.shape == new.shape:
                    worst = max(worst, (old.double() - new.double()).abs().max().item())
        same &= worst < 1e-12
        bad += not same
        print(f"{path.name}: {'same' if same else 'DIFFERS'} (largest difference {worst:.1e})")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
