#!/usr/bin/env bash
# Measures PyTorch, onnxruntime, OpenVINO, burn, candle, tract and rten beside wgpu-rnn, interleaved.
# Needs python3 3.11 or later, cargo, and about 6 GB for PyTorch's packages.
#
#   bash benches/peers/run.sh                          everything; target/peers/results.json and the tables
#   bash benches/peers/run.sh --quick                  a tenth of the time steps, three rounds
#   bash benches/peers/run.sh --only burn-wgpu --workloads lstm    one peer beside ours, some workloads
#   bash benches/peers/run.sh --markdown FILE          the tables there too;  --help for the rest
#
#   FEATURES="burn rten"  only these Rust peers;  JOBS=1  cargo's jobs;  PEERS=path  this program instead of building one
set -euo pipefail
cd "$(dirname "$0")/../.."

# 69 (EX_UNAVAILABLE): something is missing, as against 1: ours is wrong.
die() { printf '%s\n' "$*" >&2; exit 69; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || die "missing: python3 (Debian: apt-get install python3 python3-venv)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "python3 is $("$python" --version | cut -d' ' -f2); 3.11 or later is needed"

# The environment is made once, and again when the pins change; the stamp is written last.
here=benches/peers
venv=$here/.venv
stamp=$venv/$(cat $here/requirements.txt $here/requirements-webgpu.txt | cksum | cut -d' ' -f1).installed
if [ ! -e "$stamp" ]; then
    echo "== Python packages of $here/requirements.txt"
    "$python" -m venv "$venv" || die "python3 -m venv failed (Debian: apt-get install python3-venv)"
    pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
    pip install -r $here/requirements.txt ||
        die "pip could not install $here/requirements.txt. Is a package registry reachable? Behind a mirror, set pip's index-url; offline, set PIP_FIND_LINKS to a folder of wheels and PIP_NO_INDEX=1"
    # Its module has the name of onnxruntime's, so it lives in a folder of its own. Not made for every platform.
    rm -rf "$venv/webgpu"
    pip install --no-deps --target "$venv/webgpu" -r $here/requirements-webgpu.txt ||
        echo "onnxruntime-webgpu: no package for this platform" >&2
    touch "$stamp"
fi

# A headless machine has no runtime folder, and Mesa complains about it on every start.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
fi

build() {
    cargo build --release --quiet --locked ${JOBS:+-j "$JOBS"} --manifest-path $here/rust/Cargo.toml \
        --target-dir target/peers-build --no-default-features --features "$1"
}

if [ -z "${PEERS:-}" ]; then
    command -v cargo >/dev/null || die "missing: cargo (https://rustup.rs), or PEERS=path of a built program"
    echo "== the Rust peers, release build (the first one takes a long time)"
    wanted=${FEATURES-burn candle tract rten}
    if ! build "$wanted"; then
        # One that does not build must not stop the others.
        built=
        for feature in $wanted; do
            if build "$built $feature"; then built="$built $feature"; else echo "$feature does not build here" >&2; fi
        done
        build "$built" || die "wgpu-rnn itself does not build"
    fi
fi

exec "$venv/bin/python" $here/peers.py "$@"
