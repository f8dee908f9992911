#!/usr/bin/env bash
# An Azure Blob server for tests: Microsoft's Azurite, in memory, on the loopback.
#
#   azurite.sh start DIR    starts it, or does nothing if it answers; prints its settings
#   azurite.sh running DIR  status 0 if it answers
#   azurite.sh stop DIR     ends it
#
# DIR holds the npm packages that install.sh put there. Settings, as shell assignments:
# P4CACHE_TEST_AZURE_{ENDPOINT,ACCOUNT,KEY,CONTAINER}. The account and its key are the
# public ones of the emulator.
set -euo pipefail

command=${1:?start or stop}
dir=$(realpath -m "${2:?directory}")
port=${P4CACHE_AZURITE_PORT:-17490}
pid_file="$dir/azurite.pid"
program="$dir/node_modules/azurite/dist/src/blob/main.js"

# Without a signature it says 400 or 403, which is an answer.
answers() { curl -s -m 2 -o /dev/null "http://127.0.0.1:$port/devstoreaccount1"; }

start() {
  if ! answers; then
    # It asks for telemetry on a file of its own in the working directory.
    cd "$dir"
    node "$program" --silent --inMemoryPersistence --skipApiVersionCheck --disableTelemetry \
      --blobHost 127.0.0.1 --blobPort "$port" >"$dir/azurite.log" 2>&1 &
    echo $! > "$pid_file"
    for _ in $(seq 120); do answers && break; sleep 0.25; done
    answers || { echo "azurite: no answer on port $port; see $dir/azurite.log" >&2; exit 1; }
  fi
  echo "P4CACHE_TEST_AZURE_ENDPOINT=http://127.0.0.1:$port/devstoreaccount1"
  echo "P4CACHE_TEST_AZURE_ACCOUNT=devstoreaccount1"
  echo "P4CACHE_TEST_AZURE_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
  echo "P4CACHE_TEST_AZURE_CONTAINER=p4cache-test"
}

stop() {
  [ -f "$pid_file" ] || return 0
  local pid
  pid=$(cat "$pid_file")
  # Only ours: the number may be another process's by now.
  if tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF "$program"; then
    kill "$pid" 2>/dev/null || true
  fi
  rm -f "$pid_file"
}

case "$command" in
  start) start ;;
  running) answers ;;
  stop) stop ;;
  *) echo "usage: azurite.sh start|running|stop DIR" >&2; exit 2 ;;
esac
