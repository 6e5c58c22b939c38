#!/usr/bin/env bash
# Installs the wheel of scripts/wheel.sh into fresh environments and uses it as somebody would who has only that:
# without PyTorch, with one of another version, and beside PyPI's torch, where the demo runs to its end.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/${CARGO_TARGET_DIR:-target}/wheel
wheel=("$work"/dist/anofpdm-*.whl)
here=$work/tried
rm -rf "$here"
mkdir -p "$here"
pip=(-m pip install --quiet --no-input --disable-pip-version-check)

fail() {
    echo "test-wheel: $1" >&2
    exit 1
}

# Nothing of the checkout may be needed.
unset LIBTORCH LD_LIBRARY_PATH ANOFPDM_WORKER
cd "$here"

python3 -m venv without
without/bin/python "${pip[@]}" "${wheel[0]}"
without/bin/anofpdm --version
without/bin/anofpdm plan --help >/dev/null
for command in "anofpdm-worker --version" "anofpdm demo"; do
    code=0
    # shellcheck disable=SC2086 # a command and its arguments
    text=$(without/bin/$command 2>&1) || code=$?
    [ "$code" = 2 ] && [[ $text == *"PyTorch is not installed"*"pip install"* ]] ||
        fail "$command without PyTorch: exit code $code, $text"
done
packages=$(without/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$packages/torch"
touch "$packages/torch/__init__.py"
echo "__version__ = '2.10.1'" >"$packages/torch/version.py"
code=0
text=$(without/bin/anofpdm-worker --version 2>&1) || code=$?
[ "$code" = 2 ] && [[ $text == *"is 2.10.1"*"needs 2.11"* ]] || fail "another PyTorch: exit code $code, $text"
echo "ok: without PyTorch, and with another, it says what to do"

python3 -m venv with
with/bin/python "${pip[@]}" --no-deps --require-hashes --only-binary=:all: -r "$work/../../requirements/cpu.lock"
with/bin/python "${pip[@]}" "${wheel[0]}"
with/bin/anofpdm-worker --version
[ -e with/share/man/man1/anofpdm-worker-run.1 ] || fail "no manual pages"
with/bin/anofpdm-worker selftest --quick
if [ "${DEMO:-1}" = 1 ]; then
    with/bin/anofpdm demo
    grep -q '"fingerprint"' runs/demo/report/summary.json || fail "the demo left no summary"
fi
echo "ok: beside torch 2.11 it runs"
