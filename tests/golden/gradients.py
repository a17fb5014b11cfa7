#!/usr/bin/env python3
"""Writes the fixtures of training: weights, inputs and targets as F32, PyTorch's gradients in F64.

As generate.py, PyTorch computes in float64 from exactly the 32-bit values that a fixture holds.

    python tests/golden/gradients.py            # rewrite the fixtures in gradients/
    python tests/golden/gradients.py --check    # compare with the committed ones instead
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = Path(__file__).resolve().parent / "gradients"

# name: options. B = batch, T = longest sequence, I = input size, H = hidden size, L = layers,
# D = both directions?, P = proj_size, V = tokens, O = outputs, g = function and steps = place of
# the output layer, state = from given states?
CASES = {
    "lstm_cross_entropy": dict(
        cell="lstm", B=5, T=7, I=4, H=6, L=2, D=True, O=5, lengths=[4, 7, 1, 6, 2], state=True,
        g="log-softmax", loss="cross-entropy", label_smoothing=0.125, ignore_index=-100,
        description="two bidirectional LSTM layers over ragged sequences from given states; "
                    "cross-entropy with class weights, label smoothing and ignored steps"),
    "gru_mse": dict(
        cell="gru", B=4, T=6, I=3, H=7, L=2, V=9, O=2, lengths=[6, 3, 5, 1], g="tanh", loss="mse",
        description="embedding, two GRU layers, tanh output; squared error"),
    "rnn_relu_huber": dict(
        cell="rnn-relu", B=5, T=6, I=3, H=8, D=True, O=3, lengths=[2, 6, 5, 1, 4], g="none",
        steps="final", loss="huber", delta=0.75,
        description="bidirectional ReLU layer, output layer on the final states; Huber's loss"),
    "lstm_proj_bce": dict(
        cell="lstm", B=4, T=6, I=5, H=9, P=4, L=2, D=True, O=4, lengths=[3, 6, 1, 5], state=True,
        g="sigmoid", loss="binary-cross-entropy",
        description="two bidirectional LSTM layers with proj_size; binary cross-entropy with logits"),
    "lstm_ctc": dict(
        cell="lstm", B=5, T=9, I=4, H=7, D=True, O=5, lengths=[6, 9, 4, 7, 3], g="softmax",
        loss="ctc", blank=2, labels=[[0, 1, 1], [4, 3, 0, 0], [], [1, 4, 1, 3], [3]],
        description="bidirectional LSTM layer; CTC with repeated labels and an empty list"),
    "rnn_tanh_l1": dict(
        cell="rnn-tanh", B=4, T=7, I=5, H=6, L=3, O=3, lengths=[7, 2, 4, 6], state=True, g="none",
        loss="l1", description="three tanh layers from given states; absolute error"),
    "gru_bi_cross_entropy": dict(
        cell="gru", B=5, T=6, I=4, H=5, L=2, D=True, O=4, lengths=[3, 6, 1, 5, 2], state=True,
        g="softmax", loss="cross-entropy", label_smoothing=0.0, ignore_index=-100,
        description="two bidirectional GRU layers from given states; cross-entropy with ignored steps"),
}


class Net(nn.Module):
    def __init__(self, c):
        super().__init__()
        if c["V"]:
            self.embedding = nn.Embedding(c["V"], c["I"])
        args = dict(num_layers=c["L"], batch_first=True, bidirectional=c["D"])
        if c["cell"].startswith("rnn-"):
            self.rnn = nn.RNN(c["I"], c["H"], nonlinearity=c["cell"][4:], **args)
        elif c["cell"] == "lstm":
            self.rnn = nn.LSTM(c["I"], c["H"], proj_size=c["P"], **args)
        else:
            self.rnn = nn.GRU(c["I"], c["H"], **args)
        self.fc = nn.Linear((c["P"] or c["H"]) * (2 if c["D"] else 1), c["O"])


def draw_targets(c, tensors):
    """Targets as the fixture holds them; beyond a sequence's length they are ordinary numbers."""
    B, T, O = c["B"], c["T"], c["O"]
    rows = (B,) if c["steps"] == "final" else (B, T)
    if c["loss"] == "cross-entropy":
        classes = torch.randint(0, O, rows)
        classes[torch.rand(rows) < 0.2] = c["ignore_index"]
        tensors["golden.classes"] = classes
        tensors["golden.class_weights"] = torch.rand(O) + 0.25
    elif c["loss"] == "ctc":
        tensors["golden.labels"] = torch.tensor(sum(c["labels"], []))
        tensors["golden.label_lengths"] = torch.tensor([len(v) for v in c["labels"]])
    else:
        bce = c["loss"] == "binary-cross-entropy"
        tensors["golden.values"] = torch.rand(*rows, O) if bce else torch.randn(*rows, O)


