"""Writes docs/conformance.md from the reports below target/conformance; nothing in it is typed by hand."""

import datetime
import json
import platform
from collections import Counter

import device
import numpy
import onnx
import onnxruntime

TITLES = {
    "node": ("ONNX's own cases", "The recurrent node cases that the `onnx` package generates, within 1e-3 of the "
             "value + 1e-7 as ONNX's own runner compares them."),
    "attributes": ("One attribute value at a time", "The plain operator (forward, biases, initial states, every output, opset 14) with "
                   "one thing changed; a row counts the operators, and for an activation the places in them. "
                   "Expected outputs and tolerance as in the next table."),
    "fuzz": ("Every attribute at once, seeded", "One node a case, with many attribute values in it: a row counts the cases "
             "that hold the value, whatever made them fail. Expected outputs are those of `conformance/spec.py`, "
             "float64 from the text of the specification; tolerance 1e-5 + 1e-4 of the value."),
    "torch": ("Whole models of exporters", "`tests/onnx`: PyTorch's two exporters, Keras through tf2onnx, and "
              "hand-built graphs; tolerance 1e-5 + 1e-5 of the value."),
    "pytorch": ("PyTorch's own files", "`tests/golden`: a state_dict as .safetensors through `rnn run`, against PyTorch in "
                "float64; tolerance 1e-5 + 1e-5 of the value."),
    "roundtrip": ("Conversions", "`rnn convert` from .onnx to .safetensors and back, and from PyTorch's "
                  ".safetensors to .onnx, run by onnxruntime; tolerance 1e-5 + 1e-5 of the value."),
}
OURS = {"cpu": "ours, CPU", "reference": "ours, f64 reference", "convert": "ours"}
ROW_ORDER = ("op", "direction", "layout", "linear_before_reset", "input_forget", "clip", "no clip", "default activations",
             "activation ", "activation_", "B", "P", "initial_", "initial state", "sequence_lens", "omitted", "opset",
             "exporter")


def load(out, suite):
    """(manifest rows, {column: {case: (status, detail)}}) of one suite."""
    manifest = device.read_rows(out / suite / "manifest.jsonl")
    columns = {}
    for folder in ("reports", "peers"):
        for path in sorted((out / suite / folder).glob("*.jsonl")):
            columns[path.stem] = device.verdicts(device.read_rows(path)) if folder == "reports" else {
                row["case"]: (row["status"], row["detail"]) for row in device.read_rows(path)}
    if not manifest:
        names = sorted({case for column in columns.values() for case in column})
        manifest = [{"case": name, "features": []} for name in names]
    return manifest, columns


def title_of(column, versions):
    """A column's heading."""
    if column in versions:
        return f"{column} {versions[column]}"
    return OURS.get(column, "ours, GPU")


def order(label):
    """The place of a row: the groups of ROW_ORDER, then the alphabet; numbers by size."""
    place = next((k for k, start in enumerate(ROW_ORDER) if label.startswith(start)), len(ROW_ORDER))
    digits = "".join(c for c in label.rsplit("=", 1)[-1] if c.isdigit())
    return place, int(digits) if digits and label.startswith("opset") else 0, label


def share(cases, column):
    """'passed/total', bold where a case did not pass."""
    passed = sum(column.get(case, ("error",))[0] == "pass" for case in cases)
    text = f"{passed}/{len(cases)}"
    return text if passed == len(cases) else f"**{text}**"


def table(suite, manifest, columns, versions):
    """Rows: all cases, then each attribute value; columns: who ran them."""
    rows = {"all cases": [row["case"] for row in manifest]}
    labels = dict.fromkeys(label for row in manifest for label in row["features"])
    for label in labels if suite == "attributes" else sorted(labels, key=order):
        rows[label] = [row["case"] for row in manifest if label in row["features"]]
    names = sorted(columns, key=lambda c: (c in versions, c not in ("cpu",), c in ("reference",), c))
    lines = ["| | " + " | ".join(title_of(name, versions) for name in names) + " |",
             "|---|" + "---:|" * len(names)]
    for label, cases in rows.items():
        lines.append(f"| {label} | " + " | ".join(share(cases, columns[name]) for name in names) + " |")
    return lines


def statuses(out, suite, columns, versions):
    """One line a column: how its cases ended, and by strategy where a device has several."""
    lines = []
    strategies = {}
    for path in (out / suite / "reports").glob("*.jsonl"):
        by = device.strategies(device.read_rows(path)).strip()
        strategies[path.stem] = f" ({by})" if by else ""
    for name, column in columns.items():
        counts = Counter(status for status, _ in column.values())
        lines.append(f"- {title_of(name, versions)}: " + ", ".join(f"{n} {status}" for status, n in counts.most_common())
                     + strategies.get(name, ""))
    return lines


