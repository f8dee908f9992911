#!/usr/bin/env bash
# Compiles build/bundle/ into the one executable build/p4-cache, and writes the launcher
# build/p4-cache-deno that runs the same bundle on Deno 2.9.6, the runtime that counts.
#
# It compiles in an empty directory: Deno embeds every node_modules above the entry point. And
# without V8's code cache, which a compiled program would read from a file of a known name in
# $TMPDIR, whoever made it, and run: it costs 0.2 s at the start of a daemon to do without.
#
# V8's young objects get 2 MiB: a collection of them then stops the daemon's one thread for about a
# millisecond in a storm of restores, and not for five to thirteen (docs/perf/baseline.md).
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
build="${1:-$root/build}"
toolchain="$root/build/toolchain"
v8_flags=--max-semi-space-size=2
origin=$(cat "$toolchain/denort.origin")
if [ "${RELEASE:-0}" = 1 ] && [ "$origin" != official ]; then
  echo "compile: a release needs the official denort: set DENORT_BIN to it (this base is the $origin one)" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$build/bundle" "$work/bundle"
cd "$work"
DENORT_BIN="$toolchain/denort" DENO_DIR="${DENO_DIR:-$root/build/deno_dir}" \
  "$toolchain/deno-compile" compile --quiet --no-config --no-check --no-lock \
  --no-code-cache --allow-all --v8-flags="$v8_flags" --include bundle --output "$work/p4-cache" \
  bundle/main.js
mv "$work/p4-cache" "$build/p4-cache"

cat > "$build/p4-cache-deno" <<LAUNCHER
#!/bin/sh
# p4-cache from the bundle beside this file, on the Deno of build/toolchain.
here=\$(cd "\$(dirname "\$(readlink -f "\$0")")" && pwd)
DENO_DIR="\$here/deno_dir" DENO_NO_UPDATE_CHECK=1 DENO_NO_PROMPT=1 \\
  exec "\$here/toolchain/deno" run --quiet --no-config --no-lock --allow-all \\
  --v8-flags=$v8_flags "\$here/bundle/main.js" "\$@"
LAUNCHER
chmod +x "$build/p4-cache-deno"
echo "compile: build/p4-cache, $(du -m "$build/p4-cache" | cut -f1) MiB, base: $origin"
