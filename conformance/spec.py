"""ONNX's RNN, GRU and LSTM from the text of the operator specification, in numpy float64.

Written from `onnx.defs.get_schema(op).doc` and from nothing else: no code of a runtime was read. It is
slow and plain on purpose. Where the text leaves something open, the reading taken here is named in a
comment that begins with 'Reading:'; FINDINGS.md lists them with what onnxruntime does.

Letters: T steps, B batch, I input size, H hidden size, D directions, G gates (RNN 1, GRU 3, LSTM 4).
"""

from dataclasses import dataclass

import numpy as np

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS_OF = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}

# Default alpha and beta: "the same as of corresponding ONNX operators".
# Affine and ScaledTanh have left the standard (they were experimental operators); their last schemas
# gave them alpha 1 and beta 0 (Affine) and required both (ScaledTanh). See FINDINGS.md, d.
DEFAULT_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "elu": 1.0, "hardsigmoid": 0.2, "affine": 1.0,
                 "scaledtanh": 1.0}
DEFAULT_BETA = {"hardsigmoid": 0.5, "affine": 0.0, "scaledtanh": 1.0}
TAKES_ALPHA = tuple(DEFAULT_ALPHA)
TAKES_BETA = tuple(DEFAULT_BETA)
ALL_ACTIVATIONS = ("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
                   "HardSigmoid", "Elu", "Softsign", "Softplus")


def sigmoid(x):
    """1/(1 + e^-x) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


FORMULAS = {
    "relu": lambda x, a, b: np.where(x > 0, x, 0.0),
    "tanh": lambda x, a, b: np.tanh(x),
    "sigmoid": lambda x, a, b: sigmoid(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "thresholdedrelu": lambda x, a, b: np.where(x >= a, x, 0.0),
    "scaledtanh": lambda x, a, b: a * np.tanh(b * x),
    "hardsigmoid": lambda x, a, b: np.minimum(np.maximum(a * x + b, 0.0), 1.0),
    "elu": lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0.0))),
    "softsign": lambda x, a, b: x / (1.0 + np.abs(x)),
    "softplus": lambda x, a, b: np.logaddexp(0.0, x),
}


@dataclass(frozen=True)
class Activation:
    """One activation function with its own alpha and beta; calling it applies it element by element.

    watch: a list that takes each ThresholdedRelu's smallest distance from its jump, or None. Near the jump
    a rounding error changes the answer, so such a case tells nothing.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0
    watch: list | None = None

    def __call__(self, x):
        if self.watch is not None and self.name.lower() == "thresholdedrelu":
            self.watch.append(float(np.min(np.abs(x - self.alpha))))
        return FORMULAS[self.name.lower()](x, self.alpha, self.beta)


def activations_of(names, alphas, betas, watch=None, zero_defaults=False):
    """Joins names with their alphas and betas.

    "The values are consumed in the order of activation functions": a value goes to the next function that
    has such a parameter, and functions without one take none. When the list has run out the default holds.
    """
    alphas, betas = list(alphas or ()), list(betas or ())
    wrong = {"thresholdedrelu", "affine", "scaledtanh"} if zero_defaults else set()
    functions = []
    for name in names:
        key = name.lower()
        alpha = beta = 0.0
        if key in TAKES_ALPHA:
            alpha = alphas.pop(0) if alphas else 0.0 if key in wrong else DEFAULT_ALPHA[key]
        if key in TAKES_BETA:
            beta = betas.pop(0) if betas else 0.0 if key in wrong else DEFAULT_BETA[key]
        functions.append(Activation(name, float(np.float32(alpha)), float(np.float32(beta)), watch))
    return functions


