#!/usr/bin/env bash
# fake-gcs-server, a Google Cloud Storage for tests in memory, where somebody put it on PATH
# (`go install github.com/fsouza/fake-gcs-server@latest`).
#
#   fake_gcs.sh start DIR    starts it, or does nothing if it answers; prints its settings
#   fake_gcs.sh running DIR  status 0 if it answers
#   fake_gcs.sh stop DIR     ends it
#
# Settings, as shell assignments: P4CACHE_TEST_FAKE_GCS_{ENDPOINT,BUCKET}. The port is a free
# one, kept in DIR/fake_gcs.port.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/ports.sh"
command=${1:?start or stop}
dir=$(realpath -m "${2:?directory}")
pid_file="$dir/fake_gcs.pid"
port=$(cat "$dir/fake_gcs.port" 2>/dev/null || true)
bucket=p4cache-test

is_alive() { runs_as "$(cat "$pid_file" 2>/dev/null)" "fake-gcs-server"; }
is_running() {
  [ -n "$port" ] && is_alive &&
    curl -sf -m 2 -o /dev/null "http://127.0.0.1:$port/storage/v1/b/$bucket" && is_alive
}

start() {
  mkdir -p "$dir"
  # A port may have been taken in the meantime: then it ends at once.
  for _ in 1 2 3; do is_running || boot; done
  is_running || { echo "fake-gcs-server: no answer; see $dir/fake_gcs.log" >&2; exit 1; }
  echo "P4CACHE_TEST_FAKE_GCS_ENDPOINT=http://127.0.0.1:$port"
  echo "P4CACHE_TEST_FAKE_GCS_BUCKET=$bucket"
}

boot() {
  stop
  port=$(free_port)
  echo "$port" > "$dir/fake_gcs.port"
  fake-gcs-server -backend memory -scheme http -host 127.0.0.1 -port "$port" \
    -external-url "http://127.0.0.1:$port" -log-level warn >"$dir/fake_gcs.log" 2>&1 &
  echo $! > "$pid_file"
  for _ in $(seq 120); do
    is_alive || return 0
    curl -sf -m 2 -o /dev/null -X POST -H 'content-type: application/json' \
      -d "{\"name\":\"$bucket\"}" "http://127.0.0.1:$port/storage/v1/b?project=test" && return
    sleep 0.25
  done
}

stop() {
  [ -f "$pid_file" ] || return 0
  local pid
  pid=$(cat "$pid_file")
  if runs_as "$pid" fake-gcs-server; then kill "$pid" 2>/dev/null || true; fi
  rm -f "$pid_file"
}

case "$command" in
  start) start ;;
  running) is_running ;;
  stop) stop ;;
  *) echo "usage: fake_gcs.sh start|running|stop DIR" >&2; exit 2 ;;
esac
