"""Converts a Keras 3 model to .safetensors that `rnn` reads. Needs numpy, h5py and safetensors, no Keras.

    pip install -r scripts/python/requirements-keras.txt
    python scripts/python/keras_to_safetensors.py model.keras model.safetensors
    python scripts/python/keras_to_safetensors.py model.json model.safetensors --weights model.weights.h5

A `.weights.h5` file alone does not say which layers it belongs to: give the text of `model.to_json()` with it.

Reads a chain (Sequential, or Functional without branches) of Embedding, SimpleRNN, LSTM, GRU, Bidirectional
with merge_mode="concat", Dropout, and one Dense at the end. Kernels are transposed; GRU's gates go from
Keras's order z, r, h to PyTorch's r, z, n; Keras's one bias of SimpleRNN, LSTM and GRU with reset_after=False
becomes bias_ih, and bias_hh is zero. A layer that cannot be said is refused by name.

    python scripts/python/keras_to_safetensors.py --self-test [RNN]

draws models with Keras (`pip install keras jax`), converts them, and compares `rnn run` with Keras.
"""

import argparse
import io
import json
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

# Keras's name: name and parameters in the file.
FUNCTIONS = {
    "tanh": {"name": "tanh"}, "sigmoid": {"name": "sigmoid"}, "relu": {"name": "relu"},
    "linear": {"name": "affine", "alpha": 1.0, "beta": 0.0}, "softsign": {"name": "softsign"},
    "softplus": {"name": "softplus"}, "elu": {"name": "elu", "alpha": 1.0},
    "leaky_relu": {"name": "leaky-relu", "alpha": 0.2},
    "hard_sigmoid": {"name": "hard-sigmoid", "alpha": 1 / 6, "beta": 0.5},
}
HEADS = {"linear": "none", "softmax": "softmax", "log_softmax": "log-softmax", "sigmoid": "sigmoid",
         "tanh": "tanh", "relu": "relu"}
RECURRENT = ("SimpleRNN", "LSTM", "GRU")


class Refused(Exception):
    """The model, or a layer of it, cannot be said."""


def snake(name):
    """Keras's name of a class in a weights file: SimpleRNN -> simple_rnn."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)).lower()


def chain(config):
    """The layers in their order, each with its place in the weights file."""
    layers, counts, before = [], Counter(), None
    for layer in config["config"]["layers"]:
        kind, name = layer["class_name"], layer["config"].get("name")
        text = json.dumps(layer.get("inbound_nodes", []))
        sources = re.findall(r'"keras_history": \["([^"]+)"', text)
        if sources and sources != [before]:
            raise Refused(f"{name}: expected a chain, layer after layer, got inputs {sources} after {before}")
        before = name
        place = snake(kind)
        number = counts[place]
        counts[place] += 1
        layers.append((kind, layer["config"], f"layers/{place}" + (f"_{number}" if number else "")))
    return layers


def function(name, layer):
    if name not in FUNCTIONS:
        raise Refused(f"{layer}: expected an activation out of {', '.join(FUNCTIONS)}, got {name!r}")
    return FUNCTIONS[name]


def cell_of(kind, config):
    """(cell, functions); no functions where they are the cell's own."""
    name, act = config["name"], config["activation"]
    if kind == "SimpleRNN":
        own = {"tanh": "rnn-tanh", "relu": "rnn-relu"}
        return own.get(act, "rnn-tanh"), [] if act in own else [function(act, name)]
    gates = config["recurrent_activation"]
    functions = [function(gates, name), function(act, name)] + [function(act, name)] * (kind == "LSTM")
    if (gates, act) == ("sigmoid", "tanh"):
        functions = []
    if kind == "LSTM":
        return "lstm", functions
    return ("gru" if config["reset_after"] else "gru-reset-before"), functions


def rows(kind, array):
    """The last axis, gates in PyTorch's order, first."""
    array = np.asarray(array, np.float32)
    if kind == "GRU":
        z, r, h = np.split(array, 3, axis=-1)
        array = np.concatenate([r, z, h], axis=-1)
    return np.ascontiguousarray(array.T)


def tensors_of(kind, config, group, index, reverse):
    """PyTorch's tensors of a layer in one direction."""
    variables = [group[f"cell/vars/{k}"][()] for k in range(3 if config["use_bias"] else 2)]
    end = f"l{index}" + ("_reverse" if reverse else "")
    found = {f"rnn.weight_ih_{end}": rows(kind, variables[0]), f"rnn.weight_hh_{end}": rows(kind, variables[1])}
    if config["use_bias"]:
        bias = np.atleast_2d(variables[2])
        found[f"rnn.bias_ih_{end}"] = rows(kind, bias[0])
        found[f"rnn.bias_hh_{end}"] = rows(kind, bias[1]) if len(bias) == 2 else np.zeros_like(found[f"rnn.bias_ih_{end}"])
    return found


