"""The ONNX backend-test layout: one folder a case, a model and its input and output tensors.

    <case>/model.onnx
    <case>/test_data_set_0/input_0.pb, input_1.pb, ...    in the order of the graph's inputs
    <case>/test_data_set_0/output_0.pb, ...               in the order of the graph's outputs

Each .pb is a TensorProto whose name is the graph input's or output's name.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

DATA = "test_data_set_0"


def write_case(folder, model, inputs, outputs, external_data=None):
    """Writes one case.

    inputs, outputs: {graph name: array}. Missing names are an error: a case is complete or it is not
    written. external_data: the name of a file beside model.onnx that takes the initializers above 100 bytes
    (shapes stay in the model: onnxruntime refuses a Reshape whose shape is elsewhere).
    """
    folder = Path(folder)
    (folder / DATA).mkdir(parents=True, exist_ok=True)
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    fed = [value.name for value in graph.input if value.name not in initializers]
    write_tensors(folder, "input", fed, inputs)
    write_tensors(folder, "output", [value.name for value in graph.output], outputs)
    if external_data:
        onnx.save_model(model, folder / "model.onnx", save_as_external_data=True, location=external_data,
                        all_tensors_to_one_file=True, size_threshold=100)
    else:
        onnx.save_model(model, folder / "model.onnx")


def write_tensors(folder, kind, names, arrays):
    """Writes arrays[name] for each name as <kind>_<index>.pb."""
    missing = set(names) - set(arrays)
    if missing:
        raise ValueError(f"{folder}: no {kind} named {sorted(missing)}")
    for index, name in enumerate(names):
        tensor = numpy_helper.from_array(np.ascontiguousarray(arrays[name]), name)
        (folder / DATA / f"{kind}_{index}.pb").write_bytes(tensor.SerializeToString())


def read_tensors(folder, kind):
    """Reads {name: array} of a case's inputs or outputs, in the graph's order."""
    arrays = {}
    for index in range(len(list((Path(folder) / DATA).glob(f"{kind}_*.pb")))):
        tensor = onnx.TensorProto.FromString((Path(folder) / DATA / f"{kind}_{index}.pb").read_bytes())
        arrays[tensor.name] = numpy_helper.to_array(tensor)
    return arrays


def case_folders(root):
    """The case folders below a suite's folder, by name."""
    return sorted(path.parent for path in Path(root).glob("*/model.onnx"))
