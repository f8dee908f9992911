#!/usr/bin/env bash
# Asks the storage contract of every store: starts the servers, runs the suite, stops what
# it started. Last line: conformance: mem=P/N nfs=P/N s3=P/N azure=P/N gcs=P/N failed=F
# Exit status 1 if anything failed or was skipped.
#
#   run_conformance.sh [STORE...]     default: mem nfs s3 azure gcs
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build="$root/build/emulators"
deno="$root/build/toolchain/deno"
export DENO_DIR="$root/build/deno_dir" DENO_NO_UPDATE_CHECK=1 DENO_NO_PROMPT=1 NO_COLOR=1
# The tests talk to this machine only; a proxy could not reach it.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

stores=("$@")
[ ${#stores[@]} -gt 0 ] || stores=(mem nfs s3 azure gcs)
mkdir -p "$build"
"$here/install.sh" "$build"

stop_servers() {
  "$here/radosgw.sh" stop "$build/s3" || true
  "$here/azurite.sh" stop "$build/npm" || true
}
trap stop_servers EXIT

settings_of() {
  case "$1" in
    s3) "$here/radosgw.sh" start "$build/s3" ;;
    azure) "$here/azurite.sh" start "$build/npm" ;;
  esac
}

cd "$root"
summary="conformance:"
failed=0
total=0
for store in "${stores[@]}"; do
  settings=$(settings_of "$store")
  while IFS= read -r line; do [ -z "$line" ] || export "${line?}"; done <<<"$settings"
  files=("tests/conformance/${store}"*_test.ts)
  [ "$store" != mem ] || files+=(tests/conformance/wrappers_test.ts)
  log="$build/$store.log"
  status=0
  "$deno" test --allow-all --no-check "${files[@]}" >"$log" 2>&1 || status=$?
  result=$(grep -E '^(ok|FAILED) \| [0-9]+ passed' "$log" | tail -1)
  passed=$(sed -E 's/.*\| ([0-9]+) passed.*/\1/' <<<"${result:-| 0 passed}")
  wrong=$(sed -E 's/.*\| ([0-9]+) failed.*/\1/' <<<"${result:-| 1 failed}")
  skipped=0
  [[ $result != *ignored* ]] || skipped=$(sed -E 's/.*\| ([0-9]+) ignored.*/\1/' <<<"$result")
  # A runner that dies reports nothing: that is a failure too.
  [ "$status" -eq 0 ] || [ "$wrong" -gt 0 ] || wrong=1
  grep -E '^skipped:' "$log" || true
  if [ "$wrong" -gt 0 ]; then sed -n '/^ ERRORS/,$p' "$log"; tail -20 "$log"; fi
  summary+=" $store=$passed/$((passed + wrong + skipped))"
  failed=$((failed + wrong + skipped))
  total=$((total + passed))
  echo "$store: $passed passed, $wrong failed, $skipped skipped"
done
echo "all stores: $total passed, $failed failed"
echo "$summary failed=$failed"
[ "$failed" -eq 0 ]