def recurrent(kind, config, group, index):
    """(layer's entry, its tensors, whether it gives every step)."""
    two = kind == "Bidirectional"
    parts = [(kind, config, group)]
    if two:
        if config["merge_mode"] != "concat":
            raise Refused(f"{config['name']}: expected merge_mode 'concat', got {config['merge_mode']!r}")
        inner = [config["layer"], config["backward_layer"]]
        parts = [(part["class_name"], part["config"], group[place])
                 for part, place in zip(inner, ("forward_layer", "backward_layer"))]
        if [part[1]["go_backwards"] for part in parts] != [False, True] or parts[0][0] != parts[1][0]:
            raise Refused(f"{config['name']}: expected the same layer forward and backward")
    entries = []
    for kind, part, _ in parts:
        if kind not in RECURRENT:
            raise Refused(f"{part['name']}: expected one of {', '.join(RECURRENT)}, got {kind}")
        entries.append((*cell_of(kind, part), part["units"], part["use_bias"], part["return_sequences"]))
    first = entries[0]
    if any((e[0], *e[2:]) != (first[0], *first[2:]) for e in entries):
        raise Refused(f"{config['name']}: expected the same cell, units and biases in both directions")
    backwards = not two and parts[0][1]["go_backwards"]
    if backwards and first[4]:
        raise Refused(f"{config['name']}: go_backwards with return_sequences gives the steps in reverse order, "
                      "which no network here does")
    entry = {"cell": first[0], "hidden_size": first[2], "bias": first[3],
             "direction": "bidirectional" if two else "reverse" if backwards else "forward"}
    if any(e[1] for e in entries):
        # Where only one direction has functions of its own, the other's are the defaults.
        own = [{"name": "sigmoid"}, {"name": "tanh"}, {"name": "tanh"}]
        count = max(len(e[1]) for e in entries)
        default = [{"name": "tanh"}] if count == 1 else own[:count]
        entry["functions"] = [e[1] or default for e in entries]
    tensors = {}
    for number, (kind, part, place) in enumerate(parts):
        tensors |= tensors_of(kind, part, place, index, number == 1)
    return entry, tensors, first[4]


def convert(config, weights):
    """(tensors, metadata, notes) of a model's configuration and its open weights file."""
    if config.get("class_name") not in ("Sequential", "Functional"):
        raise Refused(f"expected a Sequential or Functional model, got {config.get('class_name')}")
    tensors, layers, notes = {}, [], []
    source, head, every = None, None, True
    for kind, layer, place in chain(config):
        name = layer["name"]
        if kind in ("InputLayer", "Dropout", "SpatialDropout1D"):
            continue
        if head:
            raise Refused(f"{name}: expected nothing after the Dense layer, got {kind}")
        if kind == "Embedding" and not layers and source is None:
            table = np.asarray(weights[place]["vars/0"][()], np.float32)
            tensors["embedding.weight"] = table
            source = {"kind": "embedding", "vocab": table.shape[0], "size": table.shape[1]}
            if layer.get("mask_zero"):
                notes.append(f"{name}: mask_zero is not kept; give the sequences' lengths instead")
        elif kind in RECURRENT or kind == "Bidirectional":
            if not every:
                raise Refused(f"{name}: expected return_sequences=True in the layer before it")
            entry, own, every = recurrent(kind, layer, weights[place], len(layers))
            layers.append(entry)
            tensors |= own
        elif kind in ("Dense", "TimeDistributed") and layers:
            if kind == "TimeDistributed":
                if layer["layer"]["class_name"] != "Dense":
                    raise Refused(f"{name}: expected TimeDistributed(Dense), got {layer['layer']['class_name']}")
                layer, place = layer["layer"]["config"], place + "/layer"
            if layer["activation"] not in HEADS:
                raise Refused(f"{name}: expected an activation out of {', '.join(HEADS)}, got {layer['activation']!r}")
            tensors["fc.weight"] = rows(kind, weights[place]["vars/0"][()])
            if layer["use_bias"]:
                tensors["fc.bias"] = rows(kind, weights[place]["vars/1"][()])
            head = {"activation": HEADS[layer["activation"]], "steps": "every" if every else "final"}
        else:
            raise Refused(f"{name}: {kind} is not read here")
    if not layers:
        raise Refused("expected a recurrent layer, got none")
    if not every and not head:
        notes.append("return_sequences=False without a Dense layer: read the states (h_n), `rnn run` gives every step")
    if source is None:
        source = {"kind": "dense", "size": int(tensors["rnn.weight_ih_l0"].shape[1])}
    document = {"version": 1, "input": source, "layers": layers}
    if head:
        document["head"] = head
    return tensors, {"wgpu_rnn": json.dumps(document)}, notes


