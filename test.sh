#!/usr/bin/env bash
# Builds Arc (release) and runs its tests, starting from a bare Debian 12.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./test.sh [--quick] [--no-install]

Installs the Debian packages that are missing (as root, or with sudo), builds
the release preset in build/release, and runs all tests. The program is then
build/release/arc.

  --quick       leave out the tests labelled slow, and run fewer random cases
  --no-install  use what is installed; touch no package
  --help        this text

Environment: ARC_JOBS          parallel jobs (default: number of cores)
             ARC_FULL=1        random and statistical tests at full count
             ARC_PROPERTY_RUNS random cases per property test
See docs/testing.md.
END
}

quick=0 install=1
for option in "$@"; do
  case $option in
    --quick) quick=1 ;;
    --no-install) install=0 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $option" >&2; usage >&2; exit 2 ;;
  esac
done

. tools/packages.sh
((install)) && arc_install_packages "${ARC_BUILD_PACKAGES[@]}"
for program in cmake ninja ccache g++; do
  command -v "$program" >/dev/null || { echo "error: $program not found; run ./test.sh without --no-install" >&2; exit 1; }
done
jobs=${ARC_JOBS:-$(nproc)}
build=build/release

echo "Configuring $build"
cmake --preset release >/dev/null
echo "Building with $jobs jobs"
start=$SECONDS
ninja -C "$build" -j"$jobs" --quiet
echo "Built in $((SECONDS - start)) s"

select=()
if ((quick)); then
  select=(-LE slow)
  export ARC_PROPERTY_RUNS=${ARC_PROPERTY_RUNS:-20}
fi
start=$SECONDS status=0
ctest --test-dir "$build" -j"$jobs" --output-on-failure --no-tests=error "${select[@]}" || status=$?
echo "Tested in $((SECONDS - start)) s"

# Count single cases: each test program prints GoogleTest's closing lines into ctest's log.
# A program that ends without them counts as one case.
awk '
  /^\[  PASSED  \] [0-9]+ test/          { passed += $4; counted = 1 }
  /^\[  SKIPPED \] [0-9]+ test.*listed/  { skipped += $4 }
  /^\[  FAILED  \] [0-9]+ test.*listed/  { failed += $4; bad = 1 }
  /^Test Passed\.$/ { if (!counted) ++passed; counted = bad = 0 }
  /^Test Failed\.$/ { if (!bad) ++failed; counted = bad = 0 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
' "$build/Testing/Temporary/LastTest.log"
exit "$status"
