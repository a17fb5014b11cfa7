#!/usr/bin/env python3
"""Trains the two models in models/ and writes the results PyTorch computes with them.

    pip install -r scripts/python/requirements.txt
    python scripts/python/train_models.py sunspots    # seconds
    python scripts/python/train_models.py chars       # minutes
    python scripts/python/train_models.py all

Everything runs on one CPU thread from the given seed, so a second run on the same
machine writes the same bytes. Each metric is that of the saved file, loaded again.
"""

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "scripts/python/train_models.py"


class Net(nn.Module):
    """Optional embedding, one recurrent module, one Linear: the saved models' layout."""

    def __init__(self, recurrent, outputs, vocab=None):
        super().__init__()
        if vocab:
            self.embedding = nn.Embedding(vocab, recurrent.input_size)
        self.rnn = recurrent
        self.fc = nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, x, state=None, dropout=0.0):
        if hasattr(self, "embedding"):
            x = self.embedding(x)
        y, state = self.rnn(x, state)
        return self.fc(F.dropout(y, dropout, self.training)), state


def save(path, tensors, about=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"wgpu_rnn": json.dumps(about)} if about else None
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)
    print(f"  wrote {path.relative_to(ROOT)} ({path.stat().st_size} bytes)")


def reload(path, net):
    """The saved file in fresh modules, in float64."""
    net.load_state_dict(load_file(path))
    return net.double().eval()


# --- sunspots -----------------------------------------------------------------------------

SCALE, OFFSET = 60.0, 0.8  # normalised = sunspots / SCALE - OFFSET


def sunspot_net(hidden):
    return Net(nn.LSTM(1, hidden, batch_first=True), 1)


