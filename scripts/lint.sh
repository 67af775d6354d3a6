#!/usr/bin/env bash
# Formatting and clippy on every crate, warnings denied.
#
# The extension is linted too: it has the most `unsafe`. That takes PostgreSQL's headers and a libclang, which
# scripts/extension.sh fetches. What cannot be had is skipped aloud; with CI=true it fails instead, so that nobody takes a
# run without lints for a clean one.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

# missing WHAT HINT: in CI an error, elsewhere a notice.
missing() {
  if [ "${CI:-false}" = true ]; then
    echo "error: $1, and CI does not pass without it" >&2
    echo "hint: $2" >&2
    exit 1
  fi
  echo "skipped: $1" >&2
}

if "$cargo" fmt --version >/dev/null 2>&1; then
  "$cargo" fmt --all --check
else
  missing "formatting: this toolchain has no rustfmt" "Install it with \`rustup component add rustfmt\`."
fi

if ! "$cargo" clippy --version >/dev/null 2>&1; then
  missing "lints: this toolchain has no clippy" "Install it with \`rustup component add clippy\`."
  exit 0
fi
"$cargo" clippy --workspace --exclude howdah-extension --all-targets -- -D warnings

# Both majors that are built have code of their own; CI builds both anyway.
majors=(18)
[ "${CI:-false}" != true ] || majors=(16 18)
if scripts/extension.sh --fetch; then
  scripts/extension.sh --lint "${majors[@]}"
else
  missing "lints of the extension: PostgreSQL's headers or libclang cannot be had (see above)" \
    "Make the package index reachable, or name a folder with the wheels in HOWDAH_DOWNLOADS."
fi
