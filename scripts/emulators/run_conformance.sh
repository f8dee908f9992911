#!/usr/bin/env bash
# Asks the storage contract of every store: starts the servers, runs the suite, stops what
# it started. Last line: conformance: mem=P/N nfs=P/N s3=P/N azure=P/N gcs=P/N failed=F
# Exit status 1 if anything failed or was skipped.
#
#   run_conformance.sh [STORE...]     default: mem nfs s3 azure gcs
#
# LARGE=1: only that an object over 5 GiB goes up and comes down; not of mem, which keeps it
# in memory. Azurite keeps it below build/, radosgw and the stand-in of GCS in memory: 12 GB.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build="$root/build/emulators"
deno="$root/build/toolchain/deno"
export DENO_DIR="$root/build/deno_dir" DENO_NO_UPDATE_CHECK=1 DENO_NO_PROMPT=1 NO_COLOR=1
# The tests talk to this machine only; a proxy could not reach it.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

stores=("$@")
[ ${#stores[@]} -gt 0 ] || [ -n "${LARGE:-}" ] || stores=(mem nfs s3 azure gcs)
[ ${#stores[@]} -gt 0 ] || stores=(nfs s3 azure gcs)
mkdir -p "$build"
# Two runs in one tree would end each other's servers.
exec 9>"$build/lock"
flock -n 9 || { echo "waiting for another run in this tree"; flock 9; }
"$here/install.sh" "$build"

# Only what this run started is stopped: another may use what was there before.
started=()
stop_servers() {
  local server
  for server in "${started[@]}"; do "$here/${server%% *}.sh" stop "${server#* }" || true; done
  rm -rf "$build/azurite-disk"
}
trap stop_servers EXIT

start_server() { # script's name, directory
  "$here/$1.sh" running "$2" || started+=("$1 $2")
  # A server that holds the lock would keep it for ever.
  "$here/$1.sh" start "$2" > "$build/settings" 9>&-
  while IFS= read -r line; do export "${line?}"; done < "$build/settings"
}

cd "$root"
summary="conformance:"
failed=0
total=0
for store in "${stores[@]}"; do
  case "$store" in
    nfs)
      if [ -n "${P4CACHE_TEST_NFS:-}" ]; then
        echo "nfs: asked on $P4CACHE_TEST_NFS"
      elif grep -qw nfs4 /proc/filesystems; then
        echo "nfs: a directory is asked; P4CACHE_TEST_NFS names a mounted export instead"
      else
        echo "nfs: this kernel has no NFS (/proc/filesystems), so a directory is asked"
      fi
      ;;
    s3) start_server radosgw "$build/s3" ;;
    azure)
      [ -z "${LARGE:-}" ] || export P4CACHE_AZURITE_DISK=$build/azurite-disk
      start_server azurite "$build/npm"
      ;;
    gcs)
      if command -v fake-gcs-server >/dev/null; then
        start_server fake_gcs "$build/fake_gcs"
      else
        echo "gcs: fake-gcs-server is not on PATH, so the stand-in alone is asked"
      fi
      ;;
  esac
  files=("tests/conformance/${store}"*_test.ts)
  [ "$store" != mem ] || files+=(tests/conformance/wrappers_test.ts)
  log="$build/$store.log"
  status=0
  [ -z "${LARGE:-}" ] || files=(tests/conformance/large --filter "/^$store:/")
  "$deno" test --allow-all --no-check "${files[@]}" >"$log" 2>&1 || status=$?
  result=$(grep -E '^(ok|FAILED) \| [0-9]+ passed' "$log" | tail -1)
  passed=$(sed -E 's/.*\| ([0-9]+) passed.*/\1/' <<<"${result:-| 0 passed}")
  wrong=$(sed -E 's/.*\| ([0-9]+) failed.*/\1/' <<<"${result:-| 1 failed}")
  skipped=0
  [[ $result != *ignored* ]] || skipped=$(sed -E 's/.*\| ([0-9]+) ignored.*/\1/' <<<"$result")
  # A runner that dies reports nothing: that is a failure too.
  [ "$status" -eq 0 ] || [ "$wrong" -gt 0 ] || wrong=1
  grep -E '^(skipped:|not asked of)' "$log" || true
  if [ "$wrong" -gt 0 ]; then sed -n '/^ ERRORS/,$p' "$log"; tail -20 "$log"; fi
  summary+=" $store=$passed/$((passed + wrong + skipped))"
  failed=$((failed + wrong + skipped))
  total=$((total + passed))
  echo "$store: $passed passed, $wrong failed, $skipped skipped"
done
echo "all stores: $total passed, $failed failed"
echo "$summary failed=$failed"
[ "$failed" -eq 0 ]
