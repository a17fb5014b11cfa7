"""Seeded single-node models over every attribute of RNN, GRU and LSTM: one seed, one case.

A case's expected outputs are spec.py's. onnxruntime runs the same node beside it; where both agree the
expectation is confirmed by a runtime nobody here wrote, where they do not `oracle.py` must know why.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
import spec
from onnx import TensorProto, helper, numpy_helper

ATOL, RTOL = 1e-5, 1e-4
INPUT_ORDER = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
OUTPUT_ORDER = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}
DIRECTIONS = ("forward", "reverse", "bidirectional")
LARGE_HIDDEN = (33, 64, 70, 130)
ALPHA_RANGE = {"leakyrelu": (0.05, 0.5), "thresholdedrelu": (0.1, 0.6), "elu": (0.5, 1.5),
               "scaledtanh": (0.5, 1.5), "hardsigmoid": (0.15, 0.4), "affine": (0.3, 0.9)}
BETA_RANGE = {"scaledtanh": (0.5, 1.5), "hardsigmoid": (0.3, 0.7), "affine": (-0.4, 0.4)}


@dataclass
class Case:
    """A node and its data.

    inputs: every present operator input by its name in the specification (X, W, R, B, sequence_lens,
    initial_h, initial_c, P). fed: the names that are graph inputs, the others are initializers.
    outputs: the requested outputs. expected: {output: float32 array}.
    """

    seed: int
    op: str
    opset: int
    attributes: dict
    inputs: dict
    fed: list
    outputs: list
    listed: bool  # initializers are listed as graph inputs too, as IR version 3 wants
    symbolic: bool  # batch and time axes of the graph's inputs are names, not numbers
    expected: dict = field(default_factory=dict)
    label: str = ""  # the name of a case that is not one seed's

    @property
    def name(self):
        return self.label or f"fuzz_{self.op.lower()}_{self.seed}"


# --- drawing --------------------------------------------------------------------------------------


def chance(g, probability):
    return bool(g.random() < probability)


def draw(seed):
    """The case of a seed. Draws again, from the same stream, until rounding cannot decide the answer."""
    g = np.random.default_rng([seed, 0x0A11])
    skeleton = draw_skeleton(g, seed)
    scale = 1.0
    for _ in range(40):
        case = draw_data(g, skeleton, scale)
        if is_well_conditioned(g, case):
            return case
        scale *= 0.8
    raise RuntimeError(f"seed {seed}: no well-conditioned data found")


def draw_skeleton(g, seed):
    """Everything but the numbers: operator, attributes, sizes, which inputs and outputs are there."""
    op = str(g.choice(["RNN", "GRU", "LSTM"], p=[0.25, 0.35, 0.4]))
    opset = int(g.choice([7, 14, 22]))
    direction = str(g.choice(DIRECTIONS))
    hidden = int(g.choice(LARGE_HIDDEN)) if chance(g, 0.08) else int(g.integers(1, 21))
    attributes = {"hidden_size": hidden}
    if direction != "forward" or chance(g, 0.5):
        attributes["direction"] = direction
    if opset >= 14 and chance(g, 0.5):
        attributes["layout"] = int(g.integers(0, 2))
    if op == "GRU" and chance(g, 0.8):
        attributes["linear_before_reset"] = int(g.integers(0, 2))
    if op == "LSTM" and chance(g, 0.5):
        attributes["input_forget"] = int(chance(g, 0.7))
    if chance(g, 0.4):
        attributes["clip"] = round(float(g.uniform(0.2, 1.2)), 3)
    if chance(g, 0.6):
        attributes |= draw_activations(g, len(spec.FUNCTIONS_OF[op]) * (2 if direction == "bidirectional" else 1))
    optional = [name for name in INPUT_ORDER[op][3:] if chance(g, 0.5)]
    wanted = [name for name in OUTPUT_ORDER[op] if chance(g, 0.7)]
    return {
        "seed": seed, "op": op, "opset": opset, "attributes": attributes, "optional": optional,
        "batch": int(g.integers(1, 8)), "steps": int(g.integers(1, 13)), "features": int(g.integers(1, 10)),
        "outputs": wanted or [str(g.choice(OUTPUT_ORDER[op]))],
        "fed": ["X"] + [name for name in ("sequence_lens", "initial_h", "initial_c")
                        if name in optional and chance(g, 0.8)],
        "listed": opset == 7 and chance(g, 0.5), "symbolic": chance(g, 0.5),
    }


def draw_activations(g, count):
    """`count` functions in random letter case; alpha and beta lists complete, cut short or left out."""
    names = [str(name) for name in g.choice(spec.ALL_ACTIVATIONS, count)]
    alphas = [uniform(g, ALPHA_RANGE[n.lower()]) for n in names if n.lower() in ALPHA_RANGE]
    betas = [uniform(g, BETA_RANGE[n.lower()]) for n in names if n.lower() in BETA_RANGE]
    spelled = [getattr(name, str(g.choice(["upper", "lower", "swapcase"])))() if chance(g, 0.5) else name
               for name in names]
    attributes = {"activations": spelled}
    for key, values in (("activation_alpha", alphas), ("activation_beta", betas)):
        if chance(g, 0.2) and "ScaledTanh" not in names:  # whose defaults nobody defines
            values = values[:int(g.integers(0, len(values) + 1))]
        if values:
            attributes[key] = values
    return attributes


def uniform(g, bounds):
    return round(float(g.uniform(*bounds)), 3)


def draw_data(g, skeleton, scale):
    """The numbers of a case. Gates differ in mean and spread, so that an exchange of two shows."""
    op, attributes, hidden = skeleton["op"], skeleton["attributes"], skeleton["attributes"]["hidden_size"]
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates, batch, steps, features = spec.GATES[op], skeleton["batch"], skeleton["steps"], skeleton["features"]

    def normal(*shape, by=1.0):
        return (g.standard_normal(shape) * by * scale).astype(np.float32)

    def bias():
        level = np.repeat(g.uniform(-0.8, 0.8, (directions, 2 * gates)), hidden, axis=1)
        return (level * scale).astype(np.float32) + normal(directions, 2 * gates * hidden, by=0.3)

    def state():
        shape = (directions, batch, hidden)
        if attributes.get("layout", 0):
            shape = (batch, directions, hidden)
        return normal(*shape, by=0.8)

    def lengths():
        values = g.integers(0, steps + 1, batch)
        if chance(g, 0.4):
            values[g.integers(0, batch)] = 0
        if chance(g, 0.5):
            values[g.integers(0, batch)] = steps
        return values.astype(np.int32)

    makers = {
        "X": lambda: normal(*((batch, steps) if attributes.get("layout", 0) else (steps, batch)), features),
        "W": lambda: normal(directions, gates * hidden, features, by=0.9 / np.sqrt(features)),
        "R": lambda: normal(directions, gates * hidden, hidden, by=0.9 / np.sqrt(hidden)),
        "B": bias, "sequence_lens": lengths, "initial_h": state, "initial_c": state,
        "P": lambda: normal(directions, 3 * hidden, by=0.6),
    }
    inputs = {name: makers[name]() for name in INPUT_ORDER[op][:3] + tuple(skeleton["optional"])}
    case = Case(seed=skeleton["seed"], op=op, opset=skeleton["opset"], attributes=attributes, inputs=inputs,
                fed=skeleton["fed"], outputs=skeleton["outputs"], listed=skeleton["listed"],
                symbolic=skeleton["symbolic"])
    return case


def is_well_conditioned(g, case):
    """Computes the expected outputs, and whether float32 rounding leaves them within tolerance.

    False when a value grows beyond 20, when a ThresholdedRelu's input lies within 1e-4 of its jump, or
    when weights and inputs off by a few float32 roundings move an output by over a third of the tolerance.
    """
    watch = []
    with np.errstate(all="ignore"):  # a case that grows without bound is drawn again
        exact = spec.run(case.op, case.attributes, case.inputs, watch=watch)
    if not all(np.max(np.abs(value)) <= 20 for value in exact.values()) or (watch and min(watch) < 1e-4):
        return False
    case.expected = {name: exact[name].astype(np.float32) for name in case.outputs}
    nudged = {name: value if name == "sequence_lens" else
              value.astype(np.float64) * (1 + 1.5e-7 * g.choice([-1.0, 1.0], value.shape))
              for name, value in case.inputs.items()}
    other = spec.run(case.op, case.attributes, nudged)
    return all(excess(other[name], exact[name]) < 1 / 3 for name in exact)


# --- comparing ------------------------------------------------------------------------------------


def excess(got, want, atol=ATOL, rtol=RTOL):
    """The largest difference in units of the tolerance, atol + rtol*|want|; infinite for NaN or a wrong shape."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return float("inf")
    if want.size == 0:
        return 0.0
    ratio = np.abs(got - want) / (atol + rtol * np.abs(want))
    return float(np.max(np.where(np.isnan(ratio), np.inf, ratio)))


