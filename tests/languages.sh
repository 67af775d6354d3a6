#!/usr/bin/env bash
# The story of ten languages: real text out of Debian's packages, cut, embedded where the model knows the script and said
# where it does not, found by words in both normal forms.
#
#   tests/languages.sh [BYTES]     of each language, 100000 by default
#
# Uses the binary $HOWDAH (target/debug/howdah). Fetches three packages (12 MB) with apt-get into a directory of its own;
# says so and ends well where that cannot be done.
set -euo pipefail
cd "$(dirname "$0")/.."

bytes=${1:-100000}
howdah=$(realpath "${HOWDAH:-target/debug/howdah}")
skip() { echo "skipped: languages: $1" >&2; exit 0; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "this machine has no apt-get"
command -v python3 >/dev/null || skip "this machine has no python3"

work=$(mktemp -d)
chmod 755 "$work"
export HOWDAH_HOME=$work/home
: "${HOWDAH_DOWNLOADS:=${HOWDAH_TEST_HOME:-$PWD/target/test-home}/downloads}"
export HOWDAH_DOWNLOADS
finish() { (cd "$work" && "$howdah" down >/dev/null 2>&1) || true; rm -rf "$work"; }
trap finish EXIT

mkdir "$work/packages" "$work/unpacked" "$work/corpus"
fetch() { (cd "$work/packages" && apt-get download gnome-user-docs dpkg libgtk2.0-common >/dev/null 2>&1); }
if ! fetch; then
  if [ "$(id -u)" = 0 ]; then apt-get update -qq >/dev/null 2>&1 || true; fi
  fetch || skip "apt-get cannot fetch gnome-user-docs, dpkg and libgtk2.0-common"
fi
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$work/unpacked"; done
python3 scripts/languages_corpus.py "$work/unpacked" "$work/corpus" "$bytes" >/dev/null
cp tests/languages/howdah.toml "$work/"
check=$PWD/tests/languages/check.py

cd "$work"
"$howdah" up >/dev/null
python3 "$check" "$howdah" "$work/corpus"
