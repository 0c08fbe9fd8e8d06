#!/usr/bin/env bash
# Packs every fuzz target into one small folder that runs on any Linux with a new enough glibc, and says how.
#
#   tools/build_fuzz_folder.sh [FOLDER]     default: build/fuzz-folder
#
# In fuzz.tar.gz lie the targets with their sanitizers, in lib/ the libraries that they need, found beside them, and in
# seeds/ the committed corpora; beside it lies run.sh. ARC_FUZZ_BUILD names the build folder (default build/asan-ubsan),
# ARC_JOBS the number of jobs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-build/fuzz-folder}
build=${ARC_FUZZ_BUILD:-build/asan-ubsan}
jobs=${ARC_JOBS:-$(nproc)}

cmake --preset asan-ubsan -B "$build" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
mapfile -t targets < <(cd src && find . -name '*_fuzz.cc' -exec basename {} .cc \; | sort)
ninja -C "$build" -j"$jobs" --quiet "${targets[@]}"

pack=$(mktemp -d)
trap 'rm -rf "$pack"' EXIT
mkdir "$pack/lib"
cp -r tests/fuzz "$pack/seeds"
for target in "${targets[@]}"; do
  program=$(find "$build/src" -name "$target" -type f -executable)
  strip --strip-debug -o "$pack/$target" "$program" # reports keep the names of functions
done

# Libraries, but for glibc's own.
glibc='^(linux-vdso|ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv)\.so'
for target in "${targets[@]}"; do
  ldd "$pack/$target" | awk '$2 == "=>" { print $1, $3 }'
done | sort -u | while read -r name path; do
  [[ $name =~ $glibc ]] && continue
  cp -L "$path" "$pack/lib/$name"
done
strip --strip-unneeded "$pack"/lib/*

rm -rf "$folder"
mkdir -p "$folder"
cp tools/run_fuzz_folder.sh "$folder/run.sh"
tar c -C "$pack" . | gzip -9 >"$folder/fuzz.tar.gz"
needs=$(objdump -T "$pack"/*_fuzz "$pack"/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
echo "$folder: ${#targets[@]} targets, $(stat -c %s "$folder/fuzz.tar.gz") bytes; needs $needs"
echo "run: $folder/run.sh SECONDS OUT [TARGET...]"