def agrees(got, want, atol=ATOL, rtol=RTOL):
    """Whether every output is there and every |difference| <= atol + rtol*|want|; NaN never agrees."""
    return all(name in got and excess(got[name], value, atol, rtol) <= 1 for name, value in want.items())


# --- as a model -----------------------------------------------------------------------------------


def to_model(case):
    """The ONNX model of a case: one node, optional inputs and outputs in the middle as empty names."""
    node_inputs = trim([name if name in case.inputs else "" for name in INPUT_ORDER[case.op]])
    node_outputs = trim([name if name in case.outputs else "" for name in OUTPUT_ORDER[case.op]])
    node = helper.make_node(case.op, node_inputs, node_outputs, name=case.name, **case.attributes)
    weights = [name for name in case.inputs if name not in case.fed]
    inputs = [value_info(case, name, case.inputs[name]) for name in case.fed]
    if case.listed:
        inputs += [value_info(case, name, case.inputs[name]) for name in weights]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, case.expected[name].shape)
               for name in case.outputs]
    graph = helper.make_graph([node], case.name, inputs, outputs,
                              [numpy_helper.from_array(case.inputs[name], name) for name in weights])
    ir = 3 if case.listed else min(10, max(4, helper.find_min_ir_version_for([helper.make_opsetid("", case.opset)])))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=ir)
    onnx.checker.check_model(model)
    return model


