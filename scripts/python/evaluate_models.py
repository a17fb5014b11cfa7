#!/usr/bin/env python3
"""Writes what PyTorch computes with the two models in models/, and prints how good they are.

    pip install -r scripts/python/requirements.txt
    python scripts/python/evaluate_models.py

`rnn train` made the models; the command stands in the metadata of each. PyTorch loads their tensors and computes
in float64; the tests compare with what is written here.
"""

import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]


class Net(nn.Module):
    """Optional embedding, one recurrent module, one Linear: the saved models' layout."""

    def __init__(self, recurrent, outputs, vocab=None):
        super().__init__()
        if vocab:
            self.embedding = nn.Embedding(vocab, recurrent.input_size)
        self.rnn = recurrent
        self.fc = nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, x, state=None):
        if hasattr(self, "embedding"):
            x = self.embedding(x)
        y, state = self.rnn(x, state)
        return self.fc(y), state


def load(name):
    """The saved file in fresh modules, in float64, and what it says of itself."""
    path = ROOT / "models" / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["wgpu_rnn"])
    layer, tensors = about["layers"][0], load_file(path)
    inputs = tensors["rnn.weight_ih_l0"].shape[1]
    modules = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn-tanh": nn.RNN}
    recurrent = modules[layer["cell"]](inputs, layer["hidden_size"], batch_first=True)
    net = Net(recurrent, tensors["fc.weight"].shape[0], about["input"].get("vocab"))
    net.load_state_dict(tensors)
    print(f"{name}: {about['command']}")
    return net.double().eval(), about


def save(name, tensors):
    path = ROOT / "models" / "expected" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path)
    path.chmod(0o644)
    print(f"  wrote {path.relative_to(ROOT)} ({path.stat().st_size} bytes)")


# --- sunspots -----------------------------------------------------------------------------


def closed_loop(net, x, steps):
    """Feeds the net's outputs back to it after the sequence x [1,T,1]."""
    y, state = net(x)
    out = [y[:, -1:]]
    while len(out) < steps:
        y, state = net(out[-1], state)
        out.append(y)
    return torch.cat(out, 1)


class Autoregression:
    """A linear model on the last `order` values, by least squares."""

    def __init__(self, series, order):
        self.order = order
        rows = [np.r_[1.0, series[t - order:t]] for t in range(order, len(series))]
        self.w = np.linalg.lstsq(np.array(rows), series[order:], rcond=None)[0]

    def next(self, series):
        return self.w @ np.r_[1.0, series[-self.order:]]

    def closed_loop(self, series, steps):
        series = list(series)
        for _ in range(steps):
            series.append(self.next(series))
        return np.array(series[-steps:])


def errors(predicted, actual):
    e = np.asarray(predicted) - actual
    return f"MAE {np.abs(e).mean():5.2f}  RMSE {np.sqrt((e * e).mean()):5.2f}"


def sunspots():
    net, _ = load("sunspots")
    with open(ROOT / "data/sunspots.csv", newline="") as f:
        rows = [(int(r["year"]), float(r["sunspots"])) for r in csv.DictReader(f)]
    series = np.array([v for _, v in rows])
    split = [y for y, _ in rows].index(1980)
    x = torch.tensor(series, dtype=torch.float32)[None, :, None]
    with torch.no_grad():
        y, (h_n, c_n) = net.rnn(x.double())
        y = net.fc(y)
        forecast = closed_loop(net, x.double(), 22)
        from_1979 = closed_loop(net, x[:, :split].double(), 22)[0, :, 0].numpy()
    save("sunspots", {"input": x, "output": y, "h_n": h_n, "c_n": c_n, "forecast": forecast})

    held, past = series[split:], series[:split]
    print("  one step ahead, 1980-2008:")
    print(f"    this network  {errors(y[0, split - 1:-1, 0], held)}")
    for order in (9, 11):
        ar = Autoregression(past, order)
        predicted = [ar.next(series[:t]) for t in range(split, len(series))]
        print(f"    AR({order:2})        {errors(predicted, held)}")
    print(f"    persistence   {errors(series[split - 1:-1], held)}")
    for n in (11, 22):
        print(f"  closed loop from 1979, 1980-{1979 + n}:")
        print(f"    this network  {errors(from_1979[:n], held[:n])}")
        ar9 = Autoregression(past, 9).closed_loop(past, n)
        print(f"    AR( 9)        {errors(ar9, held[:n])}")
        print(f"    mean          {errors(np.full(n, past.mean()), held[:n])}")
    print("  closed loop, 2009-2030:", " ".join(f"{v:.0f}" for v in forecast[0, :, 0]))


# --- chars --------------------------------------------------------------------------------


def chars():
    net, about = load("chars")
    tokens = about["vocabulary"]["tokens"]
    ids = {c: i for i, c in enumerate(tokens)}

    def encode(text):
        return torch.tensor([ids[c] for c in text])

    traced = encode("I love AI")[None]
    with torch.no_grad():
        y, h_n = net.rnn(net.embedding(traced))
        y = torch.softmax(net.fc(y), -1)
    save("chars", {"tokens": traced, "output": y, "h_n": h_n})

    text = (ROOT / "data/corpus.txt").read_text(encoding="ascii")
    held = text[len(text) * 9 // 10:]
    with torch.no_grad():
        logits, _ = net(encode(held)[None, :-1])
    bits = F.cross_entropy(logits[0], encode(held)[1:]).item() / math.log(2)
    counts = np.ones(len(tokens))
    np.add.at(counts, encode(text[: len(text) * 9 // 10]).numpy(), 1.0)
    frequencies = -np.log2(counts / counts.sum())[encode(held).numpy()].mean()
    print(f"  last tenth of the text, read in one go: {bits:.3f} bits a character, "
          f"by letter frequencies alone {frequencies:.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    sunspots()
    chars()
