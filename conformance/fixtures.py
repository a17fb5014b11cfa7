"""The committed models below tests/onnx: whole networks as PyTorch's, Keras's and other exporters write them."""

import shutil
from pathlib import Path

import layout
import onnx

SOURCE = Path(__file__).resolve().parents[1] / "tests" / "onnx"
ATOL = RTOL = 1e-5


def write(root):
    """Copies every fixture below root. Returns the manifest's rows."""
    rows = []
    for folder in layout.case_folders(SOURCE):
        shutil.copytree(folder, root / folder.name)
        model = onnx.load_model(folder / "model.onnx", load_external_data=False)
        rows.append({"case": folder.name, "features": features(folder.name, model)})
    if not rows:
        raise SystemExit(f"no fixtures below {SOURCE}")
    return rows


def features(name, model):
    """Where a model comes from and which recurrent operators it holds."""
    kinds = {"_ts": "torch.onnx.export(dynamo=False)", "_dynamo": "torch.onnx.export(dynamo=True)"}
    source = next((label for end, label in kinds.items() if name.endswith(end)), None)
    source = source or ("Keras through tf2onnx" if name.startswith("keras") else "hand-built")
    operators = sorted({node.op_type for node in model.graph.node} & {"RNN", "GRU", "LSTM"})
    return [f"exporter: {source}", *(f"op={op}" for op in operators)]
