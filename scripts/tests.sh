#!/usr/bin/env bash
# Builds and runs all tests; what is given goes to `cargo test`: tests.sh [--no-run]. ANOFPDM_BUILT names the folder of the
# programs that are driven.
#
# Programs, what drives them and the crates of the tests are compiled as they ship. Unit tests of `common` and
# `coordinator` compile those crates a second time, which optimised takes longer than all dependencies together: they are
# left unoptimised, with the checks that a release leaves out. All sets stand on the same dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

# Not -p: what is chosen so is compiled with the features it needs alone, and its dependencies once more.
without_product=(--exclude anofpdm-common --exclude anofpdm-coordinator --exclude anofpdm-kernels --exclude anofpdm-worker)
without_tests=(--exclude anofpdm-fuzz --exclude anofpdm-hostile --exclude anofpdm-test-support --exclude anofpdm-tests)

status=0
tests() {
    cargo test --release --locked --workspace --no-fail-fast "$@" || status=1
}
tests --bins --test '*' "$@"
tests --lib "${without_product[@]}" "$@"
tests --lib "${without_tests[@]}" --config scripts/unit-tests.toml "$@"
exit "$status"
