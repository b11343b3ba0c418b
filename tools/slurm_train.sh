#!/usr/bin/env bash
# Train on the GPUs (or CPU processes) that Slurm gives, one task for each:
#   tools/slurm_train.sh CONFIG [arguments of tools/train.py]
# Within an allocation (sbatch, salloc) its tasks are taken; else name them in SRUN_ARGS, as srun takes them:
#   SRUN_ARGS="--partition gpu --ntasks 16 --ntasks-per-node 8 --gpus-per-node 8" tools/slurm_train.sh CONFIG
# The tasks meet at the first node; MASTER_ADDR and MASTER_PORT may say otherwise.
set -euo pipefail

if [ "$#" -lt 1 ]; then
    echo "usage: [SRUN_ARGS=...] tools/slurm_train.sh CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] ..." >&2
    exit 2
fi
config=$1
shift

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC2086  # several arguments
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec srun ${SRUN_ARGS:-} --kill-on-bad-exit=1 \
    "${PYTHON:-python}" "$root/tools/train.py" "$config" --launcher slurm "$@"
