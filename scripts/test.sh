#!/usr/bin/env bash
# Every test. From a clean clone on a bare machine: what is missing is installed or fetched, servers are started on sockets
# and free ports of their own and end with the tests.
#
#   scripts/test.sh [extension] [rust] [schemathesis] [corpus] [languages] [adopt]     all of them when none is named, the
#                                                                                      extension first, so that the others find it built
set -euo pipefail
cd "$(dirname "$0")/.."

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(extension rust schemathesis corpus languages adopt)
passed=0
failed=()

part() {
  local name=$1; shift
  echo "== $name" >&2
  if "$@"; then passed=$((passed + 1)); else failed+=("$name"); fi
}

for name in "${parts[@]}"; do
  case $name in
    rust) part rust "${CARGO:-cargo}" test --workspace --exclude howdah-extension --exclude howdah-extension-stories --no-fail-fast ;;
    extension) part extension scripts/stories.sh ;;
    schemathesis) part schemathesis tests/schemathesis.sh ;;
    corpus) part corpus tests/corpus.sh ;;
    # A short form; `make languages` reads more.
    languages) part languages tests/languages.sh 16000 ;;
    adopt) part adopt tests/adopt.sh short ;;
    *) echo "error: no such part: \`$name\`" >&2; exit 2 ;;
  esac
done

[ ${#failed[@]} -eq 0 ] || echo "failed: ${failed[*]}" >&2
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
