#!/usr/bin/env bash
# Fills in users.acl: set-passwords.sh FOLDER makes FOLDER/users.acl for redis-server, with only hashes in it, and
# keeps the passwords in FOLDER/coordinator.password, FOLDER/worker.password and FOLDER/metrics.password. A password file
# that is there already is used as it is, so running it again changes nothing, and a password is changed by removing its
# file.
set -euo pipefail
umask 077

if [ $# != 1 ]; then
    echo "usage: set-passwords.sh FOLDER" >&2
    exit 2
fi
mkdir -p "$1"
template=$(dirname "$0")/users.acl
acl=$(<"$template")

for user in coordinator worker metrics; do
    file=$1/$user.password
    if [ ! -e "$file" ]; then
        # 32 random bytes: long enough that its plain SHA-256 can be shown to anybody.
        head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$file"
    fi
    password=$(<"$file")
    if [ "${#password}" -lt 16 ]; then
        echo "set-passwords: $file holds fewer than 16 characters; remove it, and a good password is made." >&2
        exit 1
    fi
    hash=$(printf %s "$password" | sha256sum)
    acl=${acl/"${user^^}_PASSWORD_SHA256"/"${hash%% *}"}
done

# As the server's own: it reads the file at start and after ACL LOAD.
printf '%s\n' "$acl" >"$1/users.acl.tmp"
mv "$1/users.acl.tmp" "$1/users.acl"
echo "$1/users.acl is ready for redis-server; coordinator.password and worker.password beside it are for the programs, metrics.password for the Redis exporter"
