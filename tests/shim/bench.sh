#!/bin/sh
# What the shim adds to calls that need no daemon, and what a question to the daemon costs:
# tests/shim/bench.sh BUILD_DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: bench.sh BUILD_DIR}" && pwd)
out=$(mktemp -d "$build/shim-bench.XXXXXX")
trap 'rm -rf "$out"' EXIT
cp "$build/libp4shim.so" "$out/"
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -Werror -o "$out/bench" "$here/bench.c"
python=/usr/bin/python3
[ -x "$python" ] || python=python3
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -Werror -o "$out/bench_stat" "$here/bench_stat.c"
"$python" -B "$here/bench.py" "$build" "$out"
"$build/toolchain/deno" run --allow-all "$here/bench_daemon.ts" "$out/bench_stat"
