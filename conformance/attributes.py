"""One attribute value at a time: the least that a runtime must get right, and which one it does not.

A fuzz case holds many attribute values at once, so a runtime that fails one of them fails most cases. Here
every case is the plain operator (forward, biases, initial states, every output, opset 14, B=3, T=6, I=4, H=5)
with one thing changed. The initial states are part of the plain operator because exporters write them, and
because a runtime that cannot do without them would fail every row otherwise.
"""

import fuzz
import numpy as np
import spec

PLAIN = {"batch": 3, "steps": 6, "features": 4, "hidden": 5}


def with_activation(op, place, name):
    """Attributes with one function replaced, and its alpha and beta given."""
    names = list(spec.FUNCTIONS_OF[op])
    names[place] = name
    attributes = {"activations": names}
    if name.lower() in fuzz.ALPHA_RANGE:
        attributes["activation_alpha"] = [0.3]
    if name.lower() in fuzz.BETA_RANGE:
        attributes["activation_beta"] = [0.6]
    return attributes


def variations(op):
    """(row of the scoreboard, change) of an operator.

    A change may set: attributes, add and drop (optional inputs), lengths, outputs, opset, symbolic,
    states_stored (initial states are initializers).
    """
    states = states_of(op)
    yield "plain", {}
    for direction in ("reverse", "bidirectional"):
        yield f"direction={direction}", {"attributes": {"direction": direction}}
        yield f"direction={direction} with sequence_lens", {
            "attributes": {"direction": direction}, "lengths": [4, 6, 1]}
    yield "layout=1", {"attributes": {"layout": 1}}
    yield "layout=1, bidirectional, with sequence_lens", {
        "attributes": {"layout": 1, "direction": "bidirectional"}, "lengths": [4, 6, 1]}
    yield "clip", {"attributes": {"clip": 0.4}}
    yield "clip without B", {"attributes": {"clip": 0.4}, "drop": ["B"]}
    if op == "GRU":
        for value in (0, 1):
            yield f"linear_before_reset={value}", {"attributes": {"linear_before_reset": value}}
            yield f"linear_before_reset={value} with clip", {"attributes": {"linear_before_reset": value, "clip": 0.4}}
    if op == "LSTM":
        yield "input_forget=1", {"attributes": {"input_forget": 1}}
        yield "P (peepholes)", {"add": ["P"]}
        yield "P without initial states", {"add": ["P"], "drop": states}
        yield "P and input_forget=1", {"attributes": {"input_forget": 1}, "add": ["P"]}
        yield "P and clip", {"attributes": {"clip": 0.4}, "add": ["P"]}
        yield "initial_h without initial_c", {"drop": ["initial_c"]}
        yield "initial_c without initial_h", {"drop": ["initial_h"]}
    for place in range(len(spec.FUNCTIONS_OF[op])):
        for name in spec.ALL_ACTIVATIONS:
            yield f"activation {name}", {"attributes": with_activation(op, place, name)}
    yield "activation names in lower case", {"attributes": {"activations": [n.lower() for n in spec.FUNCTIONS_OF[op]]}}
    yield "alpha and beta in order, two directions", {"attributes": two_directions(op)}
    for name in ("LeakyRelu", "Elu", "HardSigmoid", "ThresholdedRelu"):
        plain = with_activation(op, -1, name)
        yield f"default parameters of {name}", {"attributes": {"activations": plain["activations"]}}
    yield "without B", {"drop": ["B"]}
    yield "without initial states", {"drop": states}
    yield "without B and initial states", {"drop": ["B", *states]}
    yield "initial states as initializers", {"states_stored": True}
    yield "sequence_lens, all full", {"lengths": [6, 6, 6]}
    yield "sequence_lens, ragged", {"lengths": [2, 6, 4]}
    yield "sequence_lens, every row shorter than T", {"lengths": [2, 4, 3]}
    yield "sequence_lens with a zero", {"lengths": [3, 0, 6]}
    yield "sequence_lens with a zero, without initial states", {"lengths": [3, 0, 6], "drop": states}
    yield "last states alone as outputs", {"outputs": fuzz.OUTPUT_ORDER[op][1:]}
    yield "Y alone as output", {"outputs": ["Y"]}
    for opset in (7, 22):
        yield f"opset {opset}", {"opset": opset}
    yield "named batch and time axes", {"symbolic": True}


def states_of(op):
    return ["initial_h", "initial_c"] if op == "LSTM" else ["initial_h"]


def two_directions(op):
    """Functions with and without parameters in both directions, every value different."""
    names = {"RNN": ["LeakyRelu", "Elu"], "GRU": ["HardSigmoid", "LeakyRelu", "Sigmoid", "ScaledTanh"],
             "LSTM": ["Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "ScaledTanh", "Elu"]}[op]
    alphas = {"LeakyRelu": 0.2, "Elu": 0.7, "HardSigmoid": 0.3, "ScaledTanh": 0.9}
    betas = {"HardSigmoid": 0.4, "ScaledTanh": 1.2}
    attributes = {"direction": "bidirectional", "activations": names,
                  "activation_alpha": [alphas[n] for n in names if n in alphas]}
    beta = [betas[n] for n in names if n in betas]
    return attributes | ({"activation_beta": beta} if beta else {})


def build(op, label, index, change):
    """The case of one variation."""
    optional = [name for name in ["B", *states_of(op)] if name not in change.get("drop", ())]
    optional += change.get("add", ())
    fed = ["X", *(name for name in optional if name.startswith("initial") and not change.get("states_stored"))]
    if "lengths" in change:
        optional.append("sequence_lens")
        fed.insert(1, "sequence_lens")
    optional.sort(key=fuzz.INPUT_ORDER[op].index)
    skeleton = {
        "seed": index, "op": op, "opset": change.get("opset", 14), "optional": optional, "fed": fed,
        "attributes": {"hidden_size": PLAIN["hidden"], **change.get("attributes", {})}, "batch": PLAIN["batch"],
        "steps": PLAIN["steps"], "features": PLAIN["features"], "listed": False,
        "outputs": list(change.get("outputs", fuzz.OUTPUT_ORDER[op])), "symbolic": change.get("symbolic", False),
    }
    g = np.random.default_rng([index, spec.GATES[op]])
    for attempt in range(40):
        case = fuzz.draw_data(g, skeleton, 0.95 ** attempt)
        if "lengths" in change:
            case.inputs["sequence_lens"] = np.array(change["lengths"], np.int32)
        if fuzz.is_well_conditioned(g, case):
            words = "".join(c if c.isalnum() else " " for c in label).split()
            case.label = "_".join(["attribute", op.lower(), *words, str(index)]).lower()
            return case
    raise RuntimeError(f"{op} {label}: no well-conditioned data found")


def cases():
    """[(row, case)] over the three operators."""
    return [(label, build(op, label, index, change)) for op in ("RNN", "GRU", "LSTM")
            for index, (label, change) in enumerate(variations(op))]
