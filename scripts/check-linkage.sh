#!/usr/bin/env bash
# Asserts what the release binaries load at start: `anofpdm` no libtorch at all, so that it runs on a login node;
# `anofpdm-worker` libtorch for the CPU but not CUDA, so that one binary serves both kinds of machine.
set -euo pipefail
cd "$(dirname "$0")/.."

release=${CARGO_TARGET_DIR:-target}/release
status=0

needed_by() {
    readelf --dynamic --wide "$release/$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
}

refuse() {
    echo "check-linkage: $1" >&2
    status=1
}

coordinator=$(needed_by anofpdm)
worker=$(needed_by anofpdm-worker)
if grep -E '^lib(torch|c10|cud|nccl)' <<<"$coordinator"; then
    refuse "anofpdm must not need the libraries above; look for a path from coordinator to tch in 'cargo tree -i tch'."
fi
if ! grep -qx 'libtorch_cpu.so' <<<"$worker"; then
    refuse "anofpdm-worker does not need libtorch_cpu.so; it was not linked with libtorch."
fi
if grep -E '^lib(torch|torch_cuda.*|c10_cuda|cud.*|nccl.*)\.so' <<<"$worker"; then
    refuse "anofpdm-worker must not need the libraries above; is libtorch/lib/libtorch.so the empty one that 'make setup' makes?"
fi
exit "$status"