def loss_of(c, z, valid, tensors):
    """The loss of logits z, over the valid rows alone."""
    if c["loss"] == "cross-entropy":
        return F.cross_entropy(
            z[valid], tensors["golden.classes"][valid], tensors["golden.class_weights"].double(),
            ignore_index=c["ignore_index"], label_smoothing=c["label_smoothing"])
    if c["loss"] == "ctc":
        return F.ctc_loss(
            F.log_softmax(z, dim=-1).transpose(0, 1), tensors["golden.labels"],
            tuple(c["lengths"]), tuple(len(v) for v in c["labels"]), blank=c["blank"])
    z, y = z[valid], tensors["golden.values"].double()[valid]
    if c["loss"] == "binary-cross-entropy":
        return F.binary_cross_entropy_with_logits(z, y)
    v = torch.tanh(z) if c["g"] == "tanh" else z
    if c["loss"] == "huber":
        return F.huber_loss(v, y, delta=c["delta"])
    return F.mse_loss(v, y) if c["loss"] == "mse" else F.l1_loss(v, y)


def build(name, seed):
    c = dict(L=1, D=False, P=0, V=0, state=False, steps="every") | CASES[name]
    torch.manual_seed(seed)
    net = Net(c)
    with torch.no_grad():
        # Twice PyTorch's initial weights: well out of the linear range.
        for key, p in net.named_parameters():
            if not key.startswith("embedding"):
                p.mul_(2.0)
    tensors = {k: v.clone() for k, v in net.state_dict().items()}
    net.double()

    B, T, L, D = c["B"], c["T"], c["L"], 2 if c["D"] else 1
    if c["V"]:
        tensors["golden.tokens"] = torch.randint(0, c["V"], (B, T))
        x = net.embedding(tensors["golden.tokens"])
    else:
        tensors["golden.input"] = torch.randn(B, T, c["I"])
        x = tensors["golden.input"].double().requires_grad_()
    tensors["golden.lengths"] = torch.tensor(c["lengths"])
    states = {"h_0": torch.zeros(L * D, B, c["P"] or c["H"])}
    if c["cell"] == "lstm":
        states["c_0"] = torch.zeros(L * D, B, c["H"])
    if c["state"]:
        states = {k: torch.rand_like(v) * 2 - 1 for k, v in states.items()}
        tensors |= {f"golden.{k}": v for k, v in states.items()}
    states = {k: v.double().requires_grad_() for k, v in states.items()}
    draw_targets(c, tensors)

    packed = pack_padded_sequence(x, c["lengths"], batch_first=True, enforce_sorted=False)
    y, h_n = net.rnn(packed, tuple(states.values()) if c["cell"] == "lstm" else states["h_0"])
    if c["steps"] == "final":
        valid = torch.ones(B, dtype=torch.bool)
        z = net.fc(torch.cat(tuple(h_n[-D:]), dim=-1))
    else:
        valid = torch.arange(T)[None, :] < tensors["golden.lengths"][:, None]
        z = net.fc(pad_packed_sequence(y, batch_first=True, total_length=T)[0])
    loss = loss_of(c, z, valid, tensors)
    loss.backward()

    tensors["golden.loss"] = loss.detach().reshape(1)
    gradients = {k: p.grad for k, p in net.named_parameters()} | {k: v.grad for k, v in states.items()}
    if not c["V"]:
        gradients["input"] = x.grad
    tensors |= {f"golden.gradient.{k}": v for k, v in gradients.items()}
    assert all(v.dtype == torch.float64 and torch.isfinite(v).all() for v in gradients.values())

    about = {
        "cell": c["cell"], "num_layers": L, "hidden_size": c["H"], "input_size": c["I"],
        "bidirectional": c["D"], "bias": True, "proj_size": c["P"], "head_activation": c["g"],
        "head_steps": c["steps"], "torch": torch.__version__.split("+")[0], "seed": seed,
        "description": c["description"]}
    about |= {k: c[k] for k in ("loss", "label_smoothing", "ignore_index", "delta", "blank") if k in c}
    return {k: v.detach().contiguous() for k, v in tensors.items()}, about


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true",
                        help="compare with the files on disk and write nothing")
    parser.add_argument("names", nargs="*", help="only these fixtures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    HERE.mkdir(exist_ok=True)
    bad = 0
    for seed, name in enumerate(CASES, start=101):
        if options.names and name not in options.names:
            continue
        tensors, about = build(name, seed)
        path = HERE / f"{name}.safetensors"
        if not options.check:
            save_file(tensors, path, metadata={"golden": json.dumps(about)})
            path.chmod(0o644)
            print(f"{path.name}: {path.stat().st_size} bytes, loss {tensors['golden.loss'].item():.6f}")
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
