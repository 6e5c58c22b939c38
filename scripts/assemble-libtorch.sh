#!/usr/bin/env bash
# Assembles libtorch/ from the wheels installed in .venv: links to the real libraries and an own, empty
# libtorch.so, so that neither linker in use makes a binary depend on CUDA (see docs/building.md).
set -euo pipefail
cd "$(dirname "$0")/.."

site=$(echo .venv/lib/python3*/site-packages)
torch=$PWD/$site/torch
nvidia=$PWD/$site/nvidia/cu13/lib
[ -d "$torch/include" ] || { echo "assemble-libtorch: no torch in .venv; run 'make setup'" >&2; exit 1; }

stage=$(mktemp -d libtorch.XXXXXX)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/lib"
ln -s "$torch/include" "$stage/include"
for lib in libc10.so libtorch_cpu.so libgomp.so.1; do ln -s "$torch/lib/$lib" "$stage/lib/$lib"; done
for lib in libcudart.so.13 libcupti.so.13; do ln -s "$nvidia/$lib" "$stage/lib/$lib"; done
echo | "${CC:-cc}" -shared -x c - -o "$stage/lib/libtorch.so" -Wl,-soname,libtorch.so
cat "$torch/version.py" | sed -n "s/^__version__ = '\(.*\)'/\1/p" > "$stage/build-version"

chmod 755 "$stage"
rm -rf libtorch
mv "$stage" libtorch
trap - EXIT
echo "libtorch $(cat libtorch/build-version) assembled"
