"""onnxruntime beside spec.py: runs a case there and says whether the two agree, and if not, why.

onnxruntime's CPU provider refuses layout=1; the case is then run with layout=0 on transposed arrays and
the outputs are transposed back, which is what the attribute means.
"""

import dataclasses

import fuzz
import numpy as np
import onnxruntime
import spec

onnxruntime.set_default_logger_severity(4)


def options():
    """One thread: the cases are tiny."""
    chosen = onnxruntime.SessionOptions()
    chosen.log_severity_level = 4
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    return chosen


def run_model(model, feeds):
    """{output name: array} of a model (bytes or a path) under onnxruntime's CPU provider."""
    session = onnxruntime.InferenceSession(model, options(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def time_major(case):
    """The same case with layout 0: X, initial and expected states transposed."""
    if case.attributes.get("layout", 0) == 0:
        return case
    swap = lambda array: np.ascontiguousarray(array.transpose(1, 0, 2))  # noqa: E731
    inputs = {k: swap(v) if k in ("X", "initial_h", "initial_c") else v for k, v in case.inputs.items()}
    expected = {k: v.transpose(1, 2, 0, 3) if k == "Y" else swap(v) for k, v in case.expected.items()}
    attributes = {k: v for k, v in case.attributes.items() if k != "layout"}
    return dataclasses.replace(case, inputs=inputs, expected=expected, attributes=attributes)


def canonical_names(case):
    """The same case with activation names as the specification spells them; onnxruntime's RNN wants that."""
    if case.op != "RNN" or "activations" not in case.attributes:
        return case
    spelled = {name.lower(): name for name in spec.ALL_ACTIVATIONS}
    names = [spelled[name.lower()] for name in case.attributes["activations"]]
    return dataclasses.replace(case, attributes=case.attributes | {"activations": names})


def run_case(case):
    """onnxruntime's outputs of a fuzz case, in the case's own layout."""
    case = canonical_names(case)
    plain = time_major(case)
    got = run_model(fuzz.to_model(plain).SerializeToString(), {k: plain.inputs[k] for k in plain.fed})
    if plain is not case:  # [T, D, B, H] -> [B, T, D, H]; [D, B, H] -> [B, D, H]
        got = {k: v.transpose(2, 0, 1, 3) if k == "Y" else v.transpose(1, 0, 2) for k, v in got.items()}
    return got


# What onnxruntime does differently, and spec.py's switch that reproduces it.
KNOWN_FAULTS = {
    "alpha and beta of ThresholdedRelu and Affine default to 0": spec.Rules(zero_defaults=True),
}


def judge(case):
    """Compares spec.py's expected outputs with onnxruntime's.

    Returns (verdict, reason): 'agrees'; 'fault' = onnxruntime differs in a way that KNOWN_FAULTS names and
    spec.py reproduces; 'refused' = it does not run the case; 'unexplained' = find out why.
    """
    try:
        got = run_case(case)
    except Exception as error:  # onnxruntime raises half a dozen unrelated types
        return "refused", str(error).strip().splitlines()[-1][:200]
    if fuzz.agrees(got, case.expected):
        return "agrees", ""
    for reason, rules in KNOWN_FAULTS.items():
        wrong = spec.run(case.op, case.attributes, case.inputs, rules)
        if fuzz.agrees(got, {name: wrong[name] for name in case.outputs}):
            return "fault", reason
    return "unexplained", ", ".join(f"{k}: {fuzz.excess(got[k], v):.3g} of the tolerance"
                                    for k, v in case.expected.items())
