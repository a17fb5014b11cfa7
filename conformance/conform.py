"""Runs the conformance suites; `run.sh` sets up what this needs and calls it.

Suites:
    node        ONNX's own cases
    attributes  one attribute value at a time
    fuzz        seeded, every attribute at once
    torch       models of exporters
    pytorch     state_dicts through `rnn run`
    roundtrip   .onnx -> .safetensors -> .onnx
    teeth       mistakes made on purpose must be caught; needs no program

Everything is written below target/conformance: cases, manifests, one report a suite and device. Exit code
1 on any disagreement: of a device with an expected output, or of onnxruntime with spec.py for no known
reason.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import attributes
import device
import fixtures
import fuzz
import layout
import node
import numpy as np
import oracle
import pytorch
import roundtrip
import scoreboard
import teeth

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "target" / "conformance"
SUITES = ("node", "attributes", "fuzz", "torch", "pytorch", "roundtrip", "teeth")
TOLERANCE = {"node": (node.ATOL, node.RTOL), "attributes": (fuzz.ATOL, fuzz.RTOL),
             "fuzz": (fuzz.ATOL, fuzz.RTOL), "torch": (fixtures.ATOL, fixtures.RTOL)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=400, help="fuzz cases (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="the first fuzz seed (default 0)")
    parser.add_argument("--only", choices=SUITES, help="this suite alone")
    parser.add_argument("--reproduce", type=int, metavar="SEED", help="one fuzz case on every device, in detail")
    parser.add_argument("--device", action="append", help="instead of cpu, reference and the first adapter; repeatable")
    parser.add_argument("--peers", action="store_true", help="other runtimes too, on the same node and fuzz cases")
    parser.add_argument("--scoreboard", action="store_true", help="write docs/conformance.md from this run")
    parser.add_argument("--generate-only", action="store_true", help="write the cases and stop; needs no program")
    return parser.parse_args()


def devices_of(program, args):
    """([--device values], the adapter's description)."""
    gpu = program.gpu()
    if gpu is None and os.environ.get("REQUIRE_GPU") == "1":
        sys.exit("REQUIRE_GPU=1, and `rnn adapters` finds no usable GPU adapter")
    about = gpu[1] if gpu else "none"
    if args.device:
        return args.device, about
    if gpu is None:
        print("note: no GPU adapter; the suites run on the CPU path and the reference")
    return device.HOST_DEVICES + ([gpu[0]] if gpu else []), about


def write_manifest(suite, rows):
    (OUT / suite / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def fresh(suite):
    """The empty folder of a suite's cases."""
    shutil.rmtree(OUT / suite, ignore_errors=True)
    cases = OUT / suite / "cases"
    cases.mkdir(parents=True)
    return cases


def judged(root, case, features):
    """Writes a case and returns its row of the manifest, with onnxruntime's verdict."""
    write_case(root, case)
    verdict, reason = oracle.judge(case)
    return {"case": case.name, "seed": case.seed, "features": features, "onnxruntime": verdict, "reason": reason}


def write_fuzz(root, seeds):
    """Draws and writes the cases of seeds. Returns the manifest's rows."""
    cases = map(fuzz.draw, seeds)
    return [judged(root, case, fuzz.features_of(case)) for case in cases]


def write_attributes(root):
    """Writes the cases of one attribute value each. Returns the manifest's rows."""
    return [judged(root, case, [label]) for label, case in attributes.cases()]


def write_case(root, case):
    layout.write_case(root / case.name, fuzz.to_model(case), case.inputs, case.expected)


def generate(suite, args):
    """Writes a suite's cases and manifest. Returns the manifest's rows."""
    root = fresh(suite)
    if suite == "fuzz":
        rows = write_fuzz(root, range(args.seed, args.seed + args.cases))
    elif suite == "attributes":
        rows = write_attributes(root)
    else:
        rows = (node if suite == "node" else fixtures).write(root)
    write_manifest(suite, rows)
    return rows


def report_oracle(suite, rows):
    """Prints how onnxruntime and spec.py got on. Returns the number of unexplained disagreements."""
    counts = Counter(row["onnxruntime"] for row in rows)
    print(f"{suite:10} spec.py against onnxruntime: {counts['agrees']} of {len(rows)} agree, "
          f"{counts['fault']} are known faults of onnxruntime, {counts['refused']} it refuses, "
          f"{counts['unexplained']} unexplained")
    for row in rows:
        if row["onnxruntime"] in ("refused", "unexplained"):
            print(f"  {row['case']}: {row['onnxruntime']}: {row['reason']}")
    return counts["unexplained"]


def run_devices(program, suite, devices):
    """Runs a suite on every device and prints the outcome. Returns the number of failing cases."""
    failing = 0
    for name in devices:
        started = time.monotonic()
        rows = program.check(OUT / suite / "cases", name, OUT / suite / "reports" / f"{name}.jsonl", *TOLERANCE[suite])
        outcome = device.verdicts(rows)
        counts = Counter(status for status, _ in outcome.values())
        bad = {case: said for case, said in outcome.items() if said[0] != "pass"}
        failing += len(bad)
        print(f"{suite:10} {name:12} {counts['pass']} of {len(outcome)} pass  ({time.monotonic() - started:.1f} s)"
              f"{device.strategies(rows)}", flush=True)
        for case, (status, detail) in sorted(bad.items())[:20]:
            print(f"  {status}: {case}: " + " ".join(detail.split())[:200])
            if suite == "fuzz":
                print(f"    bash conformance/run.sh --reproduce {case.rsplit('_', 1)[1]}")
        if len(bad) > 20:
            print(f"  and {len(bad) - 20} more: {OUT / suite / 'reports' / name}.jsonl")
    return failing


def run_teeth(args):
    """Returns the number of mistakes that went uncaught."""
    rows = teeth.check([fuzz.draw(seed) for seed in range(args.seed, args.seed + min(args.cases, 300))])
    bad = teeth.failures(rows)
    print(f"teeth      {len(rows) - len(bad)} of {len(rows)} kinds of mistake are caught; least share "
          f"{min(row[1] / row[2] for row in rows if row[2]):.2f}")
    for name, caught, applicable, least in bad:
        print(f"  uncaught: {name}: {caught} of {applicable} cases, expected a share of {least}")
    (OUT / "teeth.json").write_text(json.dumps(rows))
    return len(bad)


def reproduce(program, devices, seed):
    """One fuzz case on every device: attributes, verdict of onnxruntime, first element that differs."""
    case = fuzz.draw(seed)
    root = fresh(f"seed_{seed}")
    write_case(root, case)
    folder = root / case.name
    print(f"seed {seed}: {case.op}, opset {case.opset}, {case.attributes}")
    for name, array in case.inputs.items():
        place = "graph input" if name in case.fed else "initializer"
        print(f"  {name:13} {place}, {list(array.shape)}" + (f" = {array}" if name == "sequence_lens" else ""))
    print(f"  outputs       {case.outputs}\n  folder        {folder}")
    print("onnxruntime against spec.py:", *oracle.judge(case))
    np.savez(root / "inputs.npz", **{name: case.inputs[name] for name in case.fed})
    failing = 0
    for name in devices:
        for row in program.check(root, name, root.parent / f"{name}.jsonl", fuzz.ATOL, fuzz.RTOL):
            failing += row["status"] in ("fail", "error")
            print(f"{name} {row.get('strategy')}: {row['status']} {row.get('max_abs', '')} {row.get('detail') or ''}")
        failing += not show_difference(program, case, folder, root, name)
    return failing


def show_difference(program, case, folder, root, name):
    """Runs `rnn run` and prints each output's first element off by more than the tolerance."""
    target = root / f"{name}.npz"
    done = program.call("run", folder / "model.onnx", root / "inputs.npz", "-o", target, "--device", name)
    if done.returncode != 0:
        print(f"{name} rnn run: exit code {done.returncode}: {done.stderr.strip()}")
        return False
    got, fine = np.load(target), True
    for output, want in case.expected.items():
        if output not in got.files or got[output].shape != want.shape:
            shape = got[output].shape if output in got.files else "absent"
            print(f"{name} rnn run: {output}: expected {want.shape}, got {shape}")
            fine = False
            continue
        off = ~(np.abs(got[output] - want) <= fuzz.ATOL + fuzz.RTOL * np.abs(want))
        if off.any():
            index = tuple(int(k) for k in np.argwhere(off)[0])
            print(f"{name} rnn run: {output}{list(index)} (axes as in the model): expected {want[index]:.8g}, "
                  f"got {got[output][index]:.8g}; {int(off.sum())} of {off.size} elements differ")
            fine = False
    if fine:
        print(f"{name} rnn run: equal")
    return fine


def run_suites(program, devices, args):
    """Generates and runs the chosen suites. Returns the number of problems."""
    chosen = [args.only] if args.only else list(SUITES)
    problems = 0
    if "teeth" in chosen:
        problems += run_teeth(args)
    for suite in ("node", "attributes", "fuzz", "torch"):
        if suite in chosen:
            rows = generate(suite, args)
            if suite in ("attributes", "fuzz"):
                problems += report_oracle(suite, rows)
            if program:
                problems += run_devices(program, suite, devices)
    if program and "pytorch" in chosen:
        problems += pytorch.run(program, OUT, devices)
    if program and "roundtrip" in chosen:
        problems += roundtrip.run(program, OUT)
    return problems


def main():
    args = arguments()
    started = time.monotonic()
    if args.scoreboard:
        if args.only or args.device:
            sys.exit("--scoreboard is of a whole run: leave out --only and --device")
        shutil.rmtree(OUT, ignore_errors=True)  # no row of an earlier run
    OUT.mkdir(parents=True, exist_ok=True)
    program, devices, about = None, [], ""
    if not args.generate_only:
        path = device.default_program(ROOT)
        if not Path(path).is_file():
            sys.exit(f"no program at {path}: cargo build --release, or RNN=path")
        program = device.Program(path)
        devices, about = devices_of(program, args)
    if args.reproduce is not None:
        sys.exit(1 if reproduce(program, devices, args.reproduce) else 0)
    problems = run_suites(program, devices, args)
    (OUT / "run.json").write_text(json.dumps({
        "adapter": about, "devices": devices, "program": program.version() if program else None,
        "seed": args.seed, "cases": args.cases}))
    if args.peers:
        import peers  # needs its own packages

        peers.run(OUT)
    if args.scoreboard:
        scoreboard.write(OUT, ROOT / "docs" / "conformance.md")
        print("wrote docs/conformance.md")
    print(f"{'FAILED: ' + str(problems) + ' problems' if problems else 'all agree'} "
          f"({time.monotonic() - started:.0f} s)")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
