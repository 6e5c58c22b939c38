#!/usr/bin/env bash
# Builds libanofpdm_nccl.so, with which GPUs train together, and puts it where anofpdm-worker looks for it: in the folder
# lib beside it. Needs the GPU set of libtorch (make setup-gpu).
set -euo pipefail
cd "$(dirname "$0")/.."

release=${CARGO_TARGET_DIR:-target}/release
# Cargo keeps a folder for each way it has built the worker: it says itself which one is this build's.
built=$(cargo build --release --locked -p anofpdm-worker --features nccl --message-format=json-render-diagnostics |
    grep '"reason":"build-script-executed"' | grep -F 'anofpdm-worker' |
    sed -n 's/.*"out_dir":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -e "$built/libanofpdm_nccl.so" ] || {
    echo "build-nccl: no libanofpdm_nccl.so in '$built'" >&2
    exit 1
}
mkdir -p "$release/lib"
cp "$built/libanofpdm_nccl.so" "$release/lib/"
echo "build-nccl: $release/lib/libanofpdm_nccl.so"
