"""PyTorch's own networks through `rnn run`: what ONNX cannot hold, such as projections, and the plain path.

The committed fixtures of tests/golden: a state_dict, a batch and PyTorch's float64 results, for stacks,
both directions, packed sequences, given states, projections, embeddings and a softmax. The weights go to
`rnn run` as a .safetensors file with nothing but PyTorch's names in it.
"""

import json
from collections import Counter

import fuzz
import numpy as np
from roundtrip import read_safetensors, write_safetensors

GOLDEN = "tests/golden"
ATOL = RTOL = 1e-5


def case(program, path, work, device):
    """(status, detail) of one fixture on one device."""
    metadata, arrays = read_safetensors(path)
    golden = json.loads(metadata["golden"])
    data = {name[7:]: array for name, array in arrays.items() if name.startswith("golden.")}
    model, source, target = work / path.name, work / f"{path.stem}.npy", work / f"{path.stem}.npz"
    write_safetensors(model, {}, {k: v for k, v in arrays.items() if not k.startswith("golden.")})
    np.save(source, data["tokens"] if "tokens" in data else data["input"])
    command = ["run", model, source, "-o", target, "--device", device, "--quiet"]
    if golden["cell"] in ("rnn-relu", "gru-reset-before"):
        command += ["--cell", golden["cell"]]
    if golden["head_activation"] != "none":
        command += ["--output-activation", golden["head_activation"]]
    if "lengths" in data:
        np.save(work / "lengths.npy", data["lengths"])
        command += ["--lengths", work / "lengths.npy"]
    if "h_0" in data:
        np.savez(work / "initial.npz", **{name: data[name] for name in ("h_0", "c_0") if name in data})
        command += ["--initial", work / "initial.npz"]
    target.unlink(missing_ok=True)
    done = program.call(*command)
    if done.returncode != 0:
        return "error", " ".join(done.stderr.split())[:200]
    return judge(np.load(target), {name: data[name] for name in ("output", "h_n", "c_n") if name in data})


def judge(got, want):
    """Compares named arrays."""
    for name, array in want.items():
        if name not in got.files:
            return "fail", f"no {name} in the output"
        off = fuzz.excess(got[name], array, ATOL, RTOL)
        if not off <= 1:
            return "fail", f"{name} is off by {off:.3g} of the tolerance"
    return "pass", ""


def features(path):
    """What a fixture holds."""
    metadata, arrays = read_safetensors(path)
    golden = json.loads(metadata["golden"])
    rows = [f"cell {golden['cell']}", f"{golden['num_layers']} layers" if golden["num_layers"] > 1 else "1 layer"]
    rows += ["both directions"] * golden["bidirectional"] + ["projection"] * (golden["proj_size"] > 0)
    rows += ["packed sequences"] * ("golden.lengths" in arrays) + ["given states"] * ("golden.h_0" in arrays)
    rows += ["embedding"] * ("golden.tokens" in arrays) + ["Linear"] * ("fc.weight" in arrays)
    return rows + ["no biases"] * (not golden["bias"])


def run(program, out, devices):
    """Every fixture on every device that `rnn run` has. Returns the number of failures."""
    folder = out / "pytorch"
    (folder / "files").mkdir(parents=True, exist_ok=True)
    (folder / "reports").mkdir(exist_ok=True)
    paths = sorted((out.parents[1] / GOLDEN).glob("*.safetensors"))
    manifest = [{"case": path.stem, "features": features(path)} for path in paths]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in manifest))
    problems = 0
    for device in (name for name in devices if name != "reference"):
        rows = []
        for path in paths:
            status, detail = case(program, path, folder / "files", device)
            rows.append({"case": path.stem, "device": device, "strategy": "", "status": status, "detail": detail})
        (folder / "reports" / f"{device}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        counts = Counter(row["status"] for row in rows)
        problems += len(rows) - counts["pass"] if rows else 1
        print(f"pytorch    {device:12} {counts['pass']} of {len(rows)} pass", flush=True)
        for row in rows:
            if row["status"] != "pass":
                print(f"  {row['status']}: {row['case']}: {row['detail']}")
    return problems
