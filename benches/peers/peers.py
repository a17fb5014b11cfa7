"""Measures other runtimes beside wgpu-rnn, interleaved in one run; `run.sh` sets up what this needs and calls it.

Every runtime is a process of its own that stays for the whole run and answers requests (worker.py has the
protocol). For each workload all of them prepare: load, run once, compare with the oracle. Then rounds: each
round asks every runtime in turn, in an order that rotates, for a few timings, so that whatever else happens
on the machine hits all of them. Who is wrong, refuses, dies or takes too long has the reason in its cell.
"""

import argparse
import json
import os
import platform
import queue
import re
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import report
import workloads

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "target" / "peers"
RUST = Path(os.environ.get("PEERS", ROOT / "target" / "peers-build" / "release" / "peers"))
SCHEMA = 1
# Autotuning on a software adapter takes minutes.
PREPARE_LIMIT_S, START_LIMIT_S = 600, 120
# A visit takes about this long: quick runs are repeated, slow ones run once.
VISIT_S, VISIT_MOST = 0.5, 20

OURS = ("ours-gpu", "ours-cpu")
RUST_RUNTIMES = (*OURS, "burn-wgpu", "burn-flex", "candle-cpu", "tract-cpu", "rten-cpu")
PYTHON_RUNTIMES = ("torch-cpu", "onnxruntime-cpu", "openvino-cpu", "onnxruntime-webgpu", "torch-cuda",
                   "torch-cuda-tf32", "torch-cuda-padded", "torch-cuda-tf32-padded")
RUNTIMES = (*RUST_RUNTIMES, *PYTHON_RUNTIMES)
# Those that take training steps.
TRAINERS = ("ours-gpu", "burn-wgpu", "torch-cpu", "torch-cuda", "torch-cuda-tf32")
ON_GPU = ("ours-gpu", "burn-wgpu", *(name for name in PYTHON_RUNTIMES if name.startswith("torch-cuda")))
# Rust package of a runtime, for the versions.
PACKAGES = {"ours-gpu": "wgpu-rnn", "ours-cpu": "wgpu-rnn", "burn-wgpu": "burn", "burn-flex": "burn",
            "candle-cpu": "candle-core", "tract-cpu": "tract-onnx", "rten-cpu": "rten"}


