#!/usr/bin/env bash
# A bare Debian 12 has no compiler for the few C files among the dependencies. As root this installs what is missing;
# for everybody else it says, once, what to install.
set -euo pipefail

missing=()
command -v cargo >/dev/null || { echo "error: cargo is not on the PATH" >&2
  echo "hint: Install the Rust toolchain (https://rustup.rs), version 1.95 or newer." >&2; exit 1; }
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import pip' 2>/dev/null || missing+=(python3-pip)

[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing: ${missing[*]}" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
else
  echo "error: missing: ${missing[*]}" >&2
  echo "hint: Install them, on Debian or Ubuntu with \`sudo apt-get install ${missing[*]}\`, then run the command again." >&2
  exit 1
fi
