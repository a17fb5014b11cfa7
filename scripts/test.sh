#!/usr/bin/env bash
# Runs every test of the project, and sets up what they need.
#
# On Debian as root (a fresh machine, CI) it installs a software Vulkan adapter (llvmpipe) and fetches
# SwiftShader, the portability gate. On your own machine it needs no root: it uses the GPU drivers
# that are there and says plainly what is missing.
#
#   scripts/test.sh            everything
#   scripts/test.sh --quick    tests only: no lints, no release build, no SwiftShader
set -euo pipefail
cd "$(dirname "$0")/.."

quick=no
[ "${1:-}" = "--quick" ] && quick=yes

say() { printf '\n== %s\n' "$*"; }
note() { printf 'note: %s\n' "$*"; }

command -v cargo >/dev/null || { echo "missing: cargo (Rust 1.95 or later, https://rustup.rs)"; exit 1; }
command -v cc >/dev/null || { echo "missing: a C linker (Debian: gcc, macOS: xcode-select --install)"; exit 1; }

# A headless machine has no runtime folder, and Mesa complains about it on every start.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR=$(mktemp -d)
    export XDG_RUNTIME_DIR
fi

is_root_debian() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Not one `ls` over both folders: it fails as soon as one of them is missing.
has_vulkan_driver() {
    [ -n "${VK_ICD_FILENAMES:-}${VK_DRIVER_FILES:-}" ] && return 0
    for manifest in /usr/share/vulkan/icd.d/*.json /usr/local/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json; do
        [ -e "$manifest" ] && return 0
    done
    return 1
}

apt_updated=no
apt_update() {
    [ "$apt_updated" = yes ] || apt-get update -qq
    apt_updated=yes
}

say "GPU adapter"
if [ "$(uname)" = Linux ] && ! has_vulkan_driver; then
    if is_root_debian; then
        apt_update
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            mesa-vulkan-drivers libvulkan1 >/dev/null
        has_vulkan_driver || { echo "no Vulkan driver, even after installing Debian's mesa-vulkan-drivers"; exit 1; }
    else
        note "no Vulkan driver found; on Debian: apt-get install mesa-vulkan-drivers libvulkan1"
    fi
fi
if [ "$(uname)" != Linux ] || has_vulkan_driver; then
    # With a driver there, a test that finds no adapter fails instead of skipping.
    export REQUIRE_GPU=1
else
    note "GPU tests will print 'skipped (no adapter)'"
fi
echo "REQUIRE_GPU=${REQUIRE_GPU:-0}"

if [ "$quick" = no ]; then
    say "format and lints"
    if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; else note "rustfmt is not installed"; fi
    if cargo clippy --version >/dev/null 2>&1; then
        cargo clippy --workspace --all-targets -- -D warnings
    else
        note "clippy is not installed"
    fi
    say "documentation"
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
fi

say "tests"
cargo test --workspace

if [ "$quick" = no ]; then
    say "the library without the program, as an embedder builds it"
    # With wgpu's features as they are compiled already: what is asked is whether the library needs the program's crates.
    cargo check --lib --no-default-features --features wgpu/default

    say "portability: SwiftShader"
    # 8 to 10 storage buffers, 256 lanes, 256-byte offsets, no f16: what the smallest GPUs offer.
    swiftshader=target/swiftshader/usr/lib/chromium
    if [ ! -e "$swiftshader/libvk_swiftshader.so" ] && [ "$(uname -m)" = x86_64 ] && command -v apt-get >/dev/null; then
        if is_root_debian; then apt_update; fi
        mkdir -p target/swiftshader
        (
            cd target/swiftshader
            apt-get download -qq chromium-common >/dev/null 2>&1 && dpkg -x chromium-common_*.deb .
            rm -f chromium-common_*.deb
        ) || true
    fi
    if [ -e "$swiftshader/libvk_swiftshader.so" ]; then
        printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"1.0.5"}}\n' \
            "$PWD/$swiftshader/libvk_swiftshader.so" >target/swiftshader/icd.json
        VK_ICD_FILENAMES="$PWD/target/swiftshader/icd.json" WGPU_BACKEND=vulkan REQUIRE_GPU=1 \
            cargo test --test cases --test embedding
    elif [ "${CI:-}" = true ]; then
        echo "SwiftShader could not be fetched"
        exit 1
    else
        note "SwiftShader is not here (Debian package chromium-common); skipped"
    fi

    say "the release program"
    cargo run --release --quiet -- run models/sunspots.safetensors data/sunspots.csv
    cargo run --release --quiet -- check --device cpu
    if [ "${REQUIRE_GPU:-0}" = 1 ]; then
        # Debian's software adapter where it is there, else the first adapter. A software adapter compiles for
        # minutes; the tests have run the other cases on it. Here one case runs on every driver.
        if cargo run --release --quiet -- adapters | grep -qi llvmpipe; then
            cargo run --release --quiet -- check --device llvmpipe --filter "gru 2 equal layers"
        else
            cargo run --release --quiet -- check --device 0
        fi
    fi

    say "conformance: ONNX's own cases, onnxruntime, PyTorch"
    conform() {
        local status=0
        bash conformance/run.sh "$@" || status=$?
        if [ "$status" = 69 ] && [ "${CI:-}" != true ]; then
            note "conformance needs what the line above names; skipped"
        elif [ "$status" != 0 ]; then
            exit "$status"
        fi
    }
    if is_root_debian && command -v python3 >/dev/null && ! python3 -c 'import ensurepip' 2>/dev/null; then
        apt_update
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    fi
    conform --cases 40
    # Hundreds of seeds where a case costs no compilation of shaders.
    conform --only fuzz --seed 40 --cases 960 --device cpu --device reference
fi

say "all passed"
