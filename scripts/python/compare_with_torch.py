"""Compares `rnn run` with PyTorch on networks that PyTorch draws and saves here and now.

For each network: save the state_dict as it is, run `rnn run` on a device, compare output, h_n and c_n
with PyTorch's own, in float64 from the same float32 weights, with and without lengths.

    cargo build --release
    pip install -r scripts/python/requirements.txt
    python scripts/python/compare_with_torch.py --device cpu --device llvmpipe --seed 1

Exit code 1 when any number is further off than 1e-5 + 1e-5·|reference|.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

TOLERANCE = 1e-5
BATCH, STEPS, INPUT, OUTPUT = 6, 11, 7, 4


class Network(torch.nn.Module):
    """A recurrent stack and a Linear, as most people write it."""

    def __init__(self, kind, hidden, **options):
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(INPUT, hidden, batch_first=True, **options)
        width = (options.get("proj_size") or hidden) * (2 if options.get("bidirectional") else 1)
        self.fc = torch.nn.Linear(width, OUTPUT)

    def forward(self, x, lengths):
        if lengths is None:
            y, states = self.rnn(x)
            return self.fc(y), states
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, states = self.rnn(packed)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        y = self.fc(y)
        mask = torch.arange(x.shape[1])[None, :] < lengths[:, None]
        return y * mask[..., None], states


NETWORKS = {
    "2-layer bidirectional LSTM + Linear": ("LSTM", 13, {"num_layers": 2, "bidirectional": True}, []),
    "LSTM with projection": ("LSTM", 14, {"num_layers": 2, "proj_size": 5}, []),
    "2-layer bidirectional GRU": ("GRU", 9, {"num_layers": 2, "bidirectional": True}, []),
    "RNN tanh": ("RNN", 17, {"num_layers": 1}, []),
    "RNN relu": ("RNN", 8, {"num_layers": 3, "nonlinearity": "relu"}, ["--cell", "rnn-relu"]),
}


def compare(rnn, device, name, folder, lengths):
    kind, hidden, options, flags = NETWORKS[name]
    network = Network(kind, hidden, **options)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "m.safetensors")
    x = torch.randn(BATCH, STEPS, INPUT)
    np.save(folder / "x.npy", x.numpy())
    command = [rnn, "run", folder / "m.safetensors", folder / "x.npy", "-o", folder / "y.npz",
               "--device", device, "--quiet", *flags]
    if lengths is not None:
        np.save(folder / "lengths.npy", lengths.numpy())
        command += ["--lengths", folder / "lengths.npy"]
    subprocess.run(command, check=True)
    got = np.load(folder / "y.npz")
    with torch.no_grad():
        output, states = network.double()(x.double(), lengths)
    want = {"output": output, "h_n": states[0] if kind == "LSTM" else states}
    if kind == "LSTM":
        want["c_n"] = states[1]
    worst = 0.0
    for key, tensor in want.items():
        tensor = tensor.numpy()
        if got[key].shape != tensor.shape:
            sys.exit(f"{name}: {key} has shape {got[key].shape}, PyTorch's {tensor.shape}")
        error = np.abs(got[key] - tensor) / (TOLERANCE + TOLERANCE * np.abs(tensor))
        worst = max(worst, float(np.max(np.nan_to_num(error, nan=np.inf))))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", action="append", help="as for rnn run; repeat for several")
    parser.add_argument("--rnn", default="target/release/rnn")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    failed = False
    for device in args.device or ["cpu"]:
        for name in NETWORKS:
            for lengths in (None, torch.tensor([4, 11, 1, 7, 11, 2])):
                with tempfile.TemporaryDirectory() as folder:
                    worst = compare(args.rnn, device, name, Path(folder), lengths)
                verdict = "ok" if worst <= 1.0 else "FAIL"
                failed |= worst > 1.0
                kind = "full" if lengths is None else "lengths"
                print(f"{verdict:4} {device:10} {kind:7} {name:38} {worst:6.3f} of tolerance")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
