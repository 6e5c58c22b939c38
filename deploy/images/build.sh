#!/usr/bin/env bash
# Builds an image of the programs in target/release: build.sh coordinator|worker|worker-cuda [OPTION…]. Options are the
# builder's, for instance --build-arg=BASE=anofpdm-base or --tag=registry.example/anofpdm-worker:0.1.0.
#
#     make build && deploy/images/build.sh worker               # libtorch for the CPU
#     make build-nccl build && deploy/images/build.sh worker-cuda
#
# BUILDER=docker (the default), podman or buildah. LIBTORCH names another libtorch than the checkout's.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "build: $1" >&2
    exit 1
}

image=${1:-}
shift || true
release=${CARGO_TARGET_DIR:-target}/release
libtorch=${LIBTORCH:-libtorch}
[ -x "$release/anofpdm" ] && [ -x "$release/anofpdm-worker" ] || fail "no programs in $release; run 'make build'."
version=$("$release/anofpdm" --version | cut -d' ' -f2)

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/bin"
cp "$release/anofpdm" "$context/bin"

# The libraries as files: libtorch/ in a checkout is links.
copy_libtorch() {
    cp "$release/anofpdm-worker" "$context/bin"
    mkdir -p "$context/libtorch/torch/lib"
    cp --dereference "$libtorch"/torch/lib/*.so* "$context/libtorch/torch/lib"
    (cd "$libtorch/nvidia/" && find . -name '*.so*' -print0) | while IFS= read -r -d '' library; do
        mkdir -p "$context/libtorch/nvidia/$(dirname "$library")"
        cp --dereference "$libtorch/nvidia/$library" "$context/libtorch/nvidia/$library"
    done
}

case $image in
coordinator)
    target=coordinator
    tag=anofpdm-coordinator:$version
    mkdir "$context/libtorch"
    ;;
worker)
    target=worker
    tag=anofpdm-worker:$version
    copy_libtorch
    rm -f "$context"/libtorch/torch/lib/libtorch_cuda* "$context"/libtorch/torch/lib/libc10_cuda*
    find "$context/libtorch/nvidia" -type f ! -name 'libcupti.so*' ! -name 'libcudart.so*' -delete
    ;;
worker-cuda)
    target=worker
    tag=anofpdm-worker:$version-cuda
    [ -e "$libtorch/torch/lib/libtorch_cuda.so" ] || fail "$libtorch is a set for the CPU; run 'make build-nccl build'."
    copy_libtorch
    [ ! -e "$release/lib/libanofpdm_nccl.so" ] || cp "$release/lib/libanofpdm_nccl.so" "$context/libtorch/torch/lib"
    ;;
*) fail "usage: build.sh coordinator|worker|worker-cuda [OPTION of the builder…]" ;;
esac

"${BUILDER:-docker}" build --file deploy/images/Containerfile --target "$target" --tag "$tag" \
    --label "org.opencontainers.image.title=$target" --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.licenses=Apache-2.0" "$@" "$context"
echo "build: $tag"
