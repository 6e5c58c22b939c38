#!/usr/bin/env bash
# What can be tested of the GPU build on a machine without a GPU: installs the GPU set of libtorch beside the checkout's own
# (2.7 GB download, once), builds the worker against it, and checks linkage, symbols, the run-time compiler, the texts of
# failures, the operations of real runs and the compiled kernels. Everything lies in target/gpu-set; needs 20 GiB free.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${CARGO_TARGET_DIR:-$PWD/target}/gpu-set
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
started=$SECONDS

step() { echo "test-gpu-set: $*"; }
fail() {
    echo "test-gpu-set: $1" >&2
    exit 1
}

scripts/setup.sh gpu "$folder"
export LIBTORCH=$folder/libtorch CARGO_TARGET_DIR=$folder/build
libraries=$LIBTORCH/lib
release=$CARGO_TARGET_DIR/release
worker_tests=(cargo test --quiet --release --locked -p anofpdm-worker --features nccl --lib)

step "build"
scripts/build-nccl.sh
cargo build --release --locked -p anofpdm-coordinator

step "linkage: no CUDA at start"
scripts/check-linkage.sh

step "symbols of libanofpdm_nccl.so"
# As when it is loaded: behind libtorch_cuda, which brings the libraries of its own run path.
unresolved=$(LD_LIBRARY_PATH=$libraries:$LIBTORCH/nvidia/cu13/lib ldd -r "$release/lib/libanofpdm_nccl.so" 2>&1 | grep -E 'undefined symbol|not found' || true)
[ -z "$unresolved" ] || fail "libanofpdm_nccl.so: $unresolved"

step "tests with libtorch_cuda, each in a process of its own"
cuobjdump=("$folder"/.venv/lib/python3*/site-packages/triton/backends/nvidia/bin/cuobjdump)
export ANOFPDM_CUOBJDUMP=${cuobjdump[0]}
for test in the_compiler_of_cudnn_is_loaded_with_libtorch \
    every_failure_that_the_libraries_know_has_the_class_meant the_kernels_keep_to_their_registers; do
    said=$("${worker_tests[@]}" -- --ignored --nocapture --exact "shim::gpu_set_tests::$test" 2>&1) || fail "$said"
    grep -q '1 passed' <<<"$said" || fail "no test $test: $said"
done

step "operations of real runs"
ops=$folder/ops
rm -rf "$ops"
mkdir "$ops"
flags=(-std=c++17 -O1 -w -I"$LIBTORCH/include" -I"$LIBTORCH/include/torch/csrc/api/include" scripts/gpu-set/op_coverage.cpp
    -L"$libraries" -Wl,-rpath,"$libraries" -ltorch_cpu -lc10 -ldl)
"${CXX:-c++}" -shared -fPIC "${flags[@]}" -o "$ops/libops.so"
"${CXX:-c++}" -DANOFPDM_CHECKER "${flags[@]}" -o "$ops/check"
cat >"$ops/worker" <<END
#!/bin/sh
LD_PRELOAD="$ops/libops.so" exec "$release/anofpdm-worker" "\$@"
END
chmod +x "$ops/worker"
export ANOFPDM_OPS=$ops/called ANOFPDM_WORKER=$ops/worker
command=$release/anofpdm
cp scripts/gpu-set/ops.toml "$ops/fp32.toml"
sed 's/"fp32"/"bf16"/; s/^name = .*/name = "ops-bf16"/' "$ops/fp32.toml" >"$ops/bf16.toml"
(
    cd "$ops"
    "$command" phantom data --kind brats --subjects 6 --seed 2 --grid 48
    "$command" preprocess data store --layout brats --size 16 --split 50/25/25
    for spec in fp32 bf16; do
        "$command" run "$spec.toml" --dir "$spec" --device cpu --workers 2
    done
) >"$ops/log" 2>&1 || fail "$(tail -n 20 "$ops/log")"
# What only a GPU calls in their place.
printf '%s\n' aten::_scaled_dot_product_efficient_attention aten::_amp_foreach_non_finite_check_and_unscale_ >>"$ops/called"
sort -u "$ops/called" >"$ops/all"
# What only a CPU calls: fused attention, and convolutions and products of oneDNN.
grep -vE '_for_cpu|::mkldnn_|::_mkldnn|onednn' "$ops/all" >"$ops/wanted"
[ "$(wc -l <"$ops/wanted")" -ge 100 ] || fail "only $(wc -l <"$ops/wanted") operations were seen: they are not collected"
missing=$("$ops/check" <"$ops/wanted" 2>"$ops/checked") || fail "no kernel for CUDA: $missing ($(tail -n 1 "$ops/checked"))"

echo "test-gpu-set: all passed in $((SECONDS - started)) s: linkage, NCCL, run-time compiler, failure texts, kernels," \
    "$(wc -l <"$ops/wanted") operations"
