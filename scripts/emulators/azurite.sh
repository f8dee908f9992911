#!/usr/bin/env bash
# An Azure Blob server for tests: Microsoft's Azurite, in memory, on the loopback.
#
#   azurite.sh start DIR    starts it, or does nothing if it answers; prints its settings
#   azurite.sh running DIR  status 0 if it answers
#   azurite.sh stop DIR     ends it
#
# DIR holds the npm packages that install.sh put there. Settings, as shell assignments:
# P4CACHE_TEST_AZURE_{ENDPOINT,ACCOUNT,KEY,CONTAINER}. The account and its key are the
# public ones of the emulator. The port is a free one, kept in DIR/azurite.port. With
# P4CACHE_AZURITE_DISK=DIRECTORY it keeps blobs there, for those that memory cannot hold.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/ports.sh"
command=${1:?start or stop}
dir=$(realpath -m "${2:?directory}")
pid_file="$dir/azurite.pid"
port=$(cat "$dir/azurite.port" 2>/dev/null || true)
program="$dir/node_modules/azurite/dist/src/blob/main.js"

is_alive() { runs_as "$(cat "$pid_file" 2>/dev/null)" "$program"; }
# Without a signature it says 400 or 403, which is an answer.
is_running() {
  [ -n "$port" ] && is_alive &&
    curl -s -m 2 -o /dev/null "http://127.0.0.1:$port/devstoreaccount1" && is_alive
}

start() {
  # A port may have been taken in the meantime: then it ends at once.
  for _ in 1 2 3; do is_running || boot; done
  is_running || { echo "azurite: no answer on port $port; see $dir/azurite.log" >&2; exit 1; }
  echo "P4CACHE_TEST_AZURE_ENDPOINT=http://127.0.0.1:$port/devstoreaccount1"
  echo "P4CACHE_TEST_AZURE_ACCOUNT=devstoreaccount1"
  echo "P4CACHE_TEST_AZURE_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
  echo "P4CACHE_TEST_AZURE_CONTAINER=p4cache-test"
}

boot() {
  local keep=(--inMemoryPersistence)
  [ -z "${P4CACHE_AZURITE_DISK:-}" ] || keep=(--location "$P4CACHE_AZURITE_DISK")
  stop
  port=$(free_port)
  echo "$port" > "$dir/azurite.port"
  # It asks for telemetry on a file of its own in the working directory.
  cd "$dir"
  node "$program" --silent "${keep[@]}" --skipApiVersionCheck --disableTelemetry \
    --blobHost 127.0.0.1 --blobPort "$port" >"$dir/azurite.log" 2>&1 &
  echo $! > "$pid_file"
  for _ in $(seq 120); do is_running && return; is_alive || return 0; sleep 0.25; done
}

stop() {
  [ -f "$pid_file" ] || return 0
  local pid
  pid=$(cat "$pid_file")
  if runs_as "$pid" "$program"; then
    kill "$pid" 2>/dev/null || true
    # It goes on writing for a moment.
    for _ in $(seq 100); do is_alive || break; sleep 0.1; done
  fi
  rm -f "$pid_file"
}

case "$command" in
  start) start ;;
  running) is_running ;;
  stop) stop ;;
  *) echo "usage: azurite.sh start|running|stop DIR" >&2; exit 2 ;;
esac
