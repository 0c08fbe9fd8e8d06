#!/usr/bin/env bash
# One training run on one GPU, piece by piece. Each piece ends by itself before its time; call them one after the other on one machine.
#
#   export DATA=build/training/data OUT=results WORK=/tmp/arc-training PLAN=full
#   training/run_gpu.sh piece      up to MINUTES (8.9); repeat until it prints "all steps done"
#   training/run_gpu.sh probe      a quick look at what the checkpoint can do: OUT/probe.json
#   training/run_gpu.sh finish     GGUF file, evaluation, results into OUT
#
# PLAN is one of train.py's: `full` is the first stage; `second` goes on from its file, so it needs RESUME="--from-gguf FILE" and another WORK.
# STEPS is the length of the whole schedule where it is not the plan's, SEED the run's seed; EVALUATE holds more options of evaluate.py.
# A lost machine: join the last arc.gguf parts and call `piece` with RESUME="--from-gguf FILE --at-step N".
# Needs no network: torch, tokenizers, safetensors and numpy in the versions of requirements.txt or close to them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${DATA:=build/training/data}" "${OUT:=build/training/results}" "${WORK:=/tmp/arc-training}" "${SEED:=1}" "${ATTENTION:=flex}"
: "${MINUTES:=8.9}" "${PLAN:=full}" "${STEPS:=}" "${RESUME:=}" "${EVALUATE:=}"
mkdir -p "$OUT" "$WORK"
export PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR="$WORK/inductor"

# Files come back in parts of less than 16 MiB: cat NAME.part* > NAME joins them.
deliver() {
  rm -f "$OUT/$(basename "$1")".part*
  split --bytes=15M --numeric-suffixes "$1" "$OUT/$(basename "$1").part"
}

export_model() {
  python3 training/export.py gguf --checkpoint "$WORK/run/checkpoint.pt" --tokenizer "$DATA/tokenizer.json" --out "$WORK/arc.gguf"
  cp "$WORK/run/log.jsonl" "$OUT/"
  deliver "$WORK/arc.gguf"
}

# The held-out sets, made while the GPU trains.
make_sets() {
  [[ -d $WORK/sets ]] || python3 training/evaluate.py --data "$DATA" --write-sets "$WORK/sets.part"
  [[ -d $WORK/sets ]] || mv "$WORK/sets.part" "$WORK/sets"
}

case ${1:-} in
  piece)
    nvidia-smi --query-gpu=name,memory.total --format=csv,noheader
    make_sets &
    # shellcheck disable=SC2086
    python3 training/train.py --data "$DATA" --out "$WORK/run" --plan "$PLAN" ${STEPS:+--steps "$STEPS"} --seed "$SEED" --attention "$ATTENTION" --minutes "$MINUTES" $RESUME
    wait
    export_model
    ;;
  probe)
    python3 training/evaluate.py --data "$DATA" --model "$WORK/run/checkpoint.pt" --sets "$WORK/sets" --only tasks needle --every 10 --json "$OUT/probe.json"
    ;;
  finish)
    export_model
    make_sets
    # shellcheck disable=SC2086
    python3 training/evaluate.py --data "$DATA" --model "$WORK/arc.gguf" --sets "$WORK/sets" --json "$OUT/evaluation.json" $EVALUATE
    sha256sum "$WORK/arc.gguf"
    ;;
  *)
    sed -n '2,12p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
