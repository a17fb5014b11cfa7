#!/usr/bin/env bash
# Fuzzes everything that reads files, each target bounded in time and memory; fuzz/README.md has more.
#
#   scripts/fuzz.sh                     every target for 60 seconds
#   scripts/fuzz.sh SECONDS [TARGET…]   the named targets, or all, for SECONDS each
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
case "$seconds" in
'' | *[!0-9]*) echo "usage: scripts/fuzz.sh [seconds per target] [target…]"; exit 2 ;;
esac
[ $# -gt 0 ] && shift

command -v cargo >/dev/null || { echo "missing: cargo (Rust, https://rustup.rs)"; exit 1; }
command -v c++ >/dev/null || { echo "missing: a C++ compiler (Debian: g++)"; exit 1; }
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "missing: a nightly toolchain, which sanitizers need (rustup toolchain install nightly)"
    exit 1
fi
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)

failed=()
for target in "${targets[@]}"; do
    printf '\n== %s, %s s\n' "$target" "$seconds"
    cargo +nightly fuzz build "$target"
    # New inputs go to the first folder; the committed ones are only read.
    mkdir -p "fuzz/found/$target/corpus" "fuzz/regressions/$target"
    # 2 GiB of memory, 10 seconds and 64 KiB an input at most.
    cargo +nightly fuzz run "$target" \
        "fuzz/found/$target/corpus" "fuzz/corpus/$target" "fuzz/regressions/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=10 \
        -max_len=65536 -print_final_stats=1 -artifact_prefix="fuzz/found/$target/" 2>&1 |
        grep -vE '^#[0-9]+\s+(NEW|REDUCE|RELOAD)' || failed+=("$target")
done

if [ ${#failed[@]} -gt 0 ]; then
    printf '\n== failed: %s (the inputs lie in fuzz/found/)\n' "${failed[*]}"
    exit 1
fi
printf '\n== nothing found\n'
