"""Conversions: what `rnn convert` writes must compute the same under onnxruntime.

.onnx -> .safetensors -> .onnx of the node cases, the exporters' models and some fuzz cases, against the
case's expected outputs; and .safetensors -> .onnx of PyTorch's golden fixtures, against PyTorch's results.

A converted graph has no inputs for states and lengths: where the case has them, the expected outputs are
onnxruntime's on the original graph with zero states and full lengths. What cannot be compared so counts as
refused, with the reason.

A converted file has names and layouts of its own: a .safetensors file keeps the network and drops the
graph around it. So arrays are matched by what they hold: each input takes the array that fits its type and
shape, and each wanted output must be found, up to the order of its axes, among the converted model's
outputs. The numbers are random, so nothing matches by accident.
"""

import itertools
import json
import struct
from collections import Counter

import layout
import numpy as np
import onnxruntime
import oracle
from device import read_rows, verdicts

ATOL = RTOL = 1e-5
FUZZ_CASES = 60
GOLDEN = "tests/golden"
# A run in which more is refused proves nothing.
LEAST_PASSING = 0.6


# What a graph does to its outputs beyond the order of axes, which the network alone does not do.
VIEWS = {
    "keras_lstm_backwards": lambda want: {name: array[:, ::-1] for name, array in want.items()},  # time turned round
    "lstm_stacked_state_keras_style": lambda want: {"y": want["y"]} | dict(
        zip("hc", np.split(want["state_out"], 2, axis=1), strict=True)),  # [h, c] in one array
}

# --- matching -------------------------------------------------------------------------------------


def same_numbers(want, got):
    """Whether got holds want's numbers, up to the order and the grouping of want's axes."""
    if want.size != got.size:
        return False
    flat = got.reshape(-1).astype(np.float64)
    for order in itertools.permutations(range(want.ndim)):
        moved = want.transpose(order).reshape(-1).astype(np.float64)
        if (np.abs(flat - moved) <= ATOL + RTOL * np.abs(moved)).all():
            return True
    return False


def contains(outputs, want):
    """The names of the wanted outputs that no output of the converted model holds."""
    return [name for name, array in want.items() if not any(same_numbers(array, got) for got in outputs.values())]


def fits(port, array):
    """Whether an array can be fed to a graph input."""
    kinds = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
    shape = port.shape
    return kinds.get(port.type) == array.dtype and len(shape) == array.ndim and all(
        size == known for size, known in zip(array.shape, shape, strict=True) if isinstance(known, int))


def variants(arrays, extra):
    """Every array as it is, with its first two axes exchanged, and integers in both widths."""
    result = []
    for name, array in {**arrays, **extra}.items():
        forms = [array, array.transpose(1, 0, *range(2, array.ndim))] if array.ndim > 1 else [array]
        if array.dtype.kind == "i":
            forms = [form.astype(kind) for form in forms for kind in (np.int32, np.int64)]
        result += [(name, np.ascontiguousarray(form)) for form in forms]
    return result


def assignments(session, arrays, extra):
    """Feeds for a session, each graph input another array; at most 200 of them."""
    ports = session.get_inputs()
    choices = [[(name, form) for name, form in variants(arrays, extra) if fits(port, form)] for port in ports]
    for pick in itertools.islice(itertools.product(*choices), 200):
        names = [name for name, _ in pick]
        if len(set(names)) == len(names):
            yield {port.name: form for port, (_, form) in zip(ports, pick, strict=True)}


def defaults(arrays, model_inputs, hidden_states):
    """Arrays for what the original leaves out and a converted model may ask for: full lengths, zero states."""
    rank3 = [array for array in arrays.values() if array.ndim == 3 and array.dtype == np.float32]
    tokens = [array for array in arrays.values() if array.ndim == 2 and array.dtype == np.int64]
    source = (rank3 + tokens or [None])[0]
    if source is None:
        return {}
    extra = {}
    for batch, steps in {(source.shape[0], source.shape[1]), (source.shape[1], source.shape[0])}:
        extra[f"lengths of {batch}"] = np.full(batch, steps, np.int64)
        for port in hidden_states(model_inputs):
            known = [size if isinstance(size, int) else batch for size in port.shape]
            extra[f"zeros for {port.name}, batch {batch}"] = np.zeros(known, np.float32)
    return extra


