#!/bin/bash
# One node of five cards under Slurm: four train, the fifth serves vLLM. Not yet run.
#   sbatch generank/launch/slurm.sh ARM OUT [further arguments of `generank train`]
# Slurm sends SIGTERM to this script two minutes before it kills (B:, since nothing here is a job step), and the script passes it on: the
# training ends the step under way and saves. Submit the same line again to go on from the last whole checkpoint.
#SBATCH --job-name=generank
#SBATCH --nodes=1
#SBATCH --gpus-per-node=5
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail
arm=${1:?name of the arm}; out=${2:?folder for the trained weights}; shift 2
folder=$(dirname "$(python -c 'import generank; print(generank.__file__)')")/launch
model=$(python -c 'import sys; from generank.models import model_folder; from generank.profile import resolve; m = resolve(sys.argv[1])["model"]; print(model_folder(m["name"], m["revision"]))' "${PROFILE:-multi-gpu}")
CUDA_VISIBLE_DEVICES=4 trl vllm-serve --model "$model" --port 8000 &
server=$!
trap 'kill "$server" || true' EXIT
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110   # seconds that the launcher leaves its processes after the signal; its own 30 may be too few for a step
CUDA_VISIBLE_DEVICES=0,1,2,3 accelerate launch --config_file "$folder/ddp.yaml" --no_python generank train "$arm" --profile "${PROFILE:-multi-gpu}" --out "$out" "$@" &
training=$!
trap 'kill -TERM "$training"' TERM
wait "$training" || wait "$training"        # a signal ends the first wait, and the second one has the training's exit code
