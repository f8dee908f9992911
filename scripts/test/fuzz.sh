#!/usr/bin/env bash
# Fuzzes every parser that reads what others wrote, under libFuzzer, ASan and UBSan, two at a
# time: fuzz.sh BUILD SECONDS. What was found interesting stays in BUILD/fuzz/NAME, where the next
# run begins; a finding's input stays beside it. The last line sums up.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?usage: fuzz.sh BUILD SECONDS}" && pwd)
seconds=${2:?usage: fuzz.sh BUILD SECONDS}
work=$build/fuzz
shim=$root/shim helpers=$root/helpers
mkdir -p "$work"

# name, then what is compiled with its fuzz program
targets=(
  "reply      tests/shim/fuzz.c           shim/reply.c shim/names.c shim/json.c"
  "request    helpers/fuzz/fuzz_request.c helpers/gate/request.c"
  "command    helpers/fuzz/fuzz_command.c helpers/gate/command.c helpers/common/output.c"
  "fan_event  helpers/fuzz/fuzz_fan_event.c helpers/fanotify/fan_event.c"
  "rows       helpers/fuzz/fuzz_rows.c helpers/posix/sealed_rows.c helpers/posix/checksum.c"
  "peers      helpers/fuzz/fuzz_peers.c   $(cd "$root" && echo helpers/gate/*.c helpers/common/output.c helpers/common/confine.c)"
)

seed() { # target, name: what stands in standard input
  mkdir -p "$work/$1"
  cat > "$work/$1/seed-$2"
}

# Lines of the protocol's own page; a close as the kernel tells it, and an overflow.
seeds() {
  local n=0 line
  while IFS= read -r line; do
    n=$((n + 1))
    printf '%s' "$line" | seed reply $n
  done < <(sed -n 's/^< //p; s/^> P4CACHE.1 [A-Z]* //p' "$root/docs/protocol.md")
  printf 'P4CACHE/1 FETCH depot/a,v' | seed request fetch
  printf 'P4CACHE/1 STAT .p4cache/x' | seed request reserved
  printf 'DELETE a/../b' | seed request legacy
  printf 'P4CACHE/1 CONTROL {"op":"status"}' | seed request control
  printf '{"t":"last","id":65536,"line":"ERR FULL \\u00e9"}' | seed command last
  printf '{"t":"allow","uids":[0,1000]}' | seed command allow
  {
    printf '\134\000\000\000\003\000\030\000\010\000\000\000\000\000\000\000\377\377\377\377\011\000\000\000'
    printf '\002\000\040\000\001\002\003\004\005\006\007\010\010\000\000\000\001\000\000\000\040\202Q\000\350G1\321x,v\000'
    printf '\004\000\010\000\005\000\000\000'
    printf '\001\000\034\000\001\002\003\004\005\006\007\010\010\000\000\000\001\000\000\000\040\202Q\000\350G1\321'
    printf '\030\000\000\000\003\000\030\000\000\100\000\000\000\000\000\000\377\377\377\377\000\000\000\000'
  } | seed fan_event close
  # A request of root, one of a user who is not allowed, its answer, and two datagrams.
  printf '\000\000\023\000P4CACHE/1 STAT a,v\n\010\002\023\000P4CACHE/1 STAT a,v\n' | seed peers requests
  printf '\006\000\000\000\007\000OK 1000\005\001\024\000{"ts":1,"op":"open"}\n\035\002\023\000P4CACHE/1 BUFFER 7\n' | seed peers datagrams
}

fuzz() { # name, sources: prints one line; status 1 with a finding
  local name=$1 log=$work/$1.log main=()
  shift
  # The gate's own main loop stays out of its fuzz program.
  [ "$name" != peers ] || main=(-Dmain=gate_main)
  local flags=(-std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I"$shim" -I"$helpers")
  if ! (cd "$root" && clang "${flags[@]}" "${main[@]}" -o "$work/fuzz_$name" "$@") > "$log" 2>&1; then
    tail -n 20 "$log"
    echo "not ok - fuzz $name: it does not compile"
    return 1
  fi
  mkdir -p "$work/$name"
  if ! "$work/fuzz_$name" -max_total_time="$seconds" -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="$work/$name-" "$work/$name" >> "$log" 2>&1; then
    tail -n 40 "$log"
    echo "not ok - fuzz $name: a finding; its input: $(ls "$work/$name"-* 2> /dev/null | tail -n 1)"
    return 1
  fi
  printf 'ok - fuzz %s: %s inputs, corpus %s, %s\n' "$name" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(ls "$work/$name" | wc -l)" \
    "$(sed -n 's/^INFO: Seed: */seed /p' "$log")"
}

seeds
lines=$work/lines
: > "$lines"
skipped=0
for target in "${targets[@]}"; do
  read -r -a words <<< "$target"
  if [ "${words[0]}" = peers ] && ! { [ "$(id -u)" = 0 ] && unshare --ipc true 2> /dev/null; }; then
    echo "skipped: fuzz peers: it takes root and an IPC namespace of its own"
    skipped=$((skipped + 1))
    continue
  fi
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || true; done
  fuzz "${words[@]}" | tee -a "$lines" &
done
wait
findings=$(grep -c '^not ok' "$lines" || true)
inputs=$(sed -n 's/.*: \([0-9]*\) inputs.*/\1/p' "$lines" | awk '{ n += $1 } END { print n + 0 }')
echo "fuzz: targets=$(( ${#targets[@]} - skipped )) inputs=$inputs findings=$findings seconds=$seconds"
[ "$findings" -eq 0 ]
