#!/bin/sh
# Runs every test of the shim: tests/shim/run.sh BUILD_DIR [name part]
# Needs gcc and python3. Prints one line a test, then `shim: N passed, N failed`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: run.sh BUILD_DIR [name part]}" && pwd)
# Of this run: another may go on beside it. Outside of the tree, whose directories another
# user, as some tests run as, may not be allowed to enter.
out=$(mktemp -d "${TMPDIR:-/tmp}/p4shim-tests.XXXXXX")
chmod 755 "$out"
trap 'rm -rf "$out"' EXIT

cp "$build/libp4shim.so" "$out/"
cc=${CC:-gcc}
flags="-std=gnu11 -O1 -g -Wall -Wextra -Werror"
$cc $flags -o "$out/probe" "$here/probe.c" "$here/hostile.c" \
  "$here/listing.c" "$here/old_calls.c" "$here/hosts.c" -ldl -lpthread
$cc $flags -I "$here/../../shim" -o "$out/units" "$here/units.c" \
  "$here/../../shim/names.c" "$here/../../shim/reply.c" "$here/../../shim/json.c" \
  "$here/../../shim/setting.c"
$cc $flags -O2 -fPIC -shared -fvisibility=hidden -DP4SHIM_FAULTS -fsanitize=undefined \
  -fno-sanitize-recover=all -static-libubsan -Wl,--version-script="$build/shim/libp4shim.map" \
  -o "$out/libp4shim-faults.so" "$here/faults.c" "$here"/../../shim/*.c
$cc $flags -O2 -fPIC -shared -o "$out/pidfd_spawn.so" "$here/pidfd_spawn.c" -ldl
$cc $flags -O2 -fPIC -shared -o "$out/late_eviction.so" "$here/late_eviction.c"
printf 'int answer(void) { return 42; }\n' | $cc -shared -fPIC -x c -o "$out/evictable.so" -

# The PATH's python3 may be a wrapper that starts slowly; the system's is enough.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -B "$here/run.py" "$build" "$out" "${2:-}"
