#!/usr/bin/env bash
# Installs the npm dependencies, exactly as package-lock.json pins them (integrity
# hashes included), into build/deps/, and points node_modules there. No package
# runs an install script. A second run finds the stamp and downloads nothing.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
out="$root/build/deps"

stamp=$(sha256sum "$root/package-lock.json" | cut -d' ' -f1)
ln -sfn build/deps/node_modules "$root/node_modules"
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

rm -rf "$out.new"
mkdir -p "$out.new"
cp "$root/package.json" "$root/package-lock.json" "$out.new/"
npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error --prefix "$out.new" >/dev/null
echo "$stamp" > "$out.new/stamp"
rm -rf "$out"
mv "$out.new" "$out"
echo "dependencies: $(find "$out/node_modules" -name package.json -not -path '*/node_modules/*/node_modules/*' | wc -l) packages"
