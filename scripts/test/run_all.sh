#!/usr/bin/env bash
# Every test of CI, stage by stage, with the time of each. The last line is the sum:
# `N passed, N failed`; status 0 only if nothing failed and every stage ran.
#
#   STAGES="unit e2e"   only these
set -uo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
deno=$root/build/toolchain/deno
export DENO_DIR=$root/build/deno_dir DENO_NO_UPDATE_CHECK=1 DENO_NO_PROMPT=1 NO_COLOR=1
logs=$root/build/test-logs
mkdir -p "$logs"
passed=0 failed=0

# Adds up what the runners print: "ok | 3 passed | 0 failed" and "shim: 3 passed, 0 failed".
take_counts() { # log
  local p f
  p=$(grep -oE '(^|[ |,])[0-9]+ passed' "$1" | tail -n 1 | grep -oE '[0-9]+')
  f=$(grep -oE '(^|[ |,])[0-9]+ failed' "$1" | tail -n 1 | grep -oE '[0-9]+')
  passed=$(( passed + ${p:-0} ))
  failed=$(( failed + ${f:-0} ))
  [ -n "$p" ] && [ "$p" -gt 0 ]
}

stage() { # name, command...
  local name=$1 log started status
  shift
  if [ -n "${STAGES:-}" ] && [[ " $STAGES " != *" $name "* ]]; then return; fi
  log=$logs/$name.log started=$(date +%s)
  "$@" > "$log" 2>&1
  status=$?
  if ! take_counts "$log" || [ "$status" -ne 0 ]; then
    [ "$status" -eq 0 ] || grep -qE '(^|[ |,])[1-9][0-9]* failed' "$log" || failed=$(( failed + 1 ))
    [ "$status" -ne 0 ] || failed=$(( failed + 1 ))
    printf '%-12s FAILED (status %d, %d s); the end of %s:\n' "$name" "$status" \
      "$(( $(date +%s) - started ))" "build/test-logs/$name.log"
    tail -n 60 "$log" | sed 's/^/    /'
    return
  fi
  printf '%-12s %s (%d s)\n' "$name" "$(grep -oE '[0-9]+ passed' "$log" | tail -n 1)" \
    "$(( $(date +%s) - started ))"
  # A skip is never silent.
  grep -iE '^(skipped|seed|.*skipped:)' "$log" | sed 's/^/    /' | head -n 20
}

helpers_tests() { # each of its programs ends with status 0, or stops the rest
  make --no-print-directory -C helpers test BUILD="$root/build" && echo "3 passed, 0 failed"
}

# Each target shortly; make fuzz SECS=600 for long.
fuzz() {
  scripts/toolchain/packages.sh fuzz && scripts/test/fuzz.sh build 3 || return 1
  echo "$(grep -c '^ok - fuzz' build/test-logs/fuzz.log) passed, 0 failed"
}

# Some of them run the helpers as another user, who may not be allowed to enter the tree.
root_tests() {
  local lib status
  lib=$(mktemp -d /var/tmp/p4cache-lib.XXXXXX)
  chmod 755 "$lib"
  cp build/libp4shim.so build/libp4posix.so build/p4-cache-gate build/p4-cache-fanotify "$lib/"
  P4CACHE_LIB=$lib "$deno" test --allow-all --quiet tests/root
  status=$?
  rm -rf "$lib"
  return $status
}

# A new seed each time, which is printed; then the parts of it that need no daemon.
differential() {
  "$deno" run --allow-all tests/differential/differential.ts --ops 5000 &&
    "$deno" run --allow-all tests/differential/differential.ts --ops 5000 --faults &&
    "$deno" test --allow-all --quiet tests/differential
}

programs() {
  scripts/toolchain/packages.sh programs &&
    "$deno" test --allow-all --quiet tests/programs
}

demo() { # variables...
  env "$@" scripts/demo/demo.sh && echo "1 passed, 0 failed"
}

stage unit "$deno" test --allow-all --quiet src scripts
stage helpers helpers_tests
stage shim tests/shim/run.sh "$root/build"
stage fuzz fuzz
stage manifest "$deno" test --allow-all --quiet tests/manifest
stage root root_tests
stage conformance scripts/emulators/run_conformance.sh
stage verify "$deno" test --allow-all --quiet tests/verify
[ -d tests/model ] && stage model "$deno" test --allow-all --quiet tests/model
[ -d tests/crash ] && stage crash "$deno" test --allow-all --quiet tests/crash
[ -d tests/programs ] && stage programs programs
stage faults "$deno" test --allow-all --quiet tests/faults
[ -d tests/cli ] && stage cli "$deno" test --allow-all --quiet tests/cli
stage differential differential
stage e2e "$deno" test --allow-all --quiet tests/e2e
stage demo demo P4CACHE="$root/build/p4-cache"
stage demo-kill demo P4CACHE="$root/build/p4-cache" DEMO_KILL=1

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
