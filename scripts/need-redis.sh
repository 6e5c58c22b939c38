#!/usr/bin/env bash
# Installs the distribution's redis-server, which the tests of the Redis queue start on ports and folders of their own.
# Does nothing where there is one. Only the program is wanted: no system service is started or left to start at boot.
set -euo pipefail

oldest=7.0

fail() {
    echo "need-redis: $1" >&2
    exit 1
}

check_version() {
    local version
    version=$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
    [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ] ||
        fail "redis-server on PATH is version ${version:-unknown}, the queue needs $oldest or newer; put a newer one first on PATH."
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "${ask[@]}" "$@"
    fi
}

if command -v redis-server >/dev/null; then
    check_version
    exit 0
fi

advice="run 'sudo apt-get install redis-server', or put a redis-server $oldest or newer on PATH."
command -v apt-get >/dev/null || fail "redis-server is missing and there is no apt-get here to install it; $advice"
# A password is asked for only where somebody can answer.
ask=()
[ -t 0 ] || ask=(--non-interactive)
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "redis-server is missing and there is no sudo here to install it; $advice"
    sudo "${ask[@]}" true || fail "redis-server is missing and sudo does not let us install it; $advice"
fi

echo "need-redis: installing redis-server"
# Packages of services ask this file whether they may start. Where the administrator has one, it decides.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
fi
install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends redis-server >/dev/null
}
# A fresh machine has no package lists, an old one stale ones.
{ as_root apt-get update --quiet --quiet && install; } || fail "apt-get could not install redis-server (its message stands above); $advice"
if [ -d /run/systemd/system ]; then
    as_root systemctl --quiet disable redis-server
fi
check_version
