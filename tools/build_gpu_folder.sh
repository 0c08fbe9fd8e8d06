#!/usr/bin/env bash
# Builds what needs a GPU into one folder that runs wherever there is a driver, and says how.
#
#   tools/build_gpu_folder.sh [FOLDER]      default: .gpu
#
# The folder holds arc and the programs that test and measure, in lib/ the libraries that they need, found beside them,
# the goldens, and run_all.sh, which runs everything. From outside only glibc and the driver are used. ARC_GPU_BUILD
# names the build folder (default build/gpu), ARC_JOBS the number of jobs. With ARC_SHARED set, the TinyStories model
# goes along, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-.gpu}
build=${ARC_GPU_BUILD:-build/gpu}
jobs=${ARC_JOBS:-$(nproc)}
max_bytes=24000000

cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DARC_WERROR=ON \
  -DARC_CUDA=ON -DARC_NVCC="$(bash .ci/nvcc)" -DCMAKE_BUILD_RPATH="\$ORIGIN/lib" \
  -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
ninja -C "$build" -j"$jobs" --quiet arc arc_gpu_check arc_gpu_bench

rm -rf "$folder"
mkdir -p "$folder/lib"
for program in arc tests/gpu/arc-gpu-check bench/arc-gpu-bench; do
  strip -o "$folder/$(basename "$program")" "$build/$program"
done

# Libraries, but for glibc's own.
glibc='^(linux-vdso|ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libresolv)\.so'
for program in "$folder"/arc*; do
  ldd "$program" | awk '$2 == "=>" { print $1, $3 }'
done | sort -u | while read -r name path; do
  [[ $name =~ $glibc ]] && continue
  cp -L "$path" "$folder/lib/$name"
done
strip --strip-unneeded "$folder"/lib/*

cp tests/gpu/run_all.sh tests/gpu/serve_streams.py tests/gpu/load_speed.py tools/compare_speeds.py tools/gpu_tables.py \
  bench/gpu/speeds.tsv "$folder"
(cd tests && find goldens \( -name golden.safetensors -o -name config.json -o -name expected.json \) -print0 |
  tar c --null -T -) | tar x -C "$folder"
model=${ARC_SHARED:+$ARC_SHARED/data/models/tinystories-656k}
if [[ -n $model && -d $model ]]; then cp -rL --no-preserve=mode "$model" "$folder/tinystories"; fi

size=$(tar c -C "$folder" . | xz -6 -T0 | wc -c)
needs=$(objdump -T "$folder"/arc* "$folder"/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
echo "$folder: $size bytes compressed (at most $max_bytes); needs $needs and an NVIDIA driver"
((size <= max_bytes))

cat <<TEXT

On the GPU machine, in $folder, with the built-in model in ../share/arc:
  ./run_all.sh                                   everything, each part within its time; results in \$OUT
  ./arc-gpu-check kernel/ golden/qwen3           suites by name; --list shows all
  ./arc-gpu-bench 8b --part products             a part of the measurements; --help names them
  ./serve_streams.py --seconds 60                256 streams on arc serve
Tables of the results: tools/gpu_tables.py check.jsonl bench.jsonl
TEXT
