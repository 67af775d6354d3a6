#!/usr/bin/env bash
# Holds the server to every word of its own OpenAPI document: schemathesis reads it and sends thousands of requests, right
# and wrong ones, with every check it has.
#
#   tests/schemathesis.sh [EXAMPLES]     examples of each operation, 40 by default
#
# Uses the binary $HOWDAH (target/debug/howdah). Starts a server of its own and ends it.
set -euo pipefail
cd "$(dirname "$0")/.."

examples=${1:-40}
howdah=$(realpath "${HOWDAH:-target/debug/howdah}")
[ -x "$howdah" ] || { echo "error: no \`$howdah\`: build it with \`cargo build -p howdah\`" >&2; exit 2; }

version=4.32.5
venv=$PWD/target/schemathesis-$version
if ! "$venv/bin/st" --version >/dev/null 2>&1; then
  rm -rf "$venv"
  # Debian keeps what puts pip into an environment in a package of its own; pip from outside does it as well.
  python3 -m venv --without-pip "$venv"
  python3 -m pip --python "$venv/bin/python3" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

config=$PWD/tests/schemathesis.toml
work=$(mktemp -d)
chmod 755 "$work"
export HOWDAH_HOME=$work/home
: "${HOWDAH_DOWNLOADS:=${HOWDAH_TEST_HOME:-$PWD/target/test-home}/downloads}"
export HOWDAH_DOWNLOADS
finish() { (cd "$work" && "$howdah" down --quiet) || true; rm -rf "$work"; }
trap finish EXIT

cat > "$work/howdah.toml" <<'TOML'
name = "fuzz"

[api]
requests_per_second = 0
timeout_seconds = 20

[databases.app]
extensions = { vector = "*" }

[collections.notes]
dimensions = 3
fields = { year = "integer" }
documents = ["notes.jsonl"]

[collections.papers]
dimensions = 2
metric = "l2"
id_type = "uuid"
TOML
for n in $(seq 1 50); do
  echo "{\"source\": \"n$n\", \"content\": \"Note number $n about elephants.\", \"year\": $((1970 + n)), \"embedding\": [$n, 1, 2]}"
done > "$work/notes.jsonl"

cd "$work"
up=$("$howdah" up --quiet -o json)
field() { python3 -c "import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])" "$up" "$1"; }
rest=$(field rest)
key=$(field admin_key)

"$venv/bin/st" --config-file "$config" run "$rest/openapi.json" --checks all --header "Authorization: Bearer $key" \
  --max-examples "$examples" --generation-database :memory: --request-timeout 30 --no-color --continue-on-failure

"$howdah" search elephants -c notes -o json >/dev/null || { echo "error: the server does not answer any more" >&2; exit 1; }
if grep -q '"level":"ERROR"' "$HOWDAH_HOME"/instances/*/howdah.log; then
  echo "error: the server logged errors:" >&2
  grep '"level":"ERROR"' "$HOWDAH_HOME"/instances/*/howdah.log | head -20 >&2
  exit 1
fi
