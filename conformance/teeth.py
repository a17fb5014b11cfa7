"""Mistakes made on purpose: the fuzz suite's comparison must catch each of them.

For every mistake spec.py is run with it on the cases where it could matter, and compared as a device's
outputs are. A mistake that is caught in fewer of them than its least share means that the cases lost
their teeth; the share is below 1 only where a case can hide it by right (a clip that no gate reaches).
"""

import itertools

import fuzz
import numpy as np
import spec


def has(*names):
    """Cases with all of these inputs or attributes (an attribute of 0 counts as absent)."""
    return lambda case: all(name in case.inputs or case.attributes.get(name) for name in names)


def steps_run(case):
    """[B]: the steps that each row really makes."""
    count = case.inputs["X"].shape[0 if case.attributes.get("layout", 0) else 1]
    return case.inputs.get("sequence_lens", np.full(count, fuzz.steps_of(case)))


def backwards(case):
    return case.attributes.get("direction", "forward") != "forward" and steps_run(case).max() > 1


def started(case):
    """Some row makes a step."""
    return steps_run(case).max() > 0


def ragged(case):
    return "sequence_lens" in case.inputs and steps_run(case).min() < fuzz.steps_of(case)


def swaps(op):
    """Every exchange of two gates of an operator."""
    count = spec.GATES[op]
    for a, b in itertools.combinations(range(count), 2):
        order = list(range(count))
        order[a], order[b] = b, a
        yield (a, b), tuple(order)


def carries(case):
    """The recurrence matters: two steps, or one step from a given state."""
    return steps_run(case).max() > 1 or (started(case) and "initial_h" in case.inputs)


def swap_shows(case, gates):
    """Whether exchanging these gates can show: input_forget silences f, and at C = 0 f does nothing."""
    if case.op == "LSTM" and 2 in gates:
        return carries(case) and not case.attributes.get("input_forget")
    return carries(case)


# name: (rules of the mistake, cases where it could matter, the least share caught)
def mistakes():
    table = {
        "clip ignored": (spec.Rules(ignore={"clip"}), has("clip"), 0.75),
        "clip on h(C) too": (spec.Rules(clip_h=True), lambda c: c.op == "LSTM" and "clip" in c.attributes, 0.4),
        "peepholes ignored": (spec.Rules(ignore={"P"}), lambda c: "P" in c.inputs and started(c), 0.75),
        "input_forget ignored": (
            spec.Rules(ignore={"input_forget"}), lambda c: has("input_forget")(c) and carries(c), 0.6),
        "sequence_lens ignored": (spec.Rules(ignore={"sequence_lens"}), ragged, 0.9),
        "initial_h ignored": (spec.Rules(ignore={"initial_h"}), lambda c: "initial_h" in c.inputs and started(c), 0.75),
        "initial_c ignored": (spec.Rules(ignore={"initial_c"}), lambda c: "initial_c" in c.inputs and started(c), 0.75),
        "B ignored": (spec.Rules(ignore={"B"}), lambda c: "B" in c.inputs and started(c), 0.9),
        "reverse runs forwards": (spec.Rules(forward_only=True), backwards, 0.9),
        "activations ignored": (
            spec.Rules(default_activations=True), lambda c: has("activations")(c) and started(c), 0.75),
        "reset on the other side": (
            spec.Rules(flip_reset=True),
            lambda c: c.op == "GRU" and carries(c) and c.attributes["hidden_size"] > 1, 0.75),
    }
    for op in ("GRU", "LSTM"):
        for gates, order in swaps(op):
            table[f"{op} gates {gates[0]} and {gates[1]} exchanged"] = (
                spec.Rules(gate_order=order),
                lambda c, op=op, gates=gates: c.op == op and started(c) and swap_shows(c, gates), 0.8)
    return table


def comparison_has_teeth():
    """The comparator itself: NaN, a wrong shape, a missing output and one changed element fail."""
    want = {"Y": np.array([[0.5, -1.0]], np.float32)}
    changed = np.array([[0.5, -1.0003]], np.float32)
    assert fuzz.agrees({"Y": want["Y"].copy()}, want)
    for bad in (changed, want["Y"] * np.nan, want["Y"] * np.inf, want["Y"].T, want["Y"][:, :1]):
        assert not fuzz.agrees({"Y": bad}, want), bad
    assert not fuzz.agrees({}, want)
    # A NaN in the expectation agrees with nothing.
    assert not fuzz.agrees(want, {"Y": want["Y"] * np.nan})


def check(cases):
    """Runs every mistake over the cases. Returns rows (name, caught, applicable, least share)."""
    comparison_has_teeth()
    rows = []
    for name, (rules, applies, least) in mistakes().items():
        chosen = [case for case in cases if applies(case)][:60]
        caught = 0
        for case in chosen:
            with np.errstate(all="ignore"):
                wrong = spec.run(case.op, case.attributes, case.inputs, rules)
            caught += not fuzz.agrees({k: wrong[k] for k in case.outputs}, case.expected)
        rows.append((name, caught, len(chosen), least))
    return rows


def failures(rows):
    """The rows whose mistake was caught too seldom, or that no case could show."""
    return [row for row in rows if row[2] == 0 or row[1] < row[3] * row[2]]