@dataclass(frozen=True)
class Rules:
    """Readings and mistakes that can be switched, to explain a runtime or to test the comparison.

    ignore: attributes and optional inputs that are not there, e.g. clip, input_forget, P, B, sequence_lens.
    """

    clip_h: bool = False       # LSTM: the input of h (the new cell state) is clipped too
    gate_order: tuple = ()     # a permutation of the gates, () = the specification's
    zero_defaults: bool = False  # ThresholdedRelu, Affine, ScaledTanh without alpha or beta get 0
    default_activations: bool = False  # `activations` is ignored
    forward_only: bool = False  # the reverse direction runs forwards
    flip_reset: bool = False   # GRU: linear_before_reset is taken for its opposite
    ignore: frozenset = frozenset()


@dataclass
class Direction:
    """One direction's weights, float64: w [G*H, I], r [G*H, H], wb and rb [G*H], p [3*H] or None."""

    w: np.ndarray
    r: np.ndarray
    wb: np.ndarray
    rb: np.ndarray
    p: np.ndarray | None
    functions: list
    clip: float | None
    hidden: int
    rules: Rules

    def bound(self, x):
        """The clip attribute: bounds what goes into an activation function."""
        return x if self.clip is None else np.clip(x, -self.clip, self.clip)

    def gate(self, a, index):
        """Gate `index` of stacked pre-activations [..., G*H] -> [..., H]."""
        if self.rules.gate_order:
            index = self.rules.gate_order[index]
        return a[..., index * self.hidden:(index + 1) * self.hidden]


def rnn_step(d, x, h):
    """Ht = f(Xt*(Wi^T) + Ht-1*(Ri^T) + Wbi + Rbi). x [I], h [H] -> h [H]."""
    (f,) = d.functions
    return f(d.bound(d.w @ x + d.r @ h + d.wb + d.rb))


def gru_step(d, x, h, linear_before_reset):
    """Gates z, r, h. x [I], h [H] -> h [H]."""
    f, g = d.functions
    xw = d.w @ x + d.wb
    hr = d.r @ h + d.rb
    z = f(d.bound(d.gate(xw, 0) + d.gate(hr, 0)))
    r = f(d.bound(d.gate(xw, 1) + d.gate(hr, 1)))
    if linear_before_reset:
        recurrent = r * d.gate(hr, 2)
    else:
        recurrent = d.gate(d.r @ (r * h) + d.rb, 2)
    candidate = g(d.bound(d.gate(xw, 2) + recurrent))
    return (1.0 - z) * candidate + z * h


def lstm_step(d, x, h, c, input_forget):
    """Gates i, o, f, c; peepholes i, o, f. x [I], h and c [H] -> h, c [H]."""
    f, g, h_function = d.functions
    a = d.w @ x + d.r @ h + d.wb + d.rb
    size = d.hidden
    p_i, p_o, p_f = (d.p[k * size:(k + 1) * size] if d.p is not None else 0.0 for k in range(3))
    i_gate = f(d.bound(d.gate(a, 0) + p_i * c))
    if input_forget:
        # Reading: "couple the input and forget gates" = the forget gate is 1 - i, whatever f's own weights.
        f_gate = 1.0 - i_gate
    else:
        f_gate = f(d.bound(d.gate(a, 2) + p_f * c))
    candidate = g(d.bound(d.gate(a, 3)))
    c_new = f_gate * c + i_gate * candidate
    o_gate = f(d.bound(d.gate(a, 1) + p_o * c_new))
    # Reading: clip bounds the gates' activations; h sees C unclipped, as in every runtime measured.
    return o_gate * h_function(d.bound(c_new) if d.rules.clip_h else c_new), c_new


