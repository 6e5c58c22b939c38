#!/usr/bin/env bash
# Builds and runs all tests: tests.sh [--no-run]. ANOFPDM_BUILT names the folder of the programs that are driven.
#
# Programs, what drives them and the crates of the tests are compiled as they ship. Unit tests of `common` and
# `coordinator` compile those crates a second time, which optimised takes longer than all dependencies together: they are
# left unoptimised, with the checks that a release leaves out. All sets stand on the same dependencies.
set -uo pipefail
cd "$(dirname "$0")/.."

units=(anofpdm-common anofpdm-coordinator anofpdm-kernels anofpdm-worker)
of_tests=(anofpdm-fuzz anofpdm-hostile anofpdm-test-support anofpdm-tests)
# Not -p: what is chosen so is compiled with the features it needs alone, and its dependencies once more.
without() {
    printf -- '--exclude %s ' "$@"
}

status=0
run() {
    # shellcheck disable=SC2046 # words of `without`
    cargo test --release --locked --workspace --no-fail-fast "$@" || status=1
}
run "$@" --bins --test '*'
run "$@" --lib $(without "${units[@]}")
run "$@" --lib $(without "${of_tests[@]}") --config scripts/unit-tests.toml
exit "$status"
