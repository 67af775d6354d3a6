#!/usr/bin/env bash
# Tables as real libraries make them, from PyPI: adopted, searched, and written into by the library beside.
#
#   tests/adopt.sh [short | all]     short (the default) leaves out LlamaIndex and Haystack, which bring much along
#
# Uses the binary $HOWDAH (target/debug/howdah). The libraries live in target/, for each set of versions once. Says so and
# ends well where PyPI cannot be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

which=${1:-short}
howdah=$(realpath "${HOWDAH:-target/debug/howdah}")
[ -x "$howdah" ] || { echo "error: no \`$howdah\`: build it with \`cargo build -p howdah\`" >&2; exit 2; }
case $which in
  short) wanted=(tests/adopt/requirements.txt); names=(pgvector sqlalchemy django langchain langchain-legacy vecs) ;;
  all) wanted=(tests/adopt/requirements.txt tests/adopt/requirements-all.txt); names=() ;;
  *) echo "error: no such set: \`$which\`" >&2; exit 2 ;;
esac

venv=$PWD/target/adopt-$which-$(cat "${wanted[@]}" | sha256sum | cut -c1-12)
if [ ! -e "$venv/complete" ]; then
  rm -rf "$venv"
  # Debian keeps what puts pip into an environment in a package of its own; pip from outside does it as well.
  python3 -m venv --without-pip "$venv"
  pip() { python3 -m pip --python "$venv/bin/python3" --disable-pip-version-check --retries 1 --timeout 20 "$@"; }
  if ! pip download --quiet --no-deps --dest "$venv/tried" "$(grep '^pgvector==' tests/adopt/requirements.txt)"; then
    rm -rf "$venv"
    echo "skipped: adopt: PyPI cannot be reached, so no library is tried" >&2
    exit 0
  fi
  files=()
  for file in "${wanted[@]}"; do files+=(-r "$file"); done
  pip install --quiet "${files[@]}"
  touch "$venv/complete"
fi

work=$(mktemp -d)
chmod 755 "$work"
export HOWDAH_HOME=$work/home
: "${HOWDAH_DOWNLOADS:=${HOWDAH_TEST_HOME:-$PWD/target/test-home}/downloads}"
export HOWDAH_DOWNLOADS
finish() { (cd "$work" && "$howdah" down --quiet) || true; rm -rf "$work"; }
trap finish EXIT
cat > "$work/howdah.toml" <<'TOML'
# This comment stays where it is.
name = "adopting"

[api]
requests_per_second = 0

[databases.app]
extensions = { vector = "*" }
TOML
script=$PWD/tests/adopt/libraries.py

cd "$work"
"$howdah" up --quiet >/dev/null
address=$("$howdah" env --role superuser -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["DATABASE_URL"])')
# The libraries of others report home, and warn of what is theirs.
export DO_NOT_TRACK=1 HAYSTACK_TELEMETRY_ENABLED=False LANGCHAIN_TRACING_V2=false PYTHONWARNINGS=ignore
"$venv/bin/python3" "$script" "$howdah" "$address" ${names[@]+"${names[@]}"}
grep -q '^# This comment stays where it is.$' howdah.toml || { echo "error: a comment of the declaration is gone" >&2; exit 1; }
