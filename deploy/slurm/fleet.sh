#!/usr/bin/env bash
# Submits a run and its workers: fleet.sh SHARED SPEC [OPTION…]. SHARED is a folder that every node sees, with the slice
# stores below it. The run's folder becomes SHARED/runs/NAME, logs and the queue's passwords go to SHARED/fleets/NAME.
# Options are sbatch's, for the workers:
#
#     deploy/slurm/fleet.sh /scratch/anofpdm examples/brats21.toml --partition=gpu --array=0-31%4
#
# anofpdm, anofpdm-worker and redis-server are on the PATH of the jobs.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: fleet.sh SHARED SPEC [OPTION of sbatch for the workers…]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
ANOFPDM_SHARED=$(realpath "$1")
ANOFPDM_SPEC=$(realpath "$2")
ANOFPDM_DEPLOY=$(dirname "$here")
name=$(basename "$ANOFPDM_SPEC" .toml)
ANOFPDM_FLEET=$ANOFPDM_SHARED/fleets/$name
export ANOFPDM_SHARED ANOFPDM_SPEC ANOFPDM_DEPLOY ANOFPDM_FLEET
shift 2

# Passwords lie in it.
mkdir --parents "$ANOFPDM_FLEET"
chmod 700 "$ANOFPDM_FLEET"
cd "$ANOFPDM_FLEET"
coordinator=$(sbatch --parsable "$here/coordinator.sbatch")
workers=$(sbatch --parsable --dependency="after:$coordinator" "$@" "$here/worker.sbatch")
echo "$workers" >workers
echo "coordinator $coordinator, workers $workers, logs in $ANOFPDM_FLEET; 'anofpdm status $ANOFPDM_SHARED/runs/$name' says how it goes"