def states_of(ports):
    """Graph inputs that look like states: float, three axes, the last two of which are known or free."""
    return [port for port in ports if port.type == "tensor(float)" and len(port.shape) == 3]


def compare(path, arrays, want):
    """('pass' or 'fail' or 'error', detail) of a converted model."""
    try:
        session = onnxruntime.InferenceSession(str(path), oracle.options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many types
        return "error", f"onnxruntime does not load it: {' '.join(str(error).split())[-160:]}"
    names = [output.name for output in session.get_outputs()]
    best = None
    for feeds in assignments(session, arrays, defaults(arrays, session.get_inputs(), states_of)):
        try:
            outputs = dict(zip(names, session.run(names, feeds), strict=True))
        except Exception as error:
            best = best or f"onnxruntime: {' '.join(str(error).split())[-160:]}"
            continue
        missing = contains(outputs, want)
        if not missing:
            return "pass", ""
        best = f"no output holds {', '.join(missing)}"
    ports = ", ".join(f"{port.name} {port.type} {port.shape}" for port in session.get_inputs())
    return "fail", best or f"the case's arrays do not fit the inputs {ports}"


# --- converting -----------------------------------------------------------------------------------


def convert(program, source, target):
    """None when it worked, else ('refused' or 'error', detail): exit codes above 1 and panics are errors."""
    done = program.call("convert", source, target)
    if done.returncode == 0 and target.exists():
        return None
    detail = " ".join(done.stderr.split())
    reasons = ("nsupported", "no words", "not understood", "as constants (a network alone cannot say them)",
               "that are constant, got a graph input")
    refused = any(reason in detail for reason in reasons)
    return ("refused" if refused and "panicked" not in detail else "error"), detail[-300:]


def without_feeds(folder, arrays):
    """(arrays, expected outputs) of a case with zero states and full lengths, as onnxruntime computes the original.

    A network alone has neither states nor lengths, so the converted graph has no inputs for them. Raises what
    onnxruntime raises.
    """
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), oracle.options(),
                                           providers=["CPUExecutionProvider"])
    first, *rest = session.get_inputs()
    axes = {str(name): size for name, size in zip(first.shape, arrays[first.name].shape, strict=True)}
    steps = axes.get("time", arrays[first.name].shape[0])
    feeds = {first.name: arrays[first.name]}
    for port in rest:
        given = arrays[port.name]
        feeds[port.name] = np.zeros_like(given) if given.dtype.kind == "f" else np.full_like(given, steps)
    names = [output.name for output in session.get_outputs()]
    return {first.name: arrays[first.name]}, dict(zip(names, session.run(names, feeds), strict=True))


def onnx_case(program, folder, work, fault):
    """One case through .safetensors and back; fault is what onnxruntime is known to do wrong on it."""
    middle, back = work / f"{folder.name}.safetensors", work / f"{folder.name}.onnx"
    for source, target in ((folder / "model.onnx", middle), (middle, back)):
        problem = convert(program, source, target)
        if problem:
            return problem
    arrays, want = layout.read_tensors(folder, "input"), layout.read_tensors(folder, "output")
    if len(arrays) > 1:
        if fault:
            return "refused", f"onnxruntime is wrong on the original: {fault}"
        try:
            arrays, want = without_feeds(folder, arrays)
        except Exception as error:  # onnxruntime has many types
            return "refused", f"onnxruntime does not run the original: {' '.join(str(error).split())[-120:]}"
    return compare(back, arrays, VIEWS.get(folder.name, dict)(want))


