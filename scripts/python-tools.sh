#!/usr/bin/env bash
# Makes a virtual environment with the wheels of a lock, for tools that are written in Python: python-tools.sh NAME FOLDER
# installs requirements/NAME.lock into FOLDER.
#
# FOLDER/installed holds the digest of the lock and is written last: while it matches, nothing is done.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=requirements/${1:?usage: scripts/python-tools.sh NAME FOLDER}.lock
folder=${2:?usage: scripts/python-tools.sh NAME FOLDER}
stamp=$(sha256sum <"$lock")
[ "$(cat "$folder/installed" 2>/dev/null)" != "$stamp" ] || exit 0

fail() {
    echo "python-tools: $1" >&2
    exit 1
}

python3 -c 'import ensurepip, venv' 2>/dev/null ||
    fail "python3 cannot make a virtual environment; run 'sudo apt install python3-venv'."
echo "python-tools: installing $lock into $folder"
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-cache-dir --no-deps \
    --only-binary=:all: --require-hashes -r "$lock" ||
    fail "pip could not install $lock (its message stands above); run the same command again to retry."
echo "$stamp" >"$folder/installed"
