#!/usr/bin/env bash
# Makes a base for the images where there is no registry: base.sh FILE.tar, as root. Needs mmdebstrap; the packages are
# those of this machine's sources. Then `docker import FILE.tar anofpdm-base`, or podman's.
set -euo pipefail

tar=${1:?usage: base.sh FILE.tar}
sources=()
for list in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [ ! -s "$list" ] || sources+=("$list")
done
mmdebstrap --quiet --format=tar --variant=essential --include=ca-certificates,libstdc++6 "${DEBIAN:-bookworm}" "$tar.new" "${sources[@]}"
mv "$tar.new" "$tar"
