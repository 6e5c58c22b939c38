#!/usr/bin/env bash
# Installs what `make fleet-demo` needs beside the programs: Prometheus, Alertmanager, the Redis exporter and Redis of the
# distribution, and target/monitoring, a virtual environment with the wheels of requirements/monitoring.lock.
#
# target/monitoring/installed holds the digest of the lock and is written last: while it matches, nothing is done.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh redis-server prometheus prometheus-alertmanager prometheus-redis-exporter openssl

lock=requirements/monitoring.lock
folder=${CARGO_TARGET_DIR:-target}/monitoring
stamp=$(sha256sum <"$lock")
[ "$(cat "$folder/installed" 2>/dev/null)" != "$stamp" ] || exit 0

python3 -c 'import ensurepip, venv' 2>/dev/null || {
    echo "setup-monitoring: python3 cannot make a virtual environment; run 'sudo apt install python3-venv'." >&2
    exit 1
}
echo "setup-monitoring: installing $lock into $folder (about 200 MB)"
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-cache-dir --no-deps \
    --only-binary=:all: --require-hashes -r "$lock" || {
    echo "setup-monitoring: pip could not install $lock (its message stands above); run the same command again to retry." >&2
    exit 1
}
echo "$stamp" >"$folder/installed"
