# The Debian 12 packages that Arc needs, in one list, and how scripts install what is missing. Sourced by test.sh and
# .ci/run; `bash tools/packages.sh` prints the list.

ARC_BUILD_PACKAGES=(
  g++ cmake ninja-build ccache mold pkg-config
  libfmt-dev libspdlog-dev nlohmann-json3-dev libboost1.81-dev libcli11-dev libpcre2-dev
  libxxhash-dev libedit-dev libgtest-dev libgmock-dev
)
# What the checks of CI need besides: second compiler, format, lint, sanitizers, the scripts in tools/.
ARC_CHECK_PACKAGES=(
  git python3 python3-venv
  clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev llvm-19
)

# Prints those of the packages named that are not installed.
arc_missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

# Installs those of the packages named that are missing. Never removes a package to make room for another.
arc_install_packages() {
  local id version_id missing sudo=()
  id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}")
  version_id=$(. /etc/os-release 2>/dev/null && echo "${VERSION_ID:-}")
  if [[ $id != debian || $version_id != 12 ]]; then
    echo "error: this is ${id:-an unknown system} ${version_id}, not Debian 12." >&2
    echo "Install what corresponds to these packages, then use --no-install:" >&2
    printf '%s\n' "$*" | fold -s -w 78 >&2
    return 1
  fi
  mapfile -t missing < <(arc_missing_packages "$@")
  ((${#missing[@]})) || return 0

  echo "Installing Debian packages that are missing:"
  printf '  %s\n' "${missing[@]}"
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "error: root is needed to install packages, and there is no sudo." >&2
      echo "Run this once as root, then start again:" >&2
      echo "  apt-get install ${missing[*]}" | fold -s -w 78 >&2
      return 1
    fi
    sudo=(sudo)
  fi
  # Without a terminal nobody can answer, so nothing may ask.
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
  "${apt[@]}" update </dev/null
  if ! "${apt[@]}" install -y --no-install-recommends --no-remove "${missing[@]}" </dev/null; then
    echo "error: the packages above could not be installed. If apt wanted to remove" >&2
    echo "others (libboost1.81-dev cannot lie beside libboost-dev), decide that by hand." >&2
    return 1
  fi
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  printf '%s\n' "${ARC_BUILD_PACKAGES[@]}" "${ARC_CHECK_PACKAGES[@]}"
fi
