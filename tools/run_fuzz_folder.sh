#!/usr/bin/env bash
# Runs the fuzz targets that tools/build_fuzz_folder.sh packed beside this script, side by side, one process each.
#
#   FOLDER/run.sh SECONDS OUT [TARGET...]   default: every target
#
# OUT gets summary.txt, and a log and a folder of findings for each target. What the targets learn stays in
# ARC_FUZZ_WORK (default /tmp/arc-fuzz), where a second run goes on. Fails when there was a finding.
set -euo pipefail

seconds=$1 out=$2
work=${ARC_FUZZ_WORK:-/tmp/arc-fuzz}
folder=$(dirname "${BASH_SOURCE[0]}")
shift 2
mkdir -p "$work" "$out"
tar xz -C "$work" --no-same-owner <"$folder/fuzz.tar.gz"
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd "$work" && ls -- *_fuzz)

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
# Leaks are looked for where a process may trace itself.
leaks=1
{ "$work/${targets[0]}" -runs=1 || true; } 2>&1 | grep -q 'LeakSanitizer has encountered a fatal error' && leaks=0
ASAN_OPTIONS+=:detect_leaks=$leaks

pids=()
for target in "${targets[@]}"; do
  mkdir -p "$work/corpus/$target" "$out/$target"
  "$work/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
    -detect_leaks="$leaks" -artifact_prefix="$out/$target/" "$work/corpus/$target" "$work/seeds/$target" \
    >"$out/$target.log" 2>&1 </dev/null &
  pids+=($!)
done

failed=0
{
  for i in "${!targets[@]}"; do
    target=${targets[i]} result=ok
    wait "${pids[i]}" || { result=FAILED failed=1; }
    echo "$target: $result, $(find "$out/$target" -type f | wc -l) findings"
    awk '/^#[0-9]+\t+(INITED|DONE)|^stat::|^SUMMARY|ERROR:/ { print "  " $0 }' "$out/$target.log"
  done
  echo "leaks looked for: $leaks"
} >"$out/summary.txt"
cat "$out/summary.txt"
exit $failed
