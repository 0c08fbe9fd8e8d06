#!/usr/bin/env bash
# Runs every test and measurement that needs a GPU, from the folder that tools/build_gpu_folder.sh builds.
#
#   run_all.sh [PART...]      default: together bench
#     together   serve, and beside it check and memcheck: they compute on the host for the most part, and time nothing
#     bench      arc-gpu-bench: the tables of docs/performance.md; fails, too, when one became slower (compare_speeds.py)
#     check      every suite of arc-gpu-check, those of FIRST first
#     memcheck   compute-sanitizer over the suites of kernels, where the machine has it and the device lets it
#     serve      256 streams on arc serve
#     load       how fast the weights of an 8B model come to the device
#
# What each part says goes to $OUT/PART.txt ($OUT: default .), and in short to the terminal; check.jsonl and bench.jsonl
# there have each result as soon as it is found. RESUME=1 goes on where they end. A part that takes longer than its
# seconds is stopped and counts as failed: CHECK_S, MEMCHECK_S, BENCH_S, SERVE_S set them. SUITES and MEMCHECK_SUITES
# narrow the suites down; BENCH_ARGS go to arc-gpu-bench. Exit status: 0 all is well. tools/gpu_tables.py makes tables of
# the results.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-.}
mkdir -p "$out"

# CUPTI and cuBLASLt: of a toolkit, or of Python packages.
folder_of() {
  find /usr/local/cuda*/ /opt /usr/lib /usr/local/lib -name "$1*" -not -path '*/stubs/*' -printf '%h\n' 2>/dev/null |
    sort -u | head -1
}
libraries=$(folder_of libcupti.so.1):$(folder_of libcublasLt.so.1)
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

resume=()
[[ -n ${RESUME:-} ]] && resume=(--resume)
serve_s=${SERVE_S:-300} check_s=${CHECK_S:-300} memcheck_s=${MEMCHECK_S:-90} bench_s=${BENCH_S:-210}

check() {
  local end=$((SECONDS + check_s)) status=0 group
  local -a groups=("${SUITES:-}") suites
  if [[ -z ${SUITES:-} ]]; then groups=("${FIRST:-coverage engine/built-in engine/tinystories sample/}" ""); fi
  local -a going_on=("${resume[@]}")
  for group in "${groups[@]}"; do
    read -ra suites <<<"$group"
    timeout -k 5 $((end > SECONDS ? end - SECONDS : 1)) "$here/arc-gpu-check" "${suites[@]}" --out "$out/check.jsonl" \
      "${going_on[@]}" || status=$?
    going_on=(--resume)
  done
  return $status
}

# One process: several would take turns on the device. compute-sanitizer knows some devices only: what it says then is no
# failure. COMPUTE_SANITIZER names it where it is not installed.
memcheck() {
  local tool status
  local -a suites
  tool=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)}
  if [[ -z $tool ]]; then
    echo "skipped: this machine has no compute-sanitizer"
    return
  fi
  read -rd '' -a suites <<<"${MEMCHECK_SUITES:-kernel/elementwise kernel/recurrent kernel/experts kernel/products
    kernel/attention kernel/compressed golden/qwen3 golden/deepseek_v3 golden/granite_hybrid sample/rows}"
  timeout -k 5 "$memcheck_s" "$tool" --tool memcheck --error-exitcode 3 "$here/arc-gpu-check" --in-process "${suites[@]}"
  status=$?
  if grep -q 'Device not supported' "$out/memcheck.txt"; then
    echo "skipped: compute-sanitizer does not take this device"
    return
  fi
  return $status
}

bench() {
  local status=0
  local -a args=(--part table --seconds $((bench_s - 20)))
  [[ -n ${BENCH_ARGS:-} ]] && read -ra args <<<"$BENCH_ARGS"
  timeout -k 5 "$bench_s" "$here/arc-gpu-bench" --out "$out/bench.jsonl" "${resume[@]}" "${args[@]}" || status=$?
  [[ -s $out/bench.jsonl ]] || return $status
  python3 "$here/compare_speeds.py" "$out/bench.jsonl" --store "$here/speeds.tsv" || status=1
  return $status
}

serve() {
  timeout -k 5 $((serve_s + 120)) python3 "$here/serve_streams.py" --seconds "$serve_s" --log "$out/serve.log"
}

load() {
  timeout -k 5 "${LOAD_S:-120}" python3 "$here/load_speed.py"
}

# Runs a part, and notes in parts.txt how it went.
run() {
  local start=$SECONDS status result=ok
  "$1" >"$out/$1.txt" 2>&1
  status=$?
  ((status == 0)) || result="FAILED ($status)"
  ((status == 124)) && result="FAILED (stopped: over its time)"
  printf '=== %s: %s, %d s ===\n' "$1" "$result" $((SECONDS - start))
  tail -12 "$out/$1.txt"
  printf '%-9s %5d s   %s\n' "$1" $((SECONDS - start)) "$result" >>"$out/parts.txt"
}

together() {
  local start=$SECONDS
  run serve &
  run check
  memcheck_s=$((serve_s - (SECONDS - start)))
  ((memcheck_s > 20)) && run memcheck
  wait
}

parts=("$@")
((${#parts[@]} > 0)) || parts=(together bench)
for part in "${parts[@]}"; do
  case $part in together | check | memcheck | bench | serve | load) ;; *) echo "no part $part" >&2 && exit 2 ;; esac
done
: >"$out/parts.txt"
for part in "${parts[@]}"; do
  if [[ $part == together ]]; then together; else run "$part"; fi
done
echo
cat "$out/parts.txt"
! grep -q FAILED "$out/parts.txt"
