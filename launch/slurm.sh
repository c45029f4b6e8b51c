#!/usr/bin/env bash
# Trains on a Slurm cluster of GPUs, one process a GPU; JAX finds its neighbors by Slurm's variables.
#
#   bash launch/slurm.sh --nodes=2 --gpus=8 --time=24:00:00 -- --config=configs/lm.py:small --workdir=/shared/runs/lm
#
# --gpus       of each node
# --partition, --account  passed on to sbatch
# --dry-run    print the job instead of submitting it
#
# Run it in a checkout on a file system that all nodes share. The job is told two minutes before its time is up,
# saves, and is queued again.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nodes=1 gpus='' time=24:00:00 partition='' account=''
options "nodes gpus time partition account" "" "$@"
need gpus
need_arguments
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

job() {
  echo '#!/usr/bin/env bash'
  echo "#SBATCH --job-name=quarkaudio --nodes=$nodes --ntasks-per-node=$gpus --gpus-per-node=$gpus"
  echo "#SBATCH --time=$time --requeue --signal=TERM@120 --open-mode=append"
  [ -n "$partition" ] && echo "#SBATCH --partition=$partition"
  [ -n "$account" ] && echo "#SBATCH --account=$account"
  printf 'cd %q || exit\n' "$PWD"
  echo "bash -c 'source launch/setup.sh train,cuda' || exit"
  printf 'srun .venv/bin/python -m quarkaudio_jax.train'
  printf ' %q' "${ARGUMENTS[@]}"
  printf '\n'
  # A job that was told to stop has saved; one that is done or broken is not queued again.
  # shellcheck disable=SC2016  # these are the job's variables
  echo 'code=$?; [ "$code" -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"; exit "$code"'
}

if [ -n "$DRY_RUN" ]; then
  job
else
  job | sbatch
fi