def train_sunspots(series, hidden, seed, steps=200, batch=64, window=64, rollout=11):
    """One-step error over random windows, plus the error of an 11-year closed loop."""
    torch.manual_seed(seed)
    net = sunspot_net(hidden)
    with torch.no_grad():
        net.rnn.bias_ih_l0[hidden:2 * hidden] += 1.0  # forget gates start out open
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    series = torch.tensor(series, dtype=torch.float32) / SCALE
    for step in range(steps):
        starts = torch.randint(0, len(series) - window - rollout + 1, (batch,))
        if step % 4 == 0:
            starts[:4] = 0  # the true beginning, from the zero state
        x = torch.stack([series[s:s + window + rollout] for s in starts.tolist()])[..., None]
        # Stronger and weaker suns than the record holds, and a little noise.
        x = x * (0.6 + 0.8 * torch.rand(batch, 1, 1)) - OFFSET
        noisy = x[:, :window] + 0.03 * torch.randn(batch, window, 1)
        y, state = net(noisy)
        loss = (y[:, 6:-1] - x[:, 7:window]).square().mean()
        fed_back = [y[:, -1:]]
        while len(fed_back) < rollout:
            y, state = net(fed_back[-1], state)
            fed_back.append(y)
        loss = loss + 0.3 * (torch.cat(fed_back, 1) - x[:, window:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return net


def fold_normalisation(net):
    """Weights that take and give raw sunspot numbers."""
    w = {k: v.detach().double().clone() for k, v in net.state_dict().items()}
    w["rnn.bias_ih_l0"] -= OFFSET * w["rnn.weight_ih_l0"][:, 0]
    w["rnn.weight_ih_l0"] /= SCALE
    w["fc.bias"] = (w["fc.bias"] + OFFSET) * SCALE
    w["fc.weight"] *= SCALE
    return {k: v.float() for k, v in w.items()}


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


def sunspots(seed):
    print("sunspots")
    with open(ROOT / "data/sunspots.csv", newline="") as f:
        rows = [(int(r["year"]), float(r["sunspots"])) for r in csv.DictReader(f)]
    years = [y for y, _ in rows]
    series = np.array([v for _, v in rows])
    split = years.index(1980)
    hidden = 48
    net = train_sunspots(series[:split], hidden, seed)
    path = ROOT / "models/sunspots.safetensors"
    save(path, fold_normalisation(net), {
        "version": 1,
        "input": {"kind": "dense", "size": 1},
        "recurrent": "rnn",
        "layers": [{"cell": "lstm", "hidden_size": hidden, "direction": "forward",
                    "bias": True, "proj_size": 0}],
        "head": {"tensor": "fc", "activation": "none", "steps": "every"},
        "columns": ["sunspots"],
        "outputs": ["sunspots"],
        "forecast": True,
        "description": "Next year's mean sunspot number from the years so far; trained on "
                       "1700-1979. Takes and gives raw sunspot numbers.",
        "command": f"python {SCRIPT} sunspots --seed {seed}",
    })

    net = reload(path, sunspot_net(hidden))
    x = torch.tensor(series, dtype=torch.float32)[None, :, None]
    with torch.no_grad():
        y, (h_n, c_n) = net.rnn(x.double())
        y = net.fc(y)
        forecast = closed_loop(net, x.double(), 22)
        from_1979 = closed_loop(net, x[:, :split].double(), 22)[0, :, 0].numpy()
    save(ROOT / "models/expected/sunspots.safetensors",
         {"input": x, "output": y, "h_n": h_n, "c_n": c_n, "forecast": forecast})

    def errors(predicted, actual):
        e = np.asarray(predicted) - actual
        return f"MAE {np.abs(e).mean():5.2f}  RMSE {np.sqrt((e * e).mean()):5.2f}"

    held, past = series[split:], series[:split]
    print("  one step ahead, 1980-2008:")
    print(f"    this LSTM     {errors(y[0, split - 1:-1, 0], held)}")
    for order in (9, 11):
        ar = Autoregression(past, order)
        predicted = [ar.next(series[:t]) for t in range(split, len(series))]
        print(f"    AR({order:2})        {errors(predicted, held)}")
    print(f"    persistence   {errors(series[split - 1:-1], held)}")
    for n in (11, 22):
        print(f"  closed loop from 1979, 1980-{1979 + n}:")
        print(f"    this LSTM     {errors(from_1979[:n], held[:n])}")
        ar9 = Autoregression(past, 9).closed_loop(past, n)
        print(f"    AR( 9)        {errors(ar9, held[:n])}")
        print(f"    mean          {errors(np.full(n, past.mean()), held[:n])}")
    print("  closed loop, 1980-2001:", " ".join(f"{v:.0f}" for v in from_1979))
    print("  observed,    1980-2001:", " ".join(f"{v:.0f}" for v in held[:22]))
    print("  closed loop, 2009-2030:", " ".join(f"{v:.0f}" for v in forecast[0, :, 0]))


# --- chars --------------------------------------------------------------------------------

TOKENS = ["\n"] + [chr(c) for c in range(32, 127)]
ID = {c: i for i, c in enumerate(TOKENS)}


def encode(text):
    return torch.tensor([ID[c] for c in text])


def char_net(embedding, hidden):
    return Net(nn.RNN(embedding, hidden, batch_first=True), len(TOKENS), vocab=len(TOKENS))


def train_chars(text, embedding, hidden, seed, steps=4000, batch=32, window=96):
    """Truncated backpropagation through time over parallel readers of the text."""
    torch.manual_seed(seed)
    net = char_net(embedding, hidden)
    nn.init.orthogonal_(net.rnn.weight_hh_l0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 4e-3, total_steps=steps, pct_start=0.1)
    tokens = encode(text)
    reach = torch.arange(window + 1)
    at = torch.randint(0, len(tokens), (batch,))
    state = torch.zeros(1, batch, hidden)
    total = 0.0
    for step in range(1, steps + 1):
        # Now and then a reader jumps elsewhere and starts again from the zero state.
        jump = torch.rand(batch) < 0.03
        at = torch.where(jump, torch.randint(0, len(tokens), (batch,)), at)
        state = state * ~jump[None, :, None]
        chunk = tokens[(at[:, None] + reach) % len(tokens)]
        # One character read in a hundred is a random one: the model learns to carry on
        # after a typing error, and every character of the vocabulary gets an embedding.
        read = chunk[:, :-1]
        wrong = torch.rand(read.shape) < 0.01
        read = torch.where(wrong, torch.randint(0, len(TOKENS), read.shape), read)
        y, state = net(read, state, dropout=0.1)
        state = state.detach()
        at = (at + window) % len(tokens)
        loss = F.cross_entropy(y.flatten(0, 1), chunk[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 500 == 0:
            print(f"  step {step}: {total / 500 / math.log(2):.3f} bits per character", flush=True)
            total = 0.0
    return net


def bits_per_char(net, text):
    tokens = encode(text)
    with torch.no_grad():
        y, _ = net(tokens[None, :-1])
    return F.cross_entropy(y[0], tokens[1:]).item() / math.log(2)


def sample(net, prompt, length, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    text = prompt
    with torch.no_grad():
        y, state = net(encode(prompt)[None])
        for _ in range(length):
            p = torch.softmax(y[0, -1] / temperature, -1)
            token = torch.multinomial(p, 1, generator=generator)
            text += TOKENS[token.item()]
            y, state = net(token[None], state)
    return text


def unigram_bits(train, held):
    counts = np.ones(len(TOKENS))
    np.add.at(counts, encode(train).numpy(), 1.0)
    return -np.log2(counts / counts.sum())[encode(held).numpy()].mean()


def chars(seed):
    print("chars")
    text = (ROOT / "data/corpus.txt").read_text(encoding="ascii")
    cut = text.rindex("\n\n", 0, len(text) * 9 // 10) + 2  # the last tenth, whole paragraphs
    train, held = text[:cut], text[cut:]
    embedding, hidden = 32, 128
    net = train_chars(train, embedding, hidden, seed)
    path = ROOT / "models/chars.safetensors"
    save(path, net.state_dict(), {
        "version": 1,
        "input": {"kind": "embedding", "vocab": len(TOKENS), "size": embedding,
                  "tensor": "embedding"},
        "recurrent": "rnn",
        "layers": [{"cell": "rnn-tanh", "hidden_size": hidden, "direction": "forward",
                    "bias": True, "proj_size": 0}],
        "head": {"tensor": "fc", "activation": "softmax", "steps": "every"},
        "vocabulary": {"unit": "char", "tokens": TOKENS},
        "forecast": True,
        "description": "The next character of English prose from the characters so far; "
                       "trained on chapters of Alice's Adventures in Wonderland.",
        "command": f"python {SCRIPT} chars --seed {seed}",
    })

    net = reload(path, char_net(embedding, hidden))
    tokens = encode("I love AI")[None]
    with torch.no_grad():
        y, h_n = net.rnn(net.embedding(tokens))
        y = torch.softmax(net.fc(y), -1)
    save(ROOT / "models/expected/chars.safetensors", {"tokens": tokens, "output": y, "h_n": h_n})

    print(f"  {len(train)} characters to train on, {len(held)} held out")
    print(f"  bits per character: training text {bits_per_char(net, train):.3f}, "
          f"held out {bits_per_char(net, held):.3f}")
    print(f"  held out, letter frequencies alone: {unigram_bits(train, held):.3f}")
    for prompt in ("I love AI", "Alice "):
        print(f"  --- sample at temperature 0.6\n{sample(net, prompt, 240, 0.6, seed)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["sunspots", "chars", "all"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if options.model in ("sunspots", "all"):
        sunspots(options.seed)
    if options.model in ("chars", "all"):
        chars(options.seed)


if __name__ == "__main__":
    main()
