#!/usr/bin/env bash
# Installs packages of the distribution that a target needs: need.sh PACKAGE… What is there already stays as it is, also
# where it came some other way. Only programs are wanted: no system service is started or left to start at boot.
#
#   scripts/need.sh redis-server
#   scripts/need.sh prometheus prometheus-alertmanager prometheus-redis-exporter
set -euo pipefail

fail() {
    echo "need: $1" >&2
    exit 1
}

[ $# -gt 0 ] || fail "usage: scripts/need.sh PACKAGE…"

# Programs by which a package shows that it is there; a package that is not in this list is asked for by its own name.
programs_of() {
    case $1 in
    prometheus) echo prometheus promtool ;;
    prometheus-*) echo "$1" ;;
    systemd-container) echo systemd-nspawn ;;
    slurm-wlm) echo slurmctld slurmd sbatch ;;
    munge) echo munged ;;
    docker.io) echo dockerd docker ;;
    kubernetes-client) echo kubectl ;;
    *) echo "$1" ;;
    esac
}

# Daemons lie where PATH of an ordinary user does not look.
there() {
    local program
    for program in $(programs_of "$1"); do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || return 1
    done
}

# A package without a program of its own (a library, certificates) is known to dpkg.
installed() {
    there "$1" || [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The oldest version that will do, where that matters.
check_version() {
    case $1 in
    redis-server)
        local oldest=7.0 version
        version=$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
        [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ] ||
            fail "redis-server on PATH is version ${version:-unknown}, the queue needs $oldest or newer; put a newer one first on PATH."
        ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "${ask[@]}" "$@"
    fi
}

missing=()
for package; do
    if installed "$package"; then check_version "$package"; else missing+=("$package"); fi
done
[ "${#missing[@]}" -gt 0 ] || exit 0

names="${missing[*]}"
advice="run 'sudo apt-get install --no-install-recommends $names', or put these programs on PATH."
command -v apt-get >/dev/null || fail "missing: $names, and there is no apt-get here to install them; $advice"
# A password is asked for only where somebody can answer.
ask=()
[ -t 0 ] || ask=(--non-interactive)
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "missing: $names, and there is no sudo here to install them; $advice"
    sudo "${ask[@]}" true || fail "missing: $names, and sudo does not let us install them; $advice"
fi

# One at a time, since the file below is everybody's.
exec 9>"${TMPDIR:-/tmp}/anofpdm-need.$(id -u).lock"
flock 9
echo "need: installing $names"
# Packages of services ask this file whether they may start. Where the administrator has one, it decides.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
fi
# Another apt may be at work on this machine: it is waited for.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet --option DPkg::Lock::Timeout=120 "$@" >/dev/null
}
# A fresh machine has no package lists, an old one stale ones.
{ apt update && apt install --yes --no-install-recommends "${missing[@]}"; } ||
    fail "apt-get could not install $names (its message stands above); $advice"
for package in "${missing[@]}"; do
    if [ -d /run/systemd/system ]; then
        # A package may bring no unit, or one of another name.
        for unit in $(dpkg-query --listfiles "$package" | sed -n 's|.*/systemd/system/\([^/@]*\.service\)$|\1|p'); do
            as_root systemctl --quiet disable "$unit"
        done
    fi
    check_version "$package"
done
