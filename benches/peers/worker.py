"""A Python runtime as a worker process: one request a line on standard input, one answer a line on standard output.

    {"do": "prepare", "workload": PATH}          -> {"ok": true, "error": E} | {"na": WHY} | {"wrong": WHY}
    {"do": "run", "count": N, "clock": CLOCK}    -> {"seconds": [...]}

The first line that a worker writes says what it is: {"name", "version", "device"} or {"na": WHY}. The Rust
workers (rust/src/main.rs) speak the same. `prepare` loads the workload, runs it once and compares the result
with the oracle; clock "host" goes from input in host memory to output in host memory, "device" from input to
output in the device's own memory; clock "train" is one training step: forward, mean squared error against zeros,
gradients, Adam with PyTorch's defaults.

    python worker.py RUNTIME THREADS
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ATOL = RTOL = 1e-4
# TF32 keeps ten bits of the mantissa of a product's factors.
TF32_ATOL = 2e-2


class NotApplicable(Exception):
    """The runtime cannot do what was asked; the text is the reason in the table."""


class Data:
    """A workload's numbers and arrays."""

    def __init__(self, path):
        path = Path(path)
        self.folder, suffix = path.parent, "_lengths" if path.stem.endswith("_lengths") else ""
        vars(self).update(json.loads(path.read_text()))
        arrays = load_file(self.folder / f"data{suffix}.safetensors")
        self.x, self.expected, self.row_lengths = arrays["input"], arrays["output"], arrays.get("lengths")
        self.model = self.folder / f"model{suffix}.onnx"
        self.weights = self.folder / "weights.safetensors"


