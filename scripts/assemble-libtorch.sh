#!/usr/bin/env bash
# Assembles libtorch/ from the wheels in .venv: links to the real libraries and an own, empty libtorch.so, so that no
# linker makes a binary depend on CUDA (see docs/building.md). Run by scripts/setup.sh with the folder that holds .venv;
# safe to run again.
#
#   libtorch/include            -> the torch headers
#   libtorch/lib                -> torch/lib
#   libtorch/torch/lib/*.so     -> the torch libraries, and the empty libtorch.so
#   libtorch/nvidia             -> the NVIDIA wheels: libtorch looks for them in $ORIGIN/../../nvidia
set -euo pipefail
cd "${1:?usage: scripts/assemble-libtorch.sh FOLDER}"

packages=(.venv/lib/python3*/site-packages)
torch=${packages[0]}/torch
[ -d "$torch/include" ] || {
    echo "assemble-libtorch: no torch in .venv; run 'make setup'" >&2
    exit 1
}

stage=$(mktemp -d .venv/libtorch.XXXXXX)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/torch/lib"
# Links are relative (to the final place), so that a moved checkout keeps working.
ln -s "../$torch/include" "$stage/include"
ln -s "../${packages[0]}/nvidia" "$stage/nvidia"
ln -s torch/lib "$stage/lib"

# cuBLAS comes with the GPU set only. Without it libtorch_cuda.so could not load, so it is not offered to the linker.
if compgen -G "${packages[0]}/nvidia/cu13/lib/libcublas.so*" >/dev/null; then
    libraries=("$torch"/lib/*.so*)
else
    libraries=("$torch"/lib/{libc10.so,libtorch_cpu.so,libgomp.so.1})
fi
for library in "${libraries[@]}"; do
    ln -s "../../../$library" "$stage/torch/lib/$(basename "$library")"
done
rm -f "$stage/torch/lib/libtorch.so"
"${CC:-cc}" -shared -x c /dev/null -o "$stage/torch/lib/libtorch.so" -Wl,-soname,libtorch.so

# torch-sys compares this with the version it was made for.
sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py" >"$stage/build-version"

chmod 755 "$stage"
rm -rf libtorch
mv "$stage" libtorch
trap - EXIT
echo "setup: libtorch $(cat libtorch/build-version) assembled in $PWD/libtorch/"
