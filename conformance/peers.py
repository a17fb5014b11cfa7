"""The node, attributes and fuzz cases through other runtimes: onnxruntime, onnx's reference evaluator, OpenVINO, tract.

Each runtime works in a process of its own, which takes folders on its input and answers a line for each; a
crash or a hang is put down against the case at hand and a new process goes on with the next. Statuses:

    pass      every output within the suite's tolerance
    wrong     it ran, and an output differs or has another shape
    refused   it said that it does not take the model
    crashed   its process died
    timeout   no answer within LIMIT_S

Packages: requirements-peers.txt. A runtime whose package is not installed is left out and said so.
"""

import importlib.metadata
import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import fuzz
import layout
import node
import numpy as np

LIMIT_S = 30
TOLERANCE = {"node": (node.ATOL, node.RTOL), "attributes": (fuzz.ATOL, fuzz.RTOL), "fuzz": (fuzz.ATOL, fuzz.RTOL)}


# --- the runtimes: (path of a model, {input: array}) -> [arrays], in the order of the graph's outputs ----


def run_onnxruntime(path, feeds):
    import oracle

    return list(oracle.run_model(path, feeds).values())


def run_onnx_reference(path, feeds):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(path).run(None, feeds)


def run_openvino(path, feeds):
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32",
                                                                 "INFERENCE_NUM_THREADS": 1})
    results = compiled(feeds)
    return [results[output] for output in compiled.outputs]


def run_tract(path, feeds):
    import tract

    kinds = {"float32": "f32", "int32": "i32", "int64": "i64"}
    model = tract.onnx().load(path)
    ordered = [feeds[model.input_name(index)] for index in range(model.input_count())]
    for index, array in enumerate(ordered):
        model.set_input_fact(index, ",".join([*map(str, array.shape), kinds[str(array.dtype)]]))
    results = model.into_model().into_runnable().run([np.ascontiguousarray(array) for array in ordered])
    return [result.to_numpy() for result in results]


# name: (package, function)
RUNTIMES = {"onnxruntime": ("onnxruntime", run_onnxruntime), "onnx.reference": ("onnx", run_onnx_reference),
            "openvino": ("openvino", run_openvino), "tract": ("tract", run_tract)}


# --- the worker process ---------------------------------------------------------------------------


def answer(function, folder, atol, rtol):
    """One case's row without its name."""
    feeds, expected = layout.read_tensors(folder, "input"), layout.read_tensors(folder, "output")
    try:
        got = [np.asarray(value) for value in function(str(Path(folder) / "model.onnx"), feeds)]
    except Exception as error:  # every runtime has its own types
        return {"status": "refused", "detail": shortened(str(error))}
    if len(got) != len(expected):
        return {"status": "wrong", "detail": f"{len(got)} outputs, expected {len(expected)}"}
    for (name, want), value in zip(expected.items(), got, strict=True):
        if value.shape != want.shape:
            return {"status": "wrong", "detail": f"{name} has shape {list(value.shape)}, expected {list(want.shape)}"}
        off = fuzz.excess(value, want, atol, rtol)
        if not off <= 1:
            return {"status": "wrong", "detail": f"{name} is off by {off:.3g} of the tolerance"}
    return {"status": "pass", "detail": ""}


def shortened(text):
    """A message's first lines, up to a backtrace; of a long one the beginning and the end."""
    text = " ".join(text.split("Stack backtrace")[0].split())
    return text if len(text) <= 260 else f"{text[:90]} ... {text[-160:]}"


def work(runtime, atol, rtol):
    """The worker: reads folders from standard input, answers one JSON line each."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a runtime prints must not mix with the answers
    function = RUNTIMES[runtime][1]
    for line in sys.stdin:
        print(json.dumps(answer(function, line.strip(), atol, rtol)), file=answers, flush=True)


# --- the parent -----------------------------------------------------------------------------------


class Worker:
    """A worker process with a time limit for each answer."""

    def __init__(self, runtime, atol, rtol):
        self.process = subprocess.Popen([sys.executable, __file__, runtime, str(atol), str(rtol)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def ask(self, folder):
        """The row of a case; the process is gone when it says crashed or timeout."""
        try:
            self.process.stdin.write(f"{folder}\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=LIMIT_S)
        except queue.Empty:
            self.process.kill()
            return {"status": "timeout", "detail": f"no answer in {LIMIT_S} s"}
        except BrokenPipeError:
            line = None
        if line is None:
            return {"status": "crashed", "detail": f"exit code {self.process.wait()}"}
        return json.loads(line)


def run_suite(out, suite, runtime):
    """One runtime over one suite's cases. Writes and returns its rows."""
    rows, worker = [], None
    for folder in layout.case_folders(out / suite / "cases"):
        worker = worker or Worker(runtime, *TOLERANCE[suite])
        row = worker.ask(folder)
        if row["status"] in ("crashed", "timeout"):
            worker = None
        rows.append({"case": folder.name, "device": runtime, "strategy": "", **row})
    if worker:
        worker.process.stdin.close()
        worker.process.wait()
    report = out / suite / "peers" / f"{runtime}.jsonl"
    report.parent.mkdir(exist_ok=True)
    report.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run(out):
    """Every installed runtime over every suite that was generated. Writes out/peers.json: versions."""
    versions = {}
    for runtime, (package, _) in RUNTIMES.items():
        found = version(package)
        if found is None:
            print(f"peer       {runtime}: package {package} is not installed")
            continue
        versions[runtime] = found
        for suite in TOLERANCE:
            if (out / suite / "cases").is_dir():
                counts = Counter(row["status"] for row in run_suite(out, suite, runtime))
                print(f"peer       {runtime} {found}, {suite}: " + ", ".join(f"{v} {k}" for k, v in counts.items()),
                      flush=True)
    (out / "peers.json").write_text(json.dumps(versions))


if __name__ == "__main__":
    work(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
