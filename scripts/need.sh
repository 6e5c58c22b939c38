#!/usr/bin/env bash
# Installs the Debian packages that are named and missing, without what they only recommend: `scripts/need.sh PACKAGE…`.
# Only programs are wanted: no service of theirs is started.
set -euo pipefail

missing=()
for package in "$@"; do
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} != 0 ] || exit 0
[ "$(id -u)" = 0 ] || {
    echo "need: ${missing[*]} missing, and only root can install; run 'sudo apt-get install ${missing[*]}'" >&2
    exit 1
}

# Packages of services ask this file whether they may start. Where the administrator has one, it decides.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
echo "need: installing ${missing[*]}"
apt-get update --quiet --quiet
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}" >/dev/null