def read_safetensors(path):
    """(metadata, {name: array}); the format is a length, a JSON header and bytes."""
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        array = np.frombuffer(data[8 + size + start:8 + size + end], kinds[entry["dtype"]])
        arrays[name] = array.reshape(entry["shape"])
    return metadata, arrays


def write_safetensors(path, metadata, arrays):
    """Writes float32 arrays."""
    header, body = {"__metadata__": metadata}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def description(golden, weights):
    """The metadata `wgpu_rnn` of a golden fixture: what shapes alone do not say."""
    layer = {"cell": golden["cell"], "hidden_size": golden["hidden_size"], "bias": golden["bias"],
             "direction": "bidirectional" if golden["bidirectional"] else "forward", "proj_size": golden["proj_size"]}
    table = weights.get("embedding.weight")
    given = {"kind": "dense", "size": golden["input_size"]} if table is None else {
        "kind": "embedding", "vocab": table.shape[0], "size": table.shape[1], "tensor": "embedding"}
    head = {"tensor": "fc", "activation": golden["head_activation"], "steps": "every"}
    return {"version": 1, "input": given, "recurrent": "rnn", "layers": [layer] * golden["num_layers"]} | (
        {"head": head} if "fc.weight" in weights else {})


def golden_case(program, path, work):
    """One golden fixture: weights as PyTorch names them -> .onnx, against PyTorch's float64 results."""
    metadata, arrays = read_safetensors(path)
    weights = {name: array for name, array in arrays.items() if not name.startswith("golden.")}
    data = {name[7:]: array for name, array in arrays.items() if name.startswith("golden.")}
    source, target = work / f"golden_{path.name}", work / f"golden_{path.stem}.onnx"
    about = description(json.loads(metadata["golden"]), weights)
    write_safetensors(source, {"wgpu_rnn": json.dumps(about)}, weights)
    problem = convert(program, source, target)
    if problem:
        return problem
    results = {name: data.pop(name) for name in ("output", "h_n", "c_n") if name in data}
    given = sorted(set(data) - {"input", "tokens"})
    if given:
        return "refused", f"the results lean on {', '.join(given)}, which a network alone does not have"
    return compare(target, data, results)


def chosen(out):
    """The case folders of the generated suites: all node and torch cases, the fuzz cases of the first seeds."""
    fuzz = sorted(layout.case_folders(out / "fuzz" / "cases"), key=lambda folder: int(folder.name.rsplit("_", 1)[1]))
    return layout.case_folders(out / "node" / "cases") + layout.case_folders(out / "torch" / "cases") + fuzz[:FUZZ_CASES]


def run(program, out):
    """Runs every conversion, writes the report, prints the outcome. Returns the number of failures."""
    work = out / "roundtrip" / "files"
    work.mkdir(parents=True, exist_ok=True)
    rows = []

    def note(name, outcome):
        rows.append({"case": name, "device": "convert", "strategy": "", "status": outcome[0], "detail": outcome[1]})

    faults = {row["case"]: row["reason"] for row in read_rows(out / "fuzz" / "manifest.jsonl")
              if row["onnxruntime"] == "fault"}
    for folder in chosen(out):
        note(folder.name, onnx_case(program, folder, work, faults.get(folder.name)))
    for path in sorted((out.parents[1] / GOLDEN).glob("*.safetensors")):
        note(f"golden_{path.stem}", golden_case(program, path, work))
    report = out / "roundtrip" / "reports" / "convert.jsonl"
    report.parent.mkdir(exist_ok=True)
    report.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = Counter(row["status"] for row in rows)
    print(f"roundtrip  convert      {counts['pass']} of {len(rows)} pass, {counts['refused']} refused")
    bad = {case: said for case, said in verdicts(rows).items() if said[0] not in ("pass", "refused")}
    for case, (status, detail) in sorted(bad.items())[:20]:
        print(f"  {status}: {case}: {detail}")
    too_few = counts["pass"] < LEAST_PASSING * len(rows)
    if too_few:
        print(f"  expected at least a share of {LEAST_PASSING} to pass")
    return counts["fail"] + counts["error"] + too_few
