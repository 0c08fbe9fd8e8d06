#!/usr/bin/env bash
# Runs every test and measurement that needs a GPU, from the folder that tools/build_gpu_folder.sh builds.
#
#   run_all.sh [PART...]      default: all, in this order:
#     check      every suite of arc-gpu-check, one process each
#     memcheck   compute-sanitizer over the suites of kernels, where the machine has it and the device lets it
#     bench      arc-gpu-bench: the tables of docs/performance.md
#     serve      256 streams on arc serve
#
# What each part says goes to $OUT/PART.txt ($OUT: default .), and in short to the terminal. A part that takes longer
# than its seconds is stopped and counts as failed: CHECK_S, MEMCHECK_S, BENCH_S, SERVE_S set them. SUITES and
# MEMCHECK_SUITES narrow the suites down; BENCH_ARGS go to arc-gpu-bench. Exit status: 0 all is well.
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

check() {
  read -ra suites <<<"${SUITES:-}"
  timeout "${CHECK_S:-300}" "$here/arc-gpu-check" "${suites[@]}" --out "$out/check.json"
}

# The suites side by side; those that take too long are named. compute-sanitizer knows some devices only: what it says
# then is no failure. COMPUTE_SANITIZER names it where it is not installed.
memcheck() {
  local tool suite suites failed=0
  tool=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)}
  if [[ -z $tool ]]; then
    echo "skipped: this machine has no compute-sanitizer"
    return
  fi
  read -rd '' -a suites <<<"${MEMCHECK_SUITES:-kernel/elementwise kernel/recurrent kernel/experts kernel/products
    kernel/attention kernel/compressed golden/qwen3 golden/deepseek_v3 golden/granite_hybrid sample/rows}"
  for suite in "${suites[@]}"; do
    {
      timeout "${MEMCHECK_S:-240}" "$tool" --tool memcheck --error-exitcode 3 "$here/arc-gpu-check" --in-process "$suite" \
        >"$out/memcheck.${suite//\//-}.log" 2>&1
      echo $? >"$out/memcheck.${suite//\//-}.status"
    } &
  done
  wait
  for suite in "${suites[@]}"; do
    local log=$out/memcheck.${suite//\//-}.log status
    status=$(cat "${log%.log}.status") && rm "${log%.log}.status"
    if grep -q 'Device not supported' "$log"; then
      echo "$suite: skipped: compute-sanitizer does not take this device"
      continue
    fi
    echo "$suite: status $status, $(grep -c ' ok ' "$log") checks ok, $(grep 'ERROR SUMMARY' "$log" || echo 'not at its end in time')"
    ((status == 0 || status == 124)) || failed=1
    grep -A12 -m2 'Invalid\|Misaligned\|Program hit' "$log" | cut -c1-160
  done
  return $failed
}

bench() {
  read -ra args <<<"${BENCH_ARGS:-}"
  timeout "${BENCH_S:-270}" "$here/arc-gpu-bench" --out "$out/bench.json" "${args[@]}"
}

serve() {
  timeout $((${SERVE_S:-300} + 120)) python3 "$here/serve_streams.py" --seconds "${SERVE_S:-300}" --log "$out/serve.log"
}

parts=("$@")
((${#parts[@]} > 0)) || parts=(check memcheck bench serve)
rows=() failed=0
for part in "${parts[@]}"; do
  case $part in check | memcheck | bench | serve) ;; *) echo "no part $part" >&2 && exit 2 ;; esac
done
for part in "${parts[@]}"; do
  start=$SECONDS
  "$part" >"$out/$part.txt" 2>&1
  status=$?
  result=ok
  ((status == 0)) || result="FAILED ($status)" failed=$((failed + 1))
  ((status == 124)) && result="FAILED (stopped: over its time)"
  printf '=== %s: %s, %d s ===\n' "$part" "$result" $((SECONDS - start))
  tail -12 "$out/$part.txt"
  rows+=("$(printf '%-9s %5d s   %s' "$part" $((SECONDS - start)) "$result")")
done
printf '\n%s\n' "${rows[@]}"
((failed == 0))
