#!/bin/bash
#SBATCH --job-name=marco_probabilities.2.11f0c3de-5a5c-4a3a-9a9c-000000000001
#SBATCH --output=/shared/c4/slurm/11f0c3de-5a5c-4a3a-9a9c-000000000001/marco_probabilities.2.out
#SBATCH --error=/shared/c4/slurm/11f0c3de-5a5c-4a3a-9a9c-000000000001/marco_probabilities.2.err
#SBATCH --open-mode=append
#SBATCH --partition=gpu
#SBATCH --account=crystals
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --mem=16384M
#SBATCH --time=480
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --no-requeue

# Dagster run 11f0c3de-5a5c-4a3a-9a9c-000000000001 of job score_images: step marco_probabilities, attempt 2.

# However the script ends, its exit code stays: Slurm forgets a job soon after its end.
exit_code_file=/shared/c4/slurm/11f0c3de-5a5c-4a3a-9a9c-000000000001/marco_probabilities.2.exit
keep_exit_code() {
  echo "$SLURM_JOB_ID $1" >"$exit_code_file.$SLURM_JOB_ID"
  mv -f "$exit_code_file.$SLURM_JOB_ID" "$exit_code_file"
}
trap 'keep_exit_code $?' EXIT

export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 C4_RUNS_EXECUTOR=slurm
export DAGSTER_HOME=/shared/c4/dagster
export C4_CONFIG=/shared/c4/c4.toml
set -a
. /shared/c4/environment || { echo 'The environment file of C4 cannot be read here:' /shared/c4/environment >&2; exit 78; }
set +a
cd /shared/c4/code || exit 78
source /etc/profile.d/modules.sh
module load cuda/12
export DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS=eJwrLi0CAAK+AUY=

/shared/c4/venv/bin/python -m dagster api execute_step
