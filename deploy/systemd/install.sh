#!/usr/bin/env bash
# Puts units, user, folders and examples of settings in place: install.sh [ROOT], as root. Nothing is enabled or started,
# and settings that are there stay as they are. The programs are copied by hand (README.md).
set -euo pipefail

root=${1:-}
here=$(cd "$(dirname "$0")" && pwd)

install -D --mode=644 "$here"/anofpdm-{worker,run}@.service --target-directory="$root/etc/systemd/system"
install -D --mode=644 "$here/anofpdm.sysusers" "$root/etc/sysusers.d/anofpdm.conf"
install -D --mode=644 "$here/anofpdm.tmpfiles" "$root/etc/tmpfiles.d/anofpdm.conf"
systemd-sysusers --root="${root:-/}" "$root/etc/sysusers.d/anofpdm.conf"
systemd-tmpfiles --root="${root:-/}" --create "$root/etc/tmpfiles.d/anofpdm.conf"
for program in worker run; do
    settings=$root/etc/anofpdm/$program.env
    [ -e "$settings" ] || install --mode=640 "$here/$program.env.example" "$settings"
done
echo "install: edit $root/etc/anofpdm/worker.env and run.env, put worker.password and coordinator.password (mode 600) beside them"