def processors():
    """Those that this process may use, where the system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def arguments():
    parser = argparse.ArgumentParser(prog="bash benches/peers/run.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="NAME", action="append", default=[],
                        help=f"this runtime beside ours; repeatable. {', '.join(RUNTIMES)}")
    parser.add_argument("--workloads", metavar="TEXT", action="append", default=[],
                        help="workloads whose name contains this, as in lstm or -lengths; repeatable")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each runtime (default 5)")
    parser.add_argument("--device", default="auto",
                        help="adapter of ours-gpu and burn-wgpu, as in rnn --device (default: a GPU, else software)")
    parser.add_argument("--threads", type=int, default=processors(), help="threads of every runtime (default: all)")
    parser.add_argument("--limit", type=float, default=20.0, metavar="S",
                        help="seconds a runtime may spend on one workload's rounds; it has at least three (default 20)")
    parser.add_argument("--train", action="store_true",
                        help="measure training steps in place of runs, of those that train: " + ", ".join(TRAINERS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the time steps, three rounds")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--results", type=Path, default=OUT / "results.json", metavar="FILE",
                        help="where the measurements go (default target/peers/results.json)")
    parser.add_argument("--render", action="store_true", help="only print the tables of an existing results file")
    args = parser.parse_args()
    unknown = [name for name in args.only if name not in RUNTIMES]
    if unknown:
        parser.error(f"--only {unknown[0]}: expected one of {', '.join(RUNTIMES)}")
    return args


# --- workers --------------------------------------------------------------------------------------


class Gone(Exception):
    """The process ended or did not answer in time."""


class Worker:
    """A runtime's process."""

    def __init__(self, name, args):
        self.name, self.about = name, {}
        count = str(args.threads)
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS",
                     "RTEN_NUM_THREADS", "CANDLE_NUM_THREADS", "LP_NUM_THREADS")
        environment = os.environ | dict.fromkeys(variables, count)
        if name in RUST_RUNTIMES:
            command = [RUST, name, count, args.device]
        else:
            command = [sys.executable, HERE / "worker.py", name, count]
            if name == "onnxruntime-webgpu":  # the package shares its module's name with onnxruntime
                environment["PYTHONPATH"] = str(HERE / ".venv" / "webgpu")
        self.lines = queue.Queue()
        with (OUT / "logs" / f"{name}.log").open("w") as log:
            try:
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                                text=True, env=environment)
            except OSError as error:
                self.about = {"na": f"not built: {error.strerror}"}
                return
        threading.Thread(target=self.read, daemon=True).start()
        try:
            self.about = self.answer(START_LIMIT_S)
        except Gone as error:
            self.about = {"na": f"start: {error}"}

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def answer(self, limit):
        try:
            line = self.lines.get(timeout=limit)
        except queue.Empty:
            self.process.kill()
            raise Gone(f"no answer in {limit:.0f} s") from None
        if line is None:
            raise Gone(f"crashed, exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, limit, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Gone(f"crashed, exit code {self.process.wait()}") from None
        return self.answer(limit)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Pool:
    """The workers; one that is gone is started again for the next workload."""

    def __init__(self, names, args):
        self.args, self.workers, self.missing = args, {}, {}
        for name in names:
            worker = Worker(name, args)
            if "na" in worker.about:
                self.missing[name] = worker.about["na"]
                print(f"  {name}: n/a ({worker.about['na']})", flush=True)
            else:
                self.workers[name] = worker

    def replace(self, name):
        worker = Worker(name, self.args)
        if "na" not in worker.about:
            self.workers[name] = worker
        else:
            self.missing[name] = worker.about["na"]
            del self.workers[name]

    def close(self):
        for worker in self.workers.values():
            worker.close()


# --- one workload ---------------------------------------------------------------------------------


def prepare(pool, w, path, train):
    """The records of the workload, one a runtime and clock; those without a reason are to be timed."""
    records = []
    for name, reason in pool.missing.items():
        clock = "train" if train else "host"
        records.append({"workload": w.name, "runtime": name, "clock": clock, "na": reason})
    for name, worker in list(pool.workers.items()):
        record = {"workload": w.name, "runtime": name, "clock": "train" if train else "host"}
        try:
            reply = worker.ask(PREPARE_LIMIT_S, do="prepare", workload=str(path))
        except Gone as error:
            reply = {"na": str(error)}
            pool.replace(name)
        if "ok" in reply:
            record |= {"error": reply["error"], "seconds": []}
            if reply.get("plan"):
                record["plan"] = reply["plan"]
        else:
            record["na"] = reply.get("na") or f"wrong: {reply['wrong']}"
        records.append(record)
        hardware = not worker.about.get("software", False)
        if name in ON_GPU and hardware and not train and "na" not in record:
            records.append({"workload": w.name, "runtime": name, "clock": "device", "seconds": []})
    return records


def visit(pool, record, args):
    """One turn of a runtime: some timings, or nothing when its time is used up."""
    seconds = record["seconds"]
    if "na" in record or (len(seconds) >= 3 and sum(seconds) > args.limit):
        return
    worker = pool.workers.get(record["runtime"])
    if worker is None:
        record["na"] = pool.missing[record["runtime"]]
        return
    usual = min(seconds) if seconds else VISIT_S
    count = max(1, min(VISIT_MOST, int(VISIT_S / max(usual, 1e-6))))
    try:
        reply = worker.ask(PREPARE_LIMIT_S, do="run", count=count, clock=record["clock"])
    except Gone as error:
        reply = {"na": str(error)}
        pool.replace(record["runtime"])
    if "na" in reply:
        record["na"] = reply["na"]
    else:
        seconds.extend(reply["seconds"])
    time.sleep(0.02)  # threads that spin for more work go to sleep


def measure(pool, w, args):
    folder = workloads.write(OUT, w)
    records = prepare(pool, w, folder / ("workload_lengths.json" if w.lengths else "workload.json"), args.train)
    # The first turn warms up: pools, caches, clocks.
    timed = [record for record in records if "seconds" in record]
    for record in timed:
        visit(pool, record, args)
        record["seconds"] = []
    for number in range(args.rounds):
        start = number % max(len(timed), 1)
        for record in timed[start:] + timed[:start]:
            visit(pool, record, args)
    for record in timed:
        if "na" not in record:
            record.update(report.summary(record["seconds"]))
        print(f"  {report.line(record)}", flush=True)
    for record in records:
        if "na" in record:
            record.pop("seconds", None)
    return records


# --- the run --------------------------------------------------------------------------------------


def locked_versions():
    """{package: version} of the Rust program."""
    text = (HERE / "rust" / "Cargo.lock").read_text()
    return dict(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', text))


def commit():
    def git(*command):
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def processor():
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def describe(pool, args):
    locked = locked_versions()
    versions = {name: locked[package] for name, package in PACKAGES.items() if name in pool.workers}
    versions |= {name: worker.about["version"] for name, worker in pool.workers.items() if "version" in worker.about}
    ours = pool.workers["ours-gpu"].about if "ours-gpu" in pool.workers else {}
    return {
        "date": date.today().isoformat(), "commit": commit(), "quick": args.quick, "threads": args.threads,
        "rounds": args.rounds, "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "processor": processor(), "system": platform.platform(terse=True),
        "adapter": ours.get("device", "none"), "driver": ours.get("driver", ""), "wgpu": locked["wgpu"],
        "devices": {name: worker.about["device"] for name, worker in pool.workers.items()}, "versions": versions,
    }


def main():
    args = arguments()
    if args.render:
        return finish(json.loads(args.results.read_text()), args)
    if args.quick:
        args.rounds = min(args.rounds, 3)
    names = [name for name in RUNTIMES if not args.only or name in args.only or name in OURS]
    if args.train:
        names = [name for name in names if name in TRAINERS]
    chosen = [w for w in workloads.workloads(args.quick)
              if not args.workloads or any(text in w.name for text in args.workloads)]
    if args.train:  # the loss of padded batches has another denominator in every runtime
        chosen = [w for w in chosen if not w.lengths]
    if not chosen:
        sys.exit("no workload has such a name: " + ", ".join(w.name for w in workloads.workloads(args.quick)))
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    print(f"== {len(names)} runtimes, {args.threads} threads each", flush=True)
    pool = Pool(names, args)
    results = {"schema": SCHEMA, "run": describe(pool, args), "workloads": [], "records": []}
    try:
        for number, w in enumerate(chosen, 1):
            print(f"== {number}/{len(chosen)} {w.name}", flush=True)
            results["records"] += measure(pool, w, args)
            results["workloads"].append(report.workload_row(w))
            results["run"]["seconds"] = round(time.monotonic() - began)
            args.results.parent.mkdir(parents=True, exist_ok=True)
            args.results.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        pool.close()
    return finish(results, args)


def finish(results, args):
    text = report.markdown(results)
    print("\n" + text)
    if args.markdown:
        args.markdown.write_text(text)
    wrong = [record for record in results["records"] if record.get("na", "").startswith("wrong")
             and record["runtime"] in OURS]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
