#!/usr/bin/env bash
# Builds the release binary with a slim PostgreSQL in it: packs the server first (fetched once, pinned by its SHA-256), then
# embeds it. Where Howdah's extension was built (`make extension`), it is brought up to date and embedded as well; it is not
# built from nothing here, since that takes a few processor minutes more. A second run has nothing to do and takes seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
# The major that the binary embeds; crates/bundle/src/pins.rs begins with it.
major=18

# pack ARGUMENTS…: runs howdah-bundle, built with the features that howdah gives to what both are made of, so that nothing is
# compiled twice.
pack() {
  "$cargo" build --quiet --release -p howdah-bundle -p howdah --features howdah/bundled --bin howdah-bundle
  target/release/howdah-bundle "$@" >/dev/null
}

packed=target/bundle/packed
if ! compgen -G "target/bundle/howdah-postgres-$major-*.tar.zst" >/dev/null || [ ! -e "$packed" ] ||
  [ -n "$(find crates/bundle Cargo.lock -newer "$packed" -print -quit)" ]; then
  pack
  touch "$packed"
fi
if [ -d "target/extension/pg$major" ]; then
  scripts/extension.sh "$major"
  pack --extension "target/extension/pg$major"
else
  rm -f target/bundle/howdah-extension-*
  echo "note: without the extension howdah, index = \"auto\" means HNSW; \`make extension build\` adds it" >&2
fi
"$cargo" build --release -p howdah --features bundled