def trim(names):
    """Drops the empty names at the end."""
    while names and not names[-1]:
        names = names[:-1]
    return names


def value_info(case, name, array):
    """A graph input's type and shape."""
    shape = list(array.shape)
    if case.symbolic and name in case.fed:
        batch_first = case.attributes.get("layout", 0) == 1
        axes = {"X": ("batch", "time") if batch_first else ("time", "batch"), "sequence_lens": ("batch",)}
        for axis, label in enumerate(axes.get(name, ("batch",) if batch_first else (shape[0], "batch"))):
            shape[axis] = label
    kind = TensorProto.INT32 if name == "sequence_lens" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)


def features_of(case):
    """The attribute values that a case holds, as the scoreboard's rows name them."""
    a, has = case.attributes, case.inputs
    rows = [f"op={case.op}", f"opset={case.opset}", f"direction={a.get('direction', 'forward')}",
            f"layout={a.get('layout', 0)}", "clip" if "clip" in a else "no clip"]
    rows += [f"linear_before_reset={a.get('linear_before_reset', 0)}"] * (case.op == "GRU")
    rows += [f"input_forget={a.get('input_forget', 0)}"] * (case.op == "LSTM")
    rows += [f"activation {name}" for name in spec.ALL_ACTIVATIONS
             if name.lower() in [given.lower() for given in a.get("activations", ())]]
    rows += ["default activations"] * ("activations" not in a)
    rows += ["activation_alpha or activation_beta"] * ("activation_alpha" in a or "activation_beta" in a)
    rows += [name for name in ("B", "initial_h", "initial_c", "P") if name in has]
    if "sequence_lens" in has:
        lengths = has["sequence_lens"]
        rows.append("sequence_lens")
        rows += ["sequence_lens with a zero"] * bool((lengths == 0).any())
        rows += ["sequence_lens, every row shorter than T"] * bool(lengths.max() < steps_of(case))
    rows += ["omitted inputs in the middle"] * ("" in trim([n if n in has else "" for n in INPUT_ORDER[case.op]]))
    rows += ["omitted outputs"] * (len(case.outputs) < len(OUTPUT_ORDER[case.op]))
    rows += ["initial state as initializer"] * any(n in has and n not in case.fed for n in ("initial_h", "initial_c"))
    return rows


def steps_of(case):
    """T."""
    return case.inputs["X"].shape[1 if case.attributes.get("layout", 0) else 0]
