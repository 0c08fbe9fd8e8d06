#!/usr/bin/env bash
# Builds Arc (release) and installs the program `arc`, starting from a bare Debian 12.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./install.sh [--prefix FOLDER] [--no-packages]

Installs the Debian packages that are missing (as root, or with sudo), builds
`arc` in build/release, and installs it with its shell completions:

  FOLDER/bin/arc
  FOLDER/share/arc/arc.gguf, the built-in model
  FOLDER/share/arc/eval, the sets of `arc eval`
  FOLDER/share/bash-completion/completions/arc
  FOLDER/share/zsh/site-functions/_arc
  FOLDER/share/fish/vendor_completions.d/arc.fish

  --prefix FOLDER  default: /usr/local for root, else ~/.local
  --no-packages    use what is installed; touch no package
  --help           this text

A CUDA compiler is used when there is one (nvcc on the PATH, in $CUDA_HOME or in
/usr/local/cuda). Run it again after an update: only what changed is built.

Environment: ARC_JOBS  parallel jobs (default: one per core, as memory allows)
END
}

prefix=/usr/local packages=1
((EUID == 0)) || prefix=$HOME/.local
while (($#)); do
  case $1 in
    --prefix) [[ ${2:-} ]] || { echo "error: --prefix needs a folder" >&2; exit 2; }; prefix=$2; shift ;;
    --prefix=?*) prefix=${1#*=} ;;
    --no-packages) packages=0 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$prefix/bin"
prefix=$(cd "$prefix" && pwd)
[[ -w $prefix/bin ]] || { echo "error: $prefix/bin cannot be written; be root, or name a folder of yours with --prefix" >&2; exit 1; }

. tools/packages.sh
((packages)) && arc_install_packages "${ARC_BUILD_PACKAGES[@]}"
for program in cmake ninja ccache g++; do
  command -v "$program" >/dev/null || { echo "error: $program not found; run ./install.sh without --no-packages" >&2; exit 1; }
done

# A compiler process may take 2 GB.
jobs=${ARC_JOBS:-$(awk -v cores="$(nproc)" '/^MemAvailable/ { n = int($2 / 2e6); print n < 1 ? 1 : n < cores ? n : cores }' /proc/meminfo)}
build=build/release
cuda=(-DARC_CUDA=OFF)
for nvcc in "$(command -v nvcc || true)" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" /usr/local/cuda/bin/nvcc; do
  [[ -x $nvcc ]] || continue
  cuda=(-DARC_CUDA=ON "-DARC_NVCC=$nvcc")
  break
done
if [[ ${cuda[0]} == *ON ]]; then
  echo "CUDA compiler: $nvcc"
else
  echo "No CUDA compiler: Arc will run on the CPU"
fi

echo "Building $build/arc with $jobs jobs"
start=$SECONDS
cmake --preset release "${cuda[@]}" >/dev/null
ninja -C "$build" -j"$jobs" --quiet arc
echo "Built in $((SECONDS - start)) s"

cmake --install "$build" --prefix "$prefix" --strip >/dev/null
arc=$prefix/bin/arc
completion() { # shell, file
  mkdir -p "$(dirname "$prefix/share/$2")"
  "$arc" completions "$1" >"$prefix/share/$2"
}
completion bash bash-completion/completions/arc
completion zsh zsh/site-functions/_arc
completion fish fish/vendor_completions.d/arc.fish
echo "Installed $arc, $(stat -c %s "$arc" | numfmt --to=si --format=%.1f)B"

case :$PATH: in
  *:"$prefix/bin":*) echo "Try: arc --help" ;;
  *) echo "$prefix/bin is not on your PATH. Try: $arc --help" ;;
esac
