#!/usr/bin/env bash
# The main job, end to end, in a temporary directory: a depot as p4d writes one, uploaded to
# an NFS store, evicted, read back through the shim by programs that know nothing of p4-cache,
# and compared. Ends with `demo: files=N evicted=N restored=N identical=N lost=0`, and with
# status 0 only if that is true.
#
#   P4CACHE=path     the executable (default build/p4-cache)
#   DEMO_KILL=1      kill -9 the daemon in the middle of uploads, evictions and restores
#   DEMO_KEEP=1      leave the directory for a look
set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "$0")/../.." && pwd)
p4cache=${P4CACHE:-$root/build/p4-cache}
shim=$root/build/libp4shim.so
work=$(mktemp -d)
depot=$work/depot store=$work/store config=$work/config.json metrics=$work/metrics.prom
daemon_pid=

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() { printf 'demo: FAILED: %s\n' "$*" >&2; tail -n 20 "$work/daemon.log" >&2 || true; exit 1; }
now_ms() { date +%s%3N; }

finish() {
  [ -z "$daemon_pid" ] || kill "$daemon_pid" 2>/dev/null || true
  [ -z "$daemon_pid" ] || wait "$daemon_pid" 2>/dev/null || true
  if [ "${DEMO_KEEP:-0}" = 1 ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap finish EXIT

[ "$(id -u)" = 0 ] || fail "run it as root: watching a file system takes CAP_SYS_ADMIN (an installed p4-cache gives it to one small helper only)"
for program in ci co rlog python3 tar; do
  command -v "$program" >/dev/null || fail "$program is missing; on Debian: apt-get install rcs python3 tar"
done

# ---- helpers ---------------------------------------------------------------------------

write_config() { # max_cache_bytes
  cat > "$config.new" <<EOF
{
  "depot_path": "$depot",
  "primary": { "type": "nfs", "path": "$store", "initialize": true },
  "max_cache_bytes": $1,
  "min_free_bytes": 0,
  "evict_min_age_secs": 5,
  "upload_settle_ms": 200,
  "metrics_file": "$metrics",
  "metrics_interval_secs": 1
}
EOF
  mv "$config.new" "$config"
}

start_daemon() {
  rm -f "$metrics"
  "$p4cache" run --config "$config" >> "$work/daemon.log" 2>&1 &
  daemon_pid=$!
  wait_until "the daemon is ready" test -S "$depot/.p4cache/shim.sock" -a -e "$metrics"
}

kill_daemon() {
  note "kill -9 of the daemon ($1)"
  kill -9 "$daemon_pid"
  wait "$daemon_pid" 2>/dev/null || true
  daemon_pid=
  # Its helpers see the end of their input and leave; the lock goes with the process.
  rm -f "$depot/.p4cache/shim.sock"
}

wait_until() { # what, command...
  local what=$1 deadline=$(( $(now_ms) + 120000 ))
  shift
  until "$@"; do
    [ "$(now_ms)" -lt "$deadline" ] || fail "gave up waiting: $what"
    [ -z "$daemon_pid" ] || kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon ended"
    sleep 0.1
  done
}

metric() { sed -n "s/^$1 //p" "$metrics" 2>/dev/null | head -n 1; }
all_uploaded() { [ "$(metric 'p4cache_files{state="clean"}')" = "$files" ]; }
resident() { find "$depot" -path "$depot/.p4cache" -prune -o -type f -print | wc -l; }
markers() { find "$depot" -path "$depot/.p4cache" -prune -o -type s -print | wc -l; }
none_resident() { [ "$(resident)" = 0 ]; }
shimmed() { P4CACHE_DEPOT=$depot LD_PRELOAD=$shim "$@"; }
depot_bytes() { du -sk --exclude=.p4cache "$depot" | cut -f1; }

# ---- the depot -------------------------------------------------------------------------

say "A depot as p4d keeps it: RCS archives (,v) and compressed revisions (,d/*.gz)"
mkdir -p "$depot" "$store"
write_config 0
start_daemon
python3 - "$depot" "$work" <<'EOF'
import gzip, hashlib, os, random, subprocess, sys
depot, work = (os.fsencode(a) for a in sys.argv[1:3])
random.seed(20)
sums = []
def ensure(path): os.makedirs(os.path.dirname(path), exist_ok=True)
def record(path):
    with open(path, "rb") as f:
        sums.append(hashlib.sha256(f.read()).hexdigest().encode() + b"  " + os.path.relpath(path, depot))
# RCS archives with three revisions each, made by GNU ci as p4d makes them: a temporary
# file renamed over the archive. One has a name in latin-1.
names = [b"src/main_%02d.c" % i for i in range(20)] + [b"docs/caf\xe9 und T\xfcr.txt"]
for name in names:
    archive = os.path.join(depot, name + b",v")
    ensure(archive)
    text = b""
    for revision in range(3):
        text += b"revision %d of %s\n" % (revision + 1, name) * 40
        source = os.path.join(work, os.path.basename(name))
        with open(source, "wb") as f: f.write(text)
        subprocess.run([b"ci", b"-q", b"-f", b"-l", b"-t-demo", b"-mrevision", source, archive],
                       check=True, stdin=subprocess.DEVNULL)
    record(archive)
# Compressed revisions: textures and a large binary.
for i in range(30):
    path = os.path.join(depot, b"art/tex_%02d.uasset,d/1.%d.gz" % (i, 100 + i))
    ensure(path)
    with gzip.open(path, "wb") as f: f.write(random.randbytes(50_000 + 10_000 * i))
    record(path)
path = os.path.join(depot, b"art/level.umap,d/1.200.gz")
ensure(path)
with gzip.open(path, "wb", compresslevel=1) as f: f.write(random.randbytes(24_000_000))
record(path)
with open(os.path.join(work, b"sums"), "wb") as f: f.write(b"\n".join(sums) + b"\n")
EOF
files=$(wc -l < "$work/sums")
note "$files files, $(depot_bytes) KiB on disk"

say "p4-cache sees each file that is closed or renamed into place, and uploads it"
started=$(now_ms)
if [ "${DEMO_KILL:-0}" = 1 ]; then
  kill_daemon "while it uploads"
  start_daemon
fi
wait_until "all files are uploaded" all_uploaded
note "all $files uploaded to $store after $(( $(now_ms) - started )) ms"

say "The cache limit is set to 1 byte: everything is evicted"
before=$(depot_bytes) started=$(now_ms)
write_config 1
kill -HUP "$daemon_pid"
if [ "${DEMO_KILL:-0}" = 1 ]; then
  wait_until "the first evictions" test "$(markers)" -ge 0
  some_evicted() { [ "$(markers)" -gt 0 ]; }
  wait_until "the first evictions" some_evicted
  kill_daemon "while it evicts"
  start_daemon
fi
wait_until "everything is evicted" none_resident
evicted=$(markers)
note "$evicted files evicted after $(( $(now_ms) - started )) ms (evict_min_age_secs is 5)"
note "disk: $before KiB before, $(depot_bytes) KiB after (directories)"
note "each left a marker, which find shows as a socket:"
find "$depot/src" -type s -printf '      %M %u %f\n' | sort | head -n 3

say "Without the shim nobody can take a marker for content, root included"
victim=$depot/src/main_00.c,v
attempt() { # description, command...
  local what=$1
  shift
  if "$@" > "$work/out" 2>&1; then fail "$what worked on an evicted file"; fi
  note "$what: $(grep -v '^$' "$work/out" | tail -n 1 | sed "s|$work/||g")"
}
attempt "cat" cat "$victim"
attempt "overwriting" bash -c 'echo x > "$1"' _ "$victim"
echo "the next revision" > "$work/main_00.c"; chmod u+w "$work/main_00.c"
attempt "ci of a new revision" ci -q -f -u -mnew "$work/main_00.c" "$victim" < /dev/null
[ -S "$victim" ] || fail "the marker is gone"
sums_of_store() { (cd "$store" && find . -type f -path '*main_00*' -not -path '*/.p4cache*' -exec sha256sum {} +); }
note "the archive in the store is untouched: $(sums_of_store | cut -c1-16) ..."

say "Through the shim the same programs read it, and none of them knows"
write_config 0
kill -HUP "$daemon_pid"
wait_until "the new limit is in force" grep -q '^p4cache_cache_max_bytes 0' "$metrics"
restored_before=$(metric 'p4cache_restores_total{result="success"}')
if [ "${DEMO_KILL:-0}" = 1 ]; then
  shimmed sha256sum "$depot/art/level.umap,d/1.200.gz" > "$work/while_killed" &
  reader=$!
  kill_daemon "while it restores; the reader waits for the next one"
  start_daemon
  restored_before=0
  wait "$reader" || fail "a reader did not survive the restart of the daemon"
fi

started=$(now_ms)
shimmed co -q -p1.1 "$victim" > "$work/checkout"
note "co -p1.1 main_00.c,v: $(wc -l < "$work/checkout") lines in $(( $(now_ms) - started )) ms, cold"
started=$(now_ms)
shimmed co -q -p1.3 "$victim" | cmp -s - <(shimmed co -q -p "$victim") || fail "co gave another head"
note "co -p1.3 of the same file: $(( $(now_ms) - started )) ms, hot"
[ "$(grep -c '^revision 1 of' "$work/checkout")" = 40 ] || fail "co gave wrong text"

started=$(now_ms)
shimmed python3 - "$depot/art/tex_00.uasset,d/1.100.gz" <<'EOF' || fail "mmap"
import mmap, sys, zlib
with open(sys.argv[1], "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
    assert len(zlib.decompress(m[:], 31)) == 50_000
EOF
note "python: open, fstat, mmap, gunzip of a texture in $(( $(now_ms) - started )) ms"

started=$(now_ms)
(cd "$depot" && find docs -name '*,v' -print0 | shimmed tar --null -T - -cf "$work/docs.tar")
note "tar of docs/ (a latin-1 name): $(tar -tf "$work/docs.tar" | grep -c ',v$') archive in $(( $(now_ms) - started )) ms"

started=$(now_ms)
identical=$(cd "$depot" && shimmed sha256sum --check "$work/sums" 2>/dev/null | grep -c ': OK$' || true)
elapsed=$(( $(now_ms) - started ))
note "sha256sum of all $files: $identical identical, in $elapsed ms"

refreshed() { [ "$(metric 'p4cache_restores_total{result="success"}')" -ge "$(( restored_before + $1 ))" ]; }
wait_until "the metrics are written" refreshed 1
restored=$(resident)
lost=$(( files - identical ))
opens=$(metric 'p4cache_restore_seconds_count{result="success"}')
sum=$(metric 'p4cache_restore_seconds_sum{result="success"}')
note "restores: $opens, $(awk -v s="$sum" -v n="$opens" 'BEGIN { printf "%.1f", 1000 * s / n }') ms each on average"

printf '\ndemo: files=%d evicted=%d restored=%d identical=%d lost=%d\n' "$files" "$evicted" "$restored" "$identical" "$lost"
[ "$files" = "$evicted" ] && [ "$files" = "$restored" ] && [ "$lost" = 0 ]
