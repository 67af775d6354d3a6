#!/usr/bin/env bash
# Howdah's index beside pgvector's, on the same rows, in one run each: real embeddings where $HOWDAH_DATA names a folder with
# `minilm384-{base,query,insert}.f16.npy`, and generated 768-d ones. Results go to `benchmarks/runs/`.
#
#   SIZES=30000,100000,300000   numbers of generated rows
#   ONLY=hnsw,howdah            only these indexes
set -euo pipefail
cd "$(dirname "$0")/.."

howdah=${HOWDAH:-target/release/howdah}
only=(${ONLY:+--only "$ONLY"})
if [ -n "${HOWDAH_DATA:-}" ]; then
  "$howdah" bench index --vectors "$HOWDAH_DATA/minilm384-base.f16.npy" --queries "$HOWDAH_DATA/minilm384-query.f16.npy" \
    --inserts "$HOWDAH_DATA/minilm384-insert.f16.npy" --rows "${REAL_SIZES:-30000,60000,119982}" "${only[@]}" --report benchmarks/runs
else
  echo "skipped: real embeddings: HOWDAH_DATA names no folder" >&2
fi
"$howdah" bench index --dimensions 768 --rows "${SIZES:-30000,100000,300000}" "${only[@]}" --report benchmarks/runs
