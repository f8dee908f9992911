#!/bin/sh
# Fuzzes the pure parts of the shim: tests/shim/fuzz.sh BUILD_DIR SECONDS. Needs clang and its
# runtime (Debian: clang, libclang-rt-14-dev).
# The corpus starts from the lines of docs/protocol.md and is kept in BUILD_DIR/shim-corpus.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: fuzz.sh BUILD_DIR SECONDS}" && pwd)
seconds=${2:?usage: fuzz.sh BUILD_DIR SECONDS}
corpus=$build/shim-corpus
mkdir -p "$corpus"
sed -n 's/^< //p; s/^> P4CACHE.1 [A-Z]* //p' "$here/../../docs/protocol.md" | {
  n=0
  while IFS= read -r line; do
    n=$((n + 1))
    printf '%s' "$line" > "$corpus/seed-$n"
  done
}
clang -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
  -I "$here/../../shim" -o "$build/shim-fuzz" "$here/fuzz.c" "$here/../../shim/reply.c" \
  "$here/../../shim/names.c" "$here/../../shim/json.c"
if ! "$build/shim-fuzz" -max_total_time="$seconds" -max_len=5000 -print_final_stats=1 \
  -artifact_prefix="$build/shim-fuzz-" "$corpus" > "$build/shim-fuzz.log" 2>&1; then
  tail -40 "$build/shim-fuzz.log"
  echo "fuzz-shim: a finding; its input is kept in $build/shim-fuzz-*"
  exit 1
fi
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/shim-fuzz.log")
echo "fuzz-shim: $runs runs in $seconds s, no finding"
