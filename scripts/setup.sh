#!/usr/bin/env bash
# Installs what a build needs: .venv with the locked wheels, and libtorch/ assembled from it.
#
#   scripts/setup.sh cpu    three wheels; a GPU set that is already installed serves as well
#   scripts/setup.sh gpu    the full set: CUDA libraries, NCCL, headers
#
# A folder after that has both put there instead of into the checkout, which keeps its own set.
#
# .venv/installed is written last and names the set and the digest of its lock; libtorch/assembled likewise. While they
# match, a second call does nothing; when one is missing (interrupted) or differs (a changed lock), its part is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout=$PWD

set_name=${1:?usage: scripts/setup.sh cpu|gpu [FOLDER]}
folder=${2:-}

fail() {
    echo "setup: $1" >&2
    exit 1
}

check_build_tools() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "the libtorch wheels are for Linux x86_64, this is $(uname -sm); use such a machine or container."
    local rust cargo oldest
    rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    command -v cargo >/dev/null || fail "cargo is missing; install rustup from https://rustup.rs, then open a new shell."
    cargo=$(cargo --version | cut -d' ' -f2) || fail "cargo does not start; run 'rustup toolchain install $rust'."
    oldest=$(printf '%s\n%s\n' "$rust" "$cargo" | sort -V | head -n 1)
    [ "$oldest" = "$rust" ] || fail "cargo $cargo is older than $rust; install rustup from https://rustup.rs, it picks the right one by itself."
    command -v "${CXX:-c++}" >/dev/null || fail "no C++ compiler '${CXX:-c++}'; run 'sudo apt install g++'."
    command -v "${CC:-cc}" >/dev/null || fail "no C compiler '${CC:-cc}'; run 'sudo apt install g++'."
}

check_python() {
    command -v python3 >/dev/null || fail "python3 is missing; run 'sudo apt install python3 python3-venv'."
    python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' ||
        fail "$(python3 --version) has no libtorch wheel; put a Python 3.10 to 3.14 first on PATH."
    python3 -c 'import ensurepip, venv' 2>/dev/null || fail "python3 cannot make a virtual environment; run 'sudo apt install python3-venv'."
}

# Downloads and the unpacked set lie side by side for a moment; a release build comes on top.
check_disk() {
    local needed_gib=$1 free_kib
    free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free_kib" -ge $((needed_gib * 1024 * 1024)) ] ||
        fail "$((free_kib / 1024 / 1024)) GiB free here, the $set_name set and a build need $needed_gib GiB; free some or clone to another disk."
}

# What .venv/installed holds once the given set is complete.
stamp_of() {
    echo "$1 $(sha256sum <"$checkout/requirements/$1.lock")"
}

installed() {
    [ "$(cat .venv/installed 2>/dev/null)" = "$(stamp_of "$1")" ]
}

install_wheels() {
    check_python
    check_disk "$1"
    echo "setup: installing libtorch for the $set_name into .venv ($2)"
    # Progress bars only where somebody watches. No cache: it would keep a second copy of every wheel, and the pip of
    # Debian 12 reads a whole wheel into memory to store it.
    local quiet=--quiet
    if [ -t 1 ]; then quiet=; fi
    rm -f .venv/installed
    rm -rf .venv
    python3 -m venv .venv
    mkdir .venv/download
    TMPDIR=$PWD/.venv/download .venv/bin/python -m pip install ${quiet:+"$quiet"} --no-input \
        --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
        -r "$checkout/requirements/$set_name.lock" ||
        fail "pip could not install requirements/$set_name.lock (its message stands above); run the same command again to retry."
    rmdir .venv/download
    stamp_of "$set_name" >.venv/installed
}

check_build_tools

# Whoever points LIBTORCH elsewhere (say, several checkouts that share one) has it already; cargo obeys it too.
if [ -n "$folder" ]; then
    mkdir -p "$folder"
    cd "$folder"
elif [ -n "${LIBTORCH:-}" ]; then
    [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || fail "LIBTORCH=$LIBTORCH holds no lib/libtorch_cpu.so; unset LIBTORCH to have libtorch installed here."
    exit 0
fi

case $set_name in
cpu) installed cpu || installed gpu || install_wheels 5 "a 544 MB download, 1.3 GB on disk" ;;
gpu) installed gpu || install_wheels 12 "a 2.7 GB download, 4.7 GB on disk" ;;
*) fail "unknown set '$set_name'; give cpu or gpu." ;;
esac

assembled=$(cat .venv/installed "$checkout/scripts/assemble-libtorch.sh" | sha256sum)
if [ "$(cat libtorch/assembled 2>/dev/null)" != "$assembled" ]; then
    "$checkout/scripts/assemble-libtorch.sh" .
    echo "$assembled" >libtorch/assembled
fi