def run_direction(op, d, x, lengths, h0, c0, reverse, attributes):
    """x [T, B, I], h0 and c0 [B, H] -> y [T, B, H] (0 beyond a row's end), h_n, c_n [B, H]."""
    steps, batch, _ = x.shape
    y = np.zeros((steps, batch, d.hidden))
    h_n, c_n = np.zeros((batch, d.hidden)), np.zeros((batch, d.hidden))
    for b in range(batch):
        h, c = h0[b], c0[b]
        order = range(lengths[b])
        for t in reversed(order) if reverse else order:
            if op == "RNN":
                h = rnn_step(d, x[t, b], h)
            elif op == "GRU":
                h = gru_step(d, x[t, b], h, attributes.get("linear_before_reset", 0))
            else:
                h, c = lstm_step(d, x[t, b], h, c, attributes.get("input_forget", 0))
            y[t, b] = h
        # Reading: a row of length zero has no last output; Y_h and Y_c are 0 as onnxruntime's CPU gives.
        if lengths[b] > 0:
            h_n[b], c_n[b] = h, c
    return y, h_n, c_n


def directions_of(op, attributes, inputs, rules, watch):
    """One Direction per direction of a node."""
    names = {"forward": 1, "reverse": 1, "bidirectional": 2}
    count = names[attributes.get("direction", "forward")]
    hidden, gates = inputs["R"].shape[2], GATES[op]
    per = len(FUNCTIONS_OF[op])
    functions = activations_of(attributes.get("activations") or FUNCTIONS_OF[op] * count,
                               attributes.get("activation_alpha"), attributes.get("activation_beta"), watch,
                               rules.zero_defaults)
    bias = inputs.get("B", np.zeros((count, 2 * gates * hidden)))
    clip, peepholes = attributes.get("clip"), inputs.get("P")
    return [
        Direction(w=inputs["W"][k], r=inputs["R"][k], wb=bias[k, :gates * hidden], rb=bias[k, gates * hidden:],
                  p=None if peepholes is None else peepholes[k], functions=functions[k * per:(k + 1) * per],
                  clip=None if clip is None else float(np.float32(clip)), hidden=hidden, rules=rules)
        for k in range(count)
    ]


def run(op, attributes, inputs, rules=Rules(), watch=None):
    """One node in float64.

    inputs: X, W, R and any of B, sequence_lens, initial_h, initial_c, P, with the operator's shapes.
    Returns {"Y", "Y_h"[, "Y_c"]} with the operator's shapes, layout 0 or 1.
    """
    attributes = {k: v for k, v in attributes.items() if k not in rules.ignore}
    if rules.default_activations:
        attributes = {k: v for k, v in attributes.items() if not k.startswith("activation")}
    if rules.flip_reset:
        attributes = attributes | {"linear_before_reset": 1 - attributes.get("linear_before_reset", 0)}
    inputs = {k: np.asarray(v, np.int64 if k == "sequence_lens" else np.float64) for k, v in inputs.items()
              if k not in rules.ignore}
    batch_first = attributes.get("layout", 0) == 1
    x = inputs["X"].transpose(1, 0, 2) if batch_first else inputs["X"]
    steps, batch, _ = x.shape
    hidden = inputs["R"].shape[2]
    directions = directions_of(op, attributes, inputs, rules, watch)

    def state(name):  # [D, B, H]
        if name not in inputs:
            return np.zeros((len(directions), batch, hidden))
        return inputs[name].transpose(1, 0, 2) if batch_first else inputs[name]

    lengths = inputs.get("sequence_lens", np.full(batch, steps))
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    reverse = backwards[attributes.get("direction", "forward")]
    if rules.forward_only:
        reverse = [False] * len(reverse)
    results = [run_direction(op, d, x, lengths, state("initial_h")[k], state("initial_c")[k], reverse[k], attributes)
               for k, d in enumerate(directions)]
    y, h_n, c_n = (np.stack([r[j] for r in results], axis=1 if j == 0 else 0) for j in range(3))
    outputs = {"Y": y, "Y_h": h_n} | ({"Y_c": c_n} if op == "LSTM" else {})
    if batch_first:  # [T, D, B, H] -> [B, T, D, H]; [D, B, H] -> [B, D, H]
        outputs = {k: v.transpose(2, 0, 1, 3) if k == "Y" else v.transpose(1, 0, 2) for k, v in outputs.items()}
    return outputs
