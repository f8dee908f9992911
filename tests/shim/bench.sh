#!/bin/sh
# What the shim adds to calls that need no daemon: tests/shim/bench.sh BUILD_DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: bench.sh BUILD_DIR}" && pwd)
out=$build/shim-tests
mkdir -p "$out"
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -Werror -o "$out/bench" "$here/bench.c"
python=/usr/bin/python3
[ -x "$python" ] || python=python3
exec "$python" -B "$here/bench.py" "$build" "$out"