def convert_file(model, target, weights=None):
    """Converts files; prints notes on standard error."""
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            config = json.loads(archive.read("config.json"))
            weights = io.BytesIO(archive.read("model.weights.h5"))
    elif weights is None:
        raise Refused(f"{model}: expected a .keras file, or the text of model.to_json() with --weights")
    else:
        config = json.loads(Path(model).read_text())
    with h5py.File(weights, "r") as opened:
        tensors, metadata, notes = convert(config, opened)
    save_file(tensors, target, metadata)
    for note in notes:
        print("note:", note, file=sys.stderr)


def self_test(rnn):
    """Compares `rnn run` with Keras on models drawn here. Returns the number of faults."""
    import os
    import subprocess
    import tempfile

    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras
    from keras import layers as kl

    keras.utils.set_random_seed(0)
    noise = keras.initializers.RandomUniform(-0.5, 0.5)
    free = {"bias_initializer": noise}
    dense, ids = keras.Input((None, 3)), keras.Input((None,), dtype="int32")
    token = kl.Embedding(7, 3)(ids)
    models = {
        "LSTM": [kl.LSTM(4, return_sequences=True, **free), kl.LSTM(5, **free), kl.Dense(2, **free)],
        "bidirectional": [kl.Bidirectional(kl.LSTM(4, return_sequences=True, **free)),
                          kl.Bidirectional(kl.GRU(3, **free)), kl.Dense(2, activation="softmax", **free)],
        "GRU": [kl.GRU(4, return_sequences=True, **free), kl.Dropout(0.5), kl.Dense(2, activation="sigmoid", **free)],
        "GRU reset before": [kl.GRU(4, reset_after=False, return_sequences=True, **free),
                             kl.TimeDistributed(kl.Dense(2, **free))],
        "SimpleRNN relu": [kl.SimpleRNN(4, activation="relu", go_backwards=True, **free), kl.Dense(2, use_bias=False)],
        "functions": [kl.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid", return_sequences=True,
                              use_bias=False), kl.SimpleRNN(3, activation="elu", return_sequences=True, **free)],
    }
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for tokens in (False, True):
            for name, stack in models.items():
                stack = [type(layer).from_config(layer.get_config()) for layer in stack]
                out = token if tokens else dense
                for layer in stack:
                    out = layer(out)
                model = keras.Model(ids if tokens else dense, out)
                model.save(folder / "m.keras")
                model.save_weights(folder / "m.weights.h5")
                (folder / "m.json").write_text(model.to_json())
                x = np.random.default_rng(1).integers(0, 7, (3, 6)) if tokens else np.random.default_rng(1).normal(
                    size=(3, 6, 3)).astype(np.float32)
                want = np.asarray(model(x))
                np.save(folder / "x.npy", x)
                for source, weights in (("m.keras", None), ("m.json", folder / "m.weights.h5")):
                    convert_file(folder / source, folder / "m.safetensors", weights)
                    subprocess.run([rnn, "run", folder / "m.safetensors", folder / "x.npy", "-o", folder / "y.npy",
                                    "--device", "cpu", "--quiet"], check=True)
                    got = np.load(folder / "y.npy").reshape(want.shape)
                    error = float(np.abs(got - want).max())
                    fault = not error <= 1e-5
                    faults += fault
                    print(f"{name}{', tokens' if tokens else ''}, {source}: largest difference {error:.1e}"
                          + (" TOO LARGE" if fault else ""))
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="model.keras, or the text of model.to_json()")
    parser.add_argument("target", nargs="?", help="the .safetensors file to write")
    parser.add_argument("--weights", help="model.weights.h5, with the text of model.to_json()")
    parser.add_argument("--self-test", nargs="?", const="target/release/rnn", metavar="RNN", help="compare with Keras")
    args = parser.parse_args()
    if args.self_test:
        sys.exit(1 if self_test(args.self_test) else 0)
    if not args.model or not args.target:
        parser.error("expected MODEL and TARGET")
    try:
        convert_file(args.model, args.target, args.weights)
    except (Refused, OSError, KeyError, ValueError) as error:
        sys.exit(f"error: {args.model}: {error}")


if __name__ == "__main__":
    main()
