"""Runs the program `rnn` on suites and reads its reports."""

import json
import os
import subprocess
from collections import Counter, defaultdict

HOST_DEVICES = ["cpu", "reference"]


class Program:
    """The built program."""

    def __init__(self, path):
        self.path = str(path)

    def call(self, *arguments, timeout=900):
        """Runs `rnn arguments...` and returns the finished process, output captured as text."""
        return subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                              check=False)

    def version(self):
        return self.call("--version").stdout.strip() or "rnn (unknown version)"

    def gpu(self):
        """(the --device value, a line that describes it) of the first usable adapter, or None."""
        adapters = json.loads(self.call("adapters", "--json").stdout)["adapters"]
        for adapter in adapters:
            if not adapter.get("unusable"):
                about = f"{adapter['name']}, {adapter['backend']}, {adapter['driver']} {adapter['driver_info']}"
                software = "llvmpipe" in adapter["name"]
                return ("llvmpipe" if software else str(adapter["index"])), about.strip(" ,")
        return None

    def check(self, folder, device, report, atol, rtol):
        """Runs every case below folder on one device, in one process. Returns the report's rows.

        A missing report, or a case that the report does not name, becomes a row of status 'error'.
        """
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        done = self.call("check", "--onnx", folder, "--device", device, "--atol", atol, "--rtol", rtol, "-o", report)
        rows = read_rows(report)
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        reported = {row["case"] for row in rows}
        missing = sorted(path.parent.name for path in folder.glob("*/model.onnx") if path.parent.name not in reported)
        rows += [{"case": name, "device": device, "strategy": "", "status": "error",
                  "detail": f"not in the report: {said}"} for name in missing]
        report.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return rows


def read_rows(path):
    """The rows of a JSON-lines file; none when it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def verdicts(rows):
    """{case: (status, detail)} over a case's strategies.

    fail and error win over everything; a case that no strategy takes is 'refused'; else it passed.
    """
    grouped = defaultdict(list)
    for row in rows:
        grouped[row["case"]].append(row)
    result = {}
    for case, items in grouped.items():
        for status in ("fail", "error", "pass", "refused"):
            first = next((item for item in items if item["status"] == status), None)
            if first:
                strategy = f"{first['strategy']}: " if first.get("strategy") else ""
                result[case] = (status, strategy + str(first.get("detail") or ""))
                break
        else:
            result[case] = ("error", f"unknown status {items[0]['status']!r}")
    return result


def strategies(rows):
    """'  auto 12 pass; step 10 pass, 2 refused' where a device has several strategies, else ''."""
    counts = defaultdict(Counter)
    for row in rows:
        counts[row.get("strategy", "")][row["status"]] += 1
    if len(counts) < 2:
        return ""
    parts = [f"{name or 'none'} " + ", ".join(f"{n} {status}" for status, n in by.most_common())
             for name, by in counts.items()]
    return "  " + "; ".join(parts)


def default_program(root):
    """RNN from the environment, else the release build below root."""
    return os.environ.get("RNN") or str(root / "target" / "release" / "rnn")
