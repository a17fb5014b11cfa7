#!/usr/bin/env python3
"""Writes the fixture of a training run: weights, batches and PyTorch's losses over 200 steps.

A character task on `data/corpus.txt`: two LSTM layers over an embedding, Adam, clipped gradients. PyTorch
computes in float32, as the device does.

    python tests/golden/curve.py    # rewrites curve/lstm_adam.safetensors
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
STEPS, BATCHES, B, T, E, H, V = 200, 8, 8, 24, 12, 24, 32
LR, CLIP = 5e-3, 1.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, E)
        self.rnn = nn.LSTM(E, H, num_layers=2, batch_first=True)
        self.fc = nn.Linear(H, V)

    def forward(self, tokens):
        return self.fc(self.rnn(self.embedding(tokens))[0])


def main():
    torch.manual_seed(7)
    torch.use_deterministic_algorithms(True)
    text = (HERE.parent.parent / "data" / "corpus.txt").read_bytes()
    # Letters in classes of their own, everything else folded into the few that remain.
    ids = torch.tensor([b % V for b in text[: BATCHES * B * (T + 1)]])
    ids = ids.reshape(BATCHES, B, T + 1)
    net = Net()
    start = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    losses = []
    for step in range(STEPS):
        batch = ids[step % BATCHES]
        loss = F.cross_entropy(net(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    print(f"first {losses[0]:.4f}, last {losses[-1]:.4f}")
    about = {"cell": "lstm", "num_layers": 2, "hidden_size": H, "input_size": E, "bidirectional": False,
             "bias": True, "proj_size": 0, "head_activation": "none", "head_steps": "every",
             "torch": torch.__version__.split("+")[0], "lr": LR, "clip_norm": CLIP}
    (HERE / "curve").mkdir(exist_ok=True)
    save_file(
        {**start, "golden.tokens": ids.to(torch.int32), "golden.losses": torch.tensor(losses)},
        HERE / "curve" / "lstm_adam.safetensors",
        metadata={"golden": json.dumps(about)},
    )
    (HERE / "curve" / "lstm_adam.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
