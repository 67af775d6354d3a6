#!/usr/bin/env bash
# The story of a stranger with data of their own: the machine's package descriptions in, ten questions whose right package
# is known, and what search returns held against exact search.
#
#   tests/corpus.sh [PACKAGES] [QUERIES]     5000 and 200 by default; 0 packages means all of them
#
# With $HOWDAH_BENCH (a directory) it ends with `howdah bench search` and `howdah bench ingest` on the same corpus, and puts
# what they find there.
#
# Uses the binary $HOWDAH (target/debug/howdah). Needs the package lists of a Debian machine; says so and ends well where
# there are none.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=${1:-5000}
queries=${2:-200}
bench=${HOWDAH_BENCH:+$(realpath -m "$HOWDAH_BENCH")}
howdah=$(realpath "${HOWDAH:-target/debug/howdah}")
questions=$PWD/tests/corpus/questions.tsv

if ! command -v apt-cache >/dev/null || [ "$(apt-cache dumpavail 2>/dev/null | grep -c '^Package:')" -lt 5000 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq || true; fi
fi
if ! command -v apt-cache >/dev/null || [ "$(apt-cache dumpavail 2>/dev/null | grep -c '^Package:')" -lt 5000 ]; then
  echo "skipped: corpus: this machine has no package lists (apt-get update fetches them)" >&2
  exit 0
fi

work=$(mktemp -d)
chmod 755 "$work"
export HOWDAH_HOME=$work/home
: "${HOWDAH_DOWNLOADS:=${HOWDAH_TEST_HOME:-$PWD/target/test-home}/downloads}"
export HOWDAH_DOWNLOADS
finish() { (cd "$work" && "$howdah" down >/dev/null 2>&1) || true; rm -rf "$work"; }
trap finish EXIT
cp tests/corpus/howdah.toml "$work/"
limit=()
[ "$packages" = 0 ] || limit=(--limit "$packages" --include-from "$questions")
python3 scripts/apt_corpus.py "${limit[@]}" > "$work/packages.jsonl"
echo "corpus: $(wc -l < "$work/packages.jsonl") packages"

cd "$work"
"$howdah" up >/dev/null
"$howdah" ingest packages packages.jsonl >/dev/null
# A second run writes nothing.
"$howdah" ingest packages packages.jsonl -o json | python3 -c '
import json, sys
report = json.load(sys.stdin)
written = report["rows_written"]
assert written == 0, f"a second ingest wrote {written} rows"
'

found=0
asked=0
while IFS=$'\t' read -r question package; do
  asked=$((asked + 1))
  if "$howdah" search "$question" --collection packages --mode hybrid --limit 10 -o jsonl | grep -q "\"source\":\"$package\""; then
    found=$((found + 1))
  else
    echo "corpus: \`$question\` did not find $package in ten"
  fi
done < "$questions"
echo "corpus: hybrid hit@10 $found of $asked"
[ "$found" -ge 9 ]

# The section whose share of the corpus is nearest to one in a hundred.
section=$(python3 - <<'PY'
import collections, json
sections = collections.Counter(json.loads(line)["section"] for line in open("packages.jsonl"))
total = sum(sections.values())
print(min(sections, key=lambda name: abs(sections[name] / total - 0.01)))
PY
)
for filter in "" "{\"section\": \"$section\"}"; do
  "$howdah" bench recall packages --queries "$queries" --limit 10 ${filter:+--filter "$filter"} -o json > recall.json
  python3 - "$filter" <<'PY'
import json, sys
report = json.load(open("recall.json"))
recall, complete, queries = report["recall_tie_aware"], report["complete"], report["queries"]
print(f"corpus: recall@10 {recall:.4f}, {complete} of {queries} complete, filter {sys.argv[1] or 'none'}")
sys.exit(0 if recall >= 0.99 and complete == queries else 1)
PY
done
if [ -n "$bench" ]; then
  mkdir -p "$bench"
  today=$(date -u +%F)
  "$howdah" bench search packages --report "$bench/$today-search.json"
  "$howdah" bench ingest packages --report "$bench/$today-ingest.json"
fi
echo "corpus: 1 passed, 0 failed"
