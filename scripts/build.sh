#!/usr/bin/env bash
# Builds the release binary with a slim PostgreSQL in it: packs the server first (fetched once, pinned by its SHA-256),
# then embeds it. A second run has nothing to do and takes about a second.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
"$cargo" run --quiet --release -p howdah-bundle >/dev/null
"$cargo" build --release -p howdah --features bundled
