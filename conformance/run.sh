#!/usr/bin/env bash
# Runs the conformance suites. Needs python3 3.11 or later, and cargo unless RNN names a built program.
#
#   bash conformance/run.sh                     every suite on the CPU path, the f64 reference and the first GPU
#   bash conformance/run.sh --cases 2000        more fuzz cases;  --seed S: other ones
#   bash conformance/run.sh --only fuzz         one suite: node, attributes, fuzz, torch, pytorch, roundtrip, teeth
#   bash conformance/run.sh --reproduce SEED    one fuzz case in detail
#   bash conformance/run.sh --peers --scoreboard   other runtimes too, and docs/conformance.md
#
#   RNN=path        this program instead of building one;  REQUIRE_GPU=1  no adapter is an error
set -euo pipefail
cd "$(dirname "$0")/.."

# 69 (EX_UNAVAILABLE): something is missing, as against 1: something disagrees.
die() { printf '%s\n' "$*" >&2; exit 69; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || die "missing: python3 (Debian: apt-get install python3 python3-venv)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "python3 is $("$python" --version | cut -d' ' -f2); 3.11 or later is needed"

requirements=conformance/requirements.txt
for option in "$@"; do
    if [ "$option" = --peers ]; then requirements=conformance/requirements-peers.txt; fi
done

# The environment is made once, and again when the pins change; the stamp is written last.
venv=conformance/.venv
stamp=$venv/$(cat conformance/requirements.txt "$requirements" | cksum | cut -d' ' -f1).installed
if [ ! -e "$stamp" ]; then
    echo "== Python packages of $requirements"
    "$python" -m venv "$venv" || die "python3 -m venv failed (Debian: apt-get install python3-venv)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" ||
        die "pip could not install $requirements. Is a package registry reachable? Behind a mirror, set pip's index-url; offline, set PIP_FIND_LINKS to a folder of wheels and PIP_NO_INDEX=1"
    touch "$stamp"
fi

# A headless machine has no runtime folder, and Mesa complains about it on every start.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
fi

if [ -z "${RNN:-}" ]; then
    command -v cargo >/dev/null || die "missing: cargo (https://rustup.rs), or RNN=path of a built program"
    echo "== rnn, release build"
    cargo build --release --quiet
fi

exec "$venv/bin/python" conformance/conform.py "$@"
