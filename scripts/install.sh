#!/usr/bin/env bash
# Links the built binary into a directory that is on the PATH already: where cargo is, else ~/.local/bin. Says what it
# did. A link, so that the next build is the one that runs.
set -euo pipefail
cd "$(dirname "$0")/.."

binary="$PWD/target/release/howdah"
for dir in "$(dirname "$(command -v cargo)")" "$HOME/.local/bin"; do
  case ":$PATH:" in *":$dir:"*) ;; *) continue ;; esac
  { mkdir -p "$dir" && [ -w "$dir" ]; } 2>/dev/null || continue
  [ "$(readlink "$dir/howdah" 2>/dev/null)" = "$binary" ] && exit 0
  # Never over somebody else's file: only a link is replaced.
  if [ -e "$dir/howdah" ] && [ ! -L "$dir/howdah" ]; then continue; fi
  ln -sfn "$binary" "$dir/howdah" && echo "linked $dir/howdah" >&2 && exit 0
done
echo "note: no writable directory on the PATH: call it as target/release/howdah" >&2
