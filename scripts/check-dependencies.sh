#!/usr/bin/env bash
# Checks every crate in Cargo.lock against deny.toml: licences, bans, sources, security advisories.
# Needs cargo-deny in exactly this version; if there is another or none, it is built once into .tools/.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
export PATH=$PWD/.tools/bin:$PATH
if [ "$(cargo-deny --version 2>/dev/null || true)" != "cargo-deny $version" ]; then
    echo "check-dependencies: building cargo-deny $version into .tools/ (a minute or two on two cores, once)"
    # Unoptimised: to make it fast takes longer than it ever runs.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --version "$version" --root .tools cargo-deny
fi

cargo deny --locked check bans licenses sources

# The advisory database is a git repository on the network. Not to reach it is no fault of this tree, and is said;
# whatever the database has to say once it is here counts.
if timeout 120 cargo deny --locked fetch db; then
    cargo deny --locked --offline check advisories
else
    echo "check-dependencies: ADVISORIES WERE NOT CHECKED: the advisory database could not be fetched" >&2
fi