def failing(suite, columns, versions):
    """A collapsed list of every case that did not pass, per column."""
    lines = []
    for name, column in columns.items():
        bad = sorted((case, said) for case, said in column.items() if said[0] != "pass")
        if not bad:
            continue
        lines += ["", f"<details><summary>{title_of(name, versions)}: {len(bad)} {suite} cases that did not pass"
                  "</summary>", ""]
        if name in versions:  # others: names only, grouped
            for status in sorted({said[0] for _, said in bad}):
                lines.append(f"- {status}: " + ", ".join(f"`{case}`" for case, said in bad if said[0] == status))
        else:
            lines += [f"- `{case}` {status}: {clean(detail)}" for case, (status, detail) in bad]
        lines += ["", "</details>"]
    return lines


def clean(text):
    """A message that cannot break the page, without the machine's paths."""
    words = (word if not word.startswith("/") else word.rsplit("/", 1)[-1] for word in str(text).split())
    return " ".join(words).replace("|", "\\|").replace("<", "&lt;")[:200]


def heading(run, versions):
    """Date, machine and versions."""
    others = ", ".join(f"{name} {number}" for name, number in versions.items()) or "none in this run"
    return [
        "# Conformance",
        "",
        "Written by `bash conformance/run.sh --peers --scoreboard`; change the suite, not this page. "
        "[conformance/README.md](../conformance/README.md) says how to run it and how to reproduce a seed, "
        "[conformance/FINDINGS.md](../conformance/FINDINGS.md) how the specification's open places are read.",
        "",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Program: {run['program']}; GPU adapter: {run['adapter']}",
        f"- Fuzz seeds: {run['seed']} to {run['seed'] + run['cases'] - 1}. `fuzz_gru_7` is seed 7: "
        "`bash conformance/run.sh --reproduce 7`",
        f"- Oracles: onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, numpy {numpy.__version__}, "
        f"Python {platform.python_version()}",
        f"- Other runtimes, on the same cases in the same run: {others}",
        "",
        "A case passes on a device when one strategy takes it and every strategy that takes it agrees with the "
        "expected outputs. Bold: not all passed.",
    ]


def oracle_lines(manifest):
    """How onnxruntime and spec.py got on."""
    verdicts = Counter(row["onnxruntime"] for row in manifest)
    reasons = Counter(row["reason"] for row in manifest if row["onnxruntime"] == "fault")
    lines = ["", f"The expected outputs themselves: onnxruntime {onnxruntime.__version__} (layout=1 transposed, activation "
             f"names of RNN spelled its way) agrees with spec.py on {verdicts['agrees']} of {len(manifest)} cases, "
             f"differs for a known reason on {verdicts['fault']}, refuses {verdicts['refused']}, and differs without "
             f"a known reason on {verdicts['unexplained']}."]
    for reason, count in reasons.items():
        names = ", ".join(f"`{row['case']}`" for row in manifest if row.get("reason") == reason)
        lines += ["", f"<details><summary>{count} cases: {reason}</summary>", "", names, "", "</details>"]
    return lines


def teeth_lines(out):
    """The mistakes made on purpose."""
    if not (out / "teeth.json").exists():
        return []
    lines = ["", "## Teeth", "", "Mistakes made on purpose in spec.py, and the share of fuzz cases that catch each.", "",
             "| mistake | caught | of cases where it could matter |", "|---|---:|---:|"]
    return lines + [f"| {name} | {caught} | {total} |" for name, caught, total, _ in
                    json.loads((out / "teeth.json").read_text())]


def write(out, path):
    """Reads the reports below out and writes the page."""
    run = json.loads((out / "run.json").read_text())
    versions = json.loads((out / "peers.json").read_text()) if (out / "peers.json").exists() else {}
    lines = heading(run, versions)
    for suite, (title, about) in TITLES.items():
        manifest, columns = load(out, suite)
        if not columns:
            continue
        lines += ["", f"## {title}", "", about, "", *table(suite, manifest, columns, versions), "",
                  *statuses(out, suite, columns, versions)]
        if suite in ("attributes", "fuzz"):
            lines += oracle_lines(manifest)
        lines += failing(suite, columns, versions)
    lines += teeth_lines(out)
    path.write_text("\n".join(lines) + "\n")