class Torch:
    """PyTorch's own modules. With lengths: packed sequences, or for `padded` all steps."""

    def __init__(self, threads, device="cpu", tf32=False, padded=False):
        import torch

        self.torch, self.device, self.padded = torch, device, padded
        self.version, self.name = torch.__version__, "cpu"
        self.atol = TF32_ATOL if tf32 else ATOL
        if device == "cuda":
            if not torch.cuda.is_available():
                raise NotApplicable("no CUDA device")
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            self.name = torch.cuda.get_device_name()
            self.version += f", cuDNN {torch.backends.cudnn.version()}"
        torch.set_num_threads(threads)

    def prepare(self, data):
        from safetensors.torch import load_file as load_torch

        if self.padded and data.row_lengths is None:
            raise NotApplicable("the same as without lengths")
        if self.padded and data.directions == 2:
            raise NotApplicable("the reverse direction would start in the padding")
        modules = {"rnn": self.torch.nn.RNN, "lstm": self.torch.nn.LSTM, "gru": self.torch.nn.GRU}
        self.module = modules[data.cell](data.inputs, data.hidden, data.layers, bidirectional=data.directions == 2)
        self.module.load_state_dict(load_torch(data.weights))
        self.module.to(self.device)
        self.x = self.torch.from_numpy(data.x)
        self.resident = self.x.to(self.device)
        self.optimizer = None
        self.lengths = None
        if data.row_lengths is not None and not self.padded:
            self.lengths = self.torch.from_numpy(data.row_lengths).long()

    def forward(self, x):
        if self.lengths is None:
            return self.module(x)[0]
        packing = self.torch.nn.utils.rnn
        packed = packing.pack_padded_sequence(x, self.lengths, enforce_sorted=False)
        return packing.pad_packed_sequence(self.module(packed)[0], total_length=x.shape[0])[0]

    def run(self):
        with self.torch.inference_mode():
            return self.forward(self.x.to(self.device)).cpu().numpy()

    def train(self):
        """One training step, waited for."""
        if self.optimizer is None:
            self.optimizer = self.torch.optim.Adam(self.module.parameters(), lr=1e-3)
        loss = self.forward(self.x.to(self.device)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def run_on_device(self):
        if self.device != "cuda":
            raise NotApplicable("no device memory")
        with self.torch.inference_mode():
            self.forward(self.resident)
            self.torch.cuda.synchronize()


class OnnxRuntime:
    """An ONNX graph through onnxruntime's CPU provider, or its WebGPU provider from a package of its own."""

    atol = ATOL

    def __init__(self, threads, provider="CPUExecutionProvider"):
        import onnxruntime

        self.ort, self.provider, self.threads = onnxruntime, provider, threads
        self.version, self.name = onnxruntime.__version__, provider
        if provider not in onnxruntime.get_available_providers():
            raise NotApplicable(f"no {provider} in this package")

    def prepare(self, data):
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 4
        # Without this, a node that the WebGPU provider lacks would quietly run on the CPU.
        if self.provider != "CPUExecutionProvider":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self.session = self.ort.InferenceSession(str(data.model), options, providers=[self.provider],
                                                 enable_fallback=0)
        self.feeds = {"x": data.x}
        if data.row_lengths is not None:
            self.feeds["lengths"] = data.row_lengths

    def run(self):
        return self.session.run(None, self.feeds)[0]

    def run_on_device(self):
        raise NotApplicable("measured on the host clock only")


class OpenVino:
    """An ONNX graph through OpenVINO's CPU plugin, in f32."""

    atol, name = ATOL, "CPU"

    def __init__(self, threads):
        import openvino

        self.ov, self.threads, self.version = openvino, threads, openvino.__version__.split("-")[0]

    def prepare(self, data):
        core = self.ov.Core()
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads,
                 "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(core.read_model(data.model), "CPU", hints)
        self.request = compiled.create_infer_request()
        self.feeds = {"x": data.x}
        if data.row_lengths is not None:
            self.feeds["lengths"] = data.row_lengths

    def run(self):
        return self.request.infer(self.feeds, share_inputs=True, share_outputs=True)[0]

    def run_on_device(self):
        raise NotApplicable("no device memory")


RUNTIMES = {
    "torch-cpu": Torch,
    "torch-cuda": lambda threads: Torch(threads, "cuda"),
    "torch-cuda-tf32": lambda threads: Torch(threads, "cuda", tf32=True),
    "torch-cuda-padded": lambda threads: Torch(threads, "cuda", padded=True),
    "torch-cuda-tf32-padded": lambda threads: Torch(threads, "cuda", tf32=True, padded=True),
    "onnxruntime-cpu": OnnxRuntime,
    "onnxruntime-webgpu": lambda threads: OnnxRuntime(threads, "WebGpuExecutionProvider"),
    "openvino-cpu": OpenVino,
}


def differences(data, output):
    """Absolute differences from the oracle, 0 beyond the lengths; None when the shape is another."""
    want = data.expected
    if output.shape != want.shape:
        return None
    difference = np.abs(output - want)
    if data.row_lengths is not None:
        difference[np.arange(data.steps)[:, None] >= data.row_lengths[None, :]] = 0
    return difference


def prepare(runtime, path):
    data = Data(path)
    runtime.prepare(data)
    output = np.asarray(runtime.run())
    difference = differences(data, output)
    if difference is None:
        return {"wrong": f"shape {list(output.shape)}, expected {list(data.expected.shape)}"}
    error = float(difference.max())
    if not (difference <= runtime.atol + RTOL * np.abs(data.expected)).all():  # a NaN fails
        return {"wrong": f"off by {error:.2g}"}
    return {"ok": True, "error": error}


def run(runtime, count, clock):
    names = {"host": "run", "device": "run_on_device", "train": "train"}
    function = getattr(runtime, names[clock], None)
    if function is None:
        raise NotApplicable("does not train here")
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        kept = function()
        seconds.append(time.perf_counter() - start)
        del kept
    return {"seconds": seconds}


def shortened(error):
    """A message on one line; of onnxruntime's only what follows the failed condition."""
    text = " ".join(str(error).split()).split(" was false. ")[-1]
    return text if len(text) <= 200 else text[:197] + "..."


def main():
    answers, sys.stdout = sys.stdout, sys.stderr  # what a runtime prints must not mix with the answers

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    try:
        runtime = RUNTIMES[sys.argv[1]](int(sys.argv[2]))
    except Exception as error:  # a package that is missing or does not load
        answer({"na": shortened(error)})
        return
    answer({"name": sys.argv[1], "version": runtime.version, "device": runtime.name})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                answer(prepare(runtime, request["workload"]))
            else:
                answer(run(runtime, request["count"], request["clock"]))
        except Exception as error:  # every runtime has its own types
            answer({"na": shortened(error)})


if __name__ == "__main__":
    main()
