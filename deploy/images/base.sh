#!/usr/bin/env bash
# Makes a base image from the distribution's packages where there is no registry: base.sh NAME [TAR], as root. Needs
# mmdebstrap. The packages are kept in TAR, and taken from it where it is there. BUILDER=docker, podman or buildah; the
# package sources are this machine's.
set -euo pipefail

name=${1:?usage: base.sh NAME [TAR]}
builder=${BUILDER:-docker}
sources=()
for list in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [ ! -s "$list" ] || sources+=("$list")
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tar=${2:-$scratch/made.tar}
if [ ! -s "$tar" ]; then
    mmdebstrap --quiet --variant=essential --include=ca-certificates,libstdc++6 "${DEBIAN:-bookworm}" "$scratch/base.tar" "${sources[@]}"
    mv "$scratch/base.tar" "$tar"
fi
ln "$tar" "$scratch/base.tar" 2>/dev/null || cp "$tar" "$scratch/base.tar"
printf 'FROM scratch\nADD base.tar /\nCMD ["/bin/bash"]\n' >"$scratch/Containerfile"
"$builder" build --file "$scratch/Containerfile" --tag "$name" "$scratch"
