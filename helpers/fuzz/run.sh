#!/bin/sh
# Fuzzes the parsers of the helpers under ASan and UBSan: run.sh BUILD [SECONDS each].
# Real lines and real reads of the kernel are the first inputs; the seed is printed by libFuzzer.
set -eu
build=$1
seconds=${2:-10}
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v clang >/dev/null; then
    echo "skipped: fuzzing of the helpers: no clang"
    exit 0
fi
work=$build/helpers/fuzz
mkdir -p "$work/request" "$work/command" "$work/fan_event"
printf 'P4CACHE/1 FETCH depot/a,v' >"$work/request/fetch"
printf 'P4CACHE/1 STAT .p4cache/x' >"$work/request/reserved"
printf 'DELETE a/../b' >"$work/request/legacy"
printf 'P4CACHE/1 CONTROL {"op":"status"}' >"$work/request/control"
printf '{"t":"last","id":65536,"line":"ERR FULL \\u00e9"}' >"$work/command/last"
printf '{"t":"allow","uids":[0,1000]}' >"$work/command/allow"
# One close: metadata, then name, process and file records; and one overflow.
{
    printf '\134\000\000\000\003\000\030\000\010\000\000\000\000\000\000\000\377\377\377\377\011\000\000\000'
    printf '\002\000\040\000\001\002\003\004\005\006\007\010\010\000\000\000\001\000\000\000\040\202Q\000\350G1\321x,v\000'
    printf '\004\000\010\000\005\000\000\000'
    printf '\001\000\034\000\001\002\003\004\005\006\007\010\010\000\000\000\001\000\000\000\040\202Q\000\350G1\321'
    printf '\030\000\000\000\003\000\030\000\000\100\000\000\000\000\000\000\377\377\377\377\000\000\000\000'
} >"$work/fan_event/close"
fuzz() {
    name=$1
    shift
    clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -o "$work/fuzz_$name" "$here/fuzz_$name.c" "$@"
    "$work/fuzz_$name" -max_total_time="$seconds" -max_len=8192 -print_final_stats=1 \
        "$work/$name" >"$work/$name.log" 2>&1 || {
        tail -40 "$work/$name.log"
        echo "not ok - fuzz $name"
        exit 1
    }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
    echo "ok - fuzz $name: $runs inputs, $(sed -n 's/^INFO: Seed: */seed /p' "$work/$name.log")"
}
fuzz request "$here/../gate/request.c"
fuzz command "$here/../gate/command.c" "$here/../common/output.c"
fuzz fan_event "$here/../fanotify/fan_event.c"
