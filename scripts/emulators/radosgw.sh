#!/usr/bin/env bash
# An S3 server for tests: Ceph's radosgw over one mon, one mgr and one OSD in memory, all
# on the loopback and below one directory.
#
#   radosgw.sh start DIR    starts it, or does nothing if it answers; prints its settings
#   radosgw.sh clean DIR    gives the memory of deleted objects back
#   radosgw.sh running DIR  status 0 if it answers
#   radosgw.sh stop DIR     ends it and removes DIR
#
# Needs the Debian packages that install.sh names. Settings, as shell assignments:
# P4CACHE_TEST_S3_{ENDPOINT,BUCKET,ACCESS_KEY,SECRET_KEY}. The port is a free one, kept in
# DIR/port.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/ports.sh"
command=${1:?start, clean or stop}
dir=$(realpath -m "${2:?directory}")
conf="$dir/ceph.conf"
port=$(cat "$dir/port" 2>/dev/null || true)
access_key=P4CACHETESTACCESSKEY
secret_key=p4cacheTestSecretKeyOfFortyCharacters000
bucket=p4cache-test

ceph_() { ceph --conf "$conf" --connect-timeout 20 "$@"; }
admin() { radosgw-admin --conf "$conf" -n client.rgw "$@"; }
answers() { [ -n "$port" ] && curl -sf -m 2 -o /dev/null "http://127.0.0.1:$port/"; }
is_running() { runs_as "$(cat "$dir/run/client.rgw.pid" 2>/dev/null)" "--conf $conf" && answers; }

settings() {
  echo "P4CACHE_TEST_S3_ENDPOINT=http://127.0.0.1:$port"
  echo "P4CACHE_TEST_S3_BUCKET=$bucket"
  echo "P4CACHE_TEST_S3_ACCESS_KEY=$access_key"
  echo "P4CACHE_TEST_S3_SECRET_KEY=$secret_key"
}

write_conf() { # port of the monitor
  # Messenger version 2 cannot do without signatures; crc mode and no cephx can, and the
  # ports are closed to everybody but this machine. SSE without TLS: the key is a test's.
  cat > "$conf" <<EOF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = v2:127.0.0.1:$1
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 8589934592
osd memory target = 1073741824
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 500
mgr initial modules =
log to file = true
log to stderr = false
log file = $dir/log/\$name.log
pid file = $dir/run/\$name.pid
admin socket = $dir/run/\$name.asok
run dir = $dir/run
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd
keyring = $dir/keyring
rgw frontends = beast endpoint=127.0.0.1:$port
rgw crypt require ssl = false
rgw crypt default encryption key =
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
rgw gc obj min wait = 1
rgw gc processor period = 5
rgw max chunk size = 4194304
EOF
}

start() {
  if ! is_running; then
    # A port may have been taken in the meantime.
    for attempt in 1 2 3; do
      stop
      if "$here/radosgw.sh" boot "$dir"; then break; fi
      [ "$attempt" -lt 3 ] || exit 1
      echo "radosgw: trying again at another port" >&2
    done
    port=$(cat "$dir/port")
  fi
  settings
}

boot() {
  local mon_port fsid uuid
  mkdir -p "$dir"/{log,run,mon,mgr,osd}
  # A Unix socket's path has at most 107 bytes.
  [ ${#dir} -le 80 ] || { echo "radosgw: $dir is too long a path" >&2; exit 1; }
  port=$(free_port)
  mon_port=$(free_port)
  echo "$port" > "$dir/port"
  write_conf "$mon_port"
  : > "$dir/keyring"
  fsid=$(sed -n 's/^fsid = //p' "$conf")
  monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" \
    "$dir/monmap" >/dev/null
  ceph-mon --conf "$conf" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon --conf "$conf" -i a
  ceph-mgr --conf "$conf" -i x
  uuid=$(cat /proc/sys/kernel/random/uuid)
  ceph_ osd new "$uuid" >/dev/null
  ceph-osd --conf "$conf" -i 0 --mkfs --osd-uuid "$uuid" 2>"$dir/log/mkfs.log"
  ceph-osd --conf "$conf" -i 0 2>>"$dir/log/mkfs.log" >/dev/null
  radosgw --conf "$conf" -n client.rgw 2>>"$dir/log/rgw.stderr"
  for _ in $(seq 240); do is_running && break; sleep 0.25; done
  is_running || { echo "radosgw: no answer on port $port; see $dir/log" >&2; exit 1; }
  admin user create --uid p4cache --display-name p4cache --access-key "$access_key" \
    --secret-key "$secret_key" >/dev/null 2>>"$dir/log/admin.log"
}

stop() {
  [ -d "$dir/run" ] || return 0
  local file pid
  for file in "$dir"/run/*.pid; do
    [ -f "$file" ] || continue
    pid=$(cat "$file")
    if runs_as "$pid" "--conf $conf"; then kill -9 "$pid" 2>/dev/null || true; fi
  done
  rm -rf "$dir"
}

case "$command" in
  start) start ;;
  boot) boot ;; # of start
  running) is_running ;;
  clean) admin gc process --include-all >/dev/null 2>&1 ;;
  stop) stop ;;
  *) echo "usage: radosgw.sh start|running|clean|stop DIR" >&2; exit 2 ;;
esac
