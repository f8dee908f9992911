#!/bin/sh
# What the shim adds to calls that need no daemon: tests/shim/bench.sh BUILD_DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: bench.sh BUILD_DIR}" && pwd)
out=$(mktemp -d "$build/shim-bench.XXXXXX")
trap 'rm -rf "$out"' EXIT
cp "$build/libp4shim.so" "$out/"
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -Werror -o "$out/bench" "$here/bench.c"
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -B "$here/bench.py" "$build" "$out"
