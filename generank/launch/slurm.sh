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
# vLLM's own server, as trl starts it; its endpoints change the served weights, so it listens on this machine only
serve=$(python -c 'import sys; from generank.models import serve_command; from generank.profile import resolve; c = resolve(sys.argv[1]); print(serve_command(c["model"], c["grpo"]["trl"]))' "${PROFILE:-multi-gpu}")
CUDA_VISIBLE_DEVICES=4 bash -c "exec env $serve" &
server=$!
trap 'kill "$server" || true' EXIT
port=$(sed 's/.*--port \([0-9]*\).*/\1/' <<< "$serve")
until python -c "import socket; socket.create_connection(('127.0.0.1', $port), 5)" 2>/dev/null; do   # the training asks once
  kill -0 "$server" || { echo "vLLM's server ended before it listened" >&2; exit 1; }
  sleep 2
done
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110   # seconds that the launcher leaves its processes after the signal; its own 30 may be too few for a step
CUDA_VISIBLE_DEVICES=0,1,2,3 accelerate launch --config_file "$folder/ddp.yaml" --no_python generank train "$arm" --profile "${PROFILE:-multi-gpu}" --out "$out" "$@" &
training=$!
trap 'kill -TERM "$training"' TERM
wait "$training" || wait "$training"        # a signal ends the first wait, and the second one has the training's exit code
