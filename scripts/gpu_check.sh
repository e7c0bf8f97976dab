#!/usr/bin/env bash
# What a graphics card is measured by, part after part:
#   scripts/gpu_check.sh PART [OPTIONS] [then PART [OPTIONS]]...
# Parts: carry, correctness, speed, experiment, collect; each has --help. A part ends by itself within its --seconds, leaves JSON and a log in --out
# (else $OUT, else runs/gpu), and goes on where it stopped when it is called again. scripts/README.md has the order of the calls.
# Ends with 0, or with the code of the first part that did not end well: 1 failed, 2 wrong options, 3 stopped by its clock.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false CUBLAS_WORKSPACE_CONFIG=:4096:8
export GENERANK_GPU_WORK=${GENERANK_GPU_WORK:-${TMPDIR:-/tmp}/generank-gpu}
export GENERANK_PROGRESS=${GENERANK_PROGRESS-$GENERANK_GPU_WORK/progress.json}   # no bars in the log
export GENERANK_CACHE=${GENERANK_CACHE:-$GENERANK_GPU_WORK/cache}
parts=" carry correctness speed experiment collect "
usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -gt 0 ] || usage
failed=0
while [ $# -gt 0 ]; do
  part=$1; shift; options=()
  case "$parts" in *" $part "*) ;; *) echo "error: there is no part '$part'; there are$parts" >&2; exit 2;; esac
  while [ $# -gt 0 ] && [ "$1" != then ]; do options+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  python=${PYTHON:-python3}; [ ! -x "$GENERANK_GPU_WORK/env/bin/python" ] || python=$GENERANK_GPU_WORK/env/bin/python
  [ "$part" != carry ] && [ "$part" != collect ] || python=${PYTHON:-python3}
  out=${OUT:-runs/gpu}; mkdir -p "$out"
  "$python" "scripts/gpu/$part.py" ${options[@]+"${options[@]}"} 2>&1 | tee -a "$out/$part.log"; code=${PIPESTATUS[0]}
  [ "$code" -eq 0 ] || [ "$failed" -ne 0 ] || failed=$code
done
exit "$failed"
