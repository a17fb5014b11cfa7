"""The tables: what was measured as Markdown, peers as ratios to ours."""

import statistics
from dataclasses import asdict

OURS = ("ours-gpu", "ours-cpu")
CLOCKS = {
    "host": "Input in host memory to output in host memory",
    "device": "Input and output in the device's memory, to the end of its work",
    "train": "One training step: forward, squared error, gradients, Adam",
}


def percentile(ordered, part):
    """Linear between the two nearest of a sorted list."""
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(seconds):
    ordered = sorted(seconds)
    return {"median": statistics.median(ordered), "p10": percentile(ordered, 0.1), "p90": percentile(ordered, 0.9),
            "min": ordered[0], "n": len(ordered)}


def workload_row(w):
    return asdict(w) | {"flops": w.flops}


def milliseconds(seconds):
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value):
    return f"{value:.0f}×" if value >= 100 else f"{value:.1f}×" if value >= 10 else f"{value:.2f}×"


def line(record):
    """A record for the terminal."""
    name = record["runtime"] + {"host": "", "device": " (device clock)", "train": " (training)"}[record["clock"]]
    if "na" in record:
        return f"{name:<24} n/a ({record['na']})"
    return (f"{name:<24} {milliseconds(record['median']):>8} ms  p10 {milliseconds(record['p10'])}  "
            f"p90 {milliseconds(record['p90'])}  n {record['n']}")


def label(w):
    """RNN (64, 128, 1, 1000): I, H, B, T."""
    stack = ""
    if w["layers"] > 1 or w["directions"] > 1:
        stack = f" {w['layers']} layers" * (w["layers"] > 1) + " bidirectional" * (w["directions"] > 1)
    lengths = ", lengths" * w["lengths"]
    return f"{w['cell'].upper()} ({w['inputs']}, {w['hidden']}, {w['batch']}, {w['steps']}){stack}{lengths}"


class Notes:
    """Reasons of n/a, numbered in the order in which they appear."""

    def __init__(self):
        self.numbers = {}

    def mark(self, reason):
        return f"n/a [{self.numbers.setdefault(reason, len(self.numbers) + 1)}]"

    def lines(self):
        return [f"{number}. {reason}" for reason, number in self.numbers.items()]


def table(results, clock, notes):
    """Rows: workloads. Ours in ms; every peer in ms with its ratio to ours on the GPU and on the CPU."""
    records = {(record["workload"], record["runtime"]): record for record in results["records"]
               if record["clock"] == clock}
    names = list(dict.fromkeys(runtime for _, runtime in records))
    # A runtime that has nothing at all is named below the table.
    peers = [name for name in names if name not in OURS
             and any("median" in record for (_, runtime), record in records.items() if runtime == name)]
    ours = [name for name in OURS if name in names]
    lines = ["| cell (I, H, B, T) | " + " | ".join(f"{name}, ms" for name in ours) + " | " + " | ".join(peers) + " |",
             "|---" * (1 + len(ours) + len(peers)) + "|"]
    for w in results["workloads"]:
        cells = [label(w)]
        own = [records.get((w["name"], name), {}) for name in ours]
        for record in own:
            cells.append(f"**{milliseconds(record['median'])}**" if "median" in record
                         else notes.mark(record.get("na", "not run")))
        for name in peers:
            record = records.get((w["name"], name), {})
            if "median" not in record:
                cells.append(notes.mark(record.get("na", "not run")))
                continue
            ratios = [ratio(record["median"] / mine["median"]) if "median" in mine else "-" for mine in own]
            cells.append(f"{milliseconds(record['median'])} ({' / '.join(ratios)})")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def missing(results):
    """One line for each runtime without any measurement."""
    measured = {record["runtime"] for record in results["records"] if "median" in record}
    reasons = {}
    for record in results["records"]:
        if record["runtime"] not in measured:
            reasons.setdefault(record["runtime"], record["na"])
    return [f"- {name}: n/a ({reason})" for name, reason in reasons.items()]


def heading(run):
    versions = {}
    for name, version in run["versions"].items():
        package = name.split("-")[0] if not name.startswith("ours") else "wgpu-rnn"
        versions[f"onnxruntime-webgpu {version}" if name == "onnxruntime-webgpu" else f"{package} {version}"] = None
    return [
        f"# Peers, {run['date']}" + (" (quick: a tenth of the time steps)" if run["quick"] else ""), "",
        "| | |", "|---|---|",
        f"| processor | {run['processor']}, {run['threads']} threads for every runtime |",
        f"| adapter of ours-gpu and burn-wgpu | {run['adapter']}, {run['driver']} |",
        f"| system | {run['system']}, wgpu {run['wgpu']} |",
        f"| versions | {', '.join(versions)} |",
        f"| commit | {run['commit']} |",
        f"| rounds | {run['rounds']}, interleaved; {run['seconds']} s in all; load average before: {run['load']} |", "",
    ]


def markdown(results):
    lines = heading(results["run"])
    notes = Notes()
    clocks = [clock for clock in CLOCKS if any(record["clock"] == clock for record in results["records"])]
    own = [name for name in OURS if any(record["runtime"] == name for record in results["records"])]
    for clock in clocks:
        lines += [f"## {CLOCKS[clock]}", "",
                  f"Medians in ms; in brackets the peer's time over ours ({' / '.join(own)}): above 1, ours is ahead.",
                  "",
                  *table(results, clock, notes), ""]
    lines += notes.lines() and [*notes.lines(), ""]
    lines += missing(results) and [*missing(results), ""]
    errors = [record["error"] for record in results["records"] if "error" in record]
    if errors:
        lines.append("Every output was compared with the f64 oracle before it was timed; "
                     f"largest difference {max(errors):.1e}.")
    return "\n".join(lines).rstrip() + "\n"
