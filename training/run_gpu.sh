#!/usr/bin/env bash
# One training run on one GPU, piece by piece. Each piece ends by itself before its time; call them one after the other on one machine.
#
#   export DATA=build/training/data OUT=results WORK=/tmp/arc-training STEPS=7000
#   training/run_gpu.sh piece      up to MINUTES (8.5); repeat until it prints "all steps done"
#   training/run_gpu.sh finish     GGUF file, evaluation, results into OUT
#
# STEPS is the length of the whole schedule. It may be corrected once, after the first piece has shown the speed and before the
# long contexts begin (40% of the steps): choose it so that all pieces take 20 to 22 minutes. ATTENTION=flex where its self-check passes (it refuses to run where it does not).
# A lost machine: join the last arc.gguf parts and call `piece` with RESUME="--from-gguf FILE --at-step N".
# Needs no network: torch, tokenizers, safetensors and numpy in the versions of requirements.txt or close to them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${DATA:=build/training/data}" "${OUT:=build/training/results}" "${WORK:=/tmp/arc-training}" "${SEED:=1}" "${ATTENTION:=varlen}"
: "${MINUTES:=8.5}" "${STEPS:=7000}" "${RESUME:=}"
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

case ${1:-} in
  piece)
    nvidia-smi --query-gpu=name,memory.total --format=csv,noheader
    # shellcheck disable=SC2086
    python3 training/train.py --data "$DATA" --out "$WORK/run" --steps "$STEPS" --seed "$SEED" --attention "$ATTENTION" --minutes "$MINUTES" $RESUME
    export_model
    ;;
  finish)
    export_model
    python3 training/evaluate.py --data "$DATA" --model "$WORK/arc.gguf" --json "$OUT/evaluation.json"
    sha256sum "$WORK/arc.gguf"
    ;;
  *)
    sed -n '2,14p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
