/*
 * units.c - the pure parts of the shim: names, paths, replies, markers, JSON. Golden values of
 * the marker are those of src/core/marker_test.ts: add, never edit.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "shim.h"

static int failures;

static void check(bool ok, const char *what, const char *of) {
    if (!ok) {
        failures++;
        printf("  %s: %s\n", what, of);
    }
}

static void test_marker(void) {
    static const struct {
        uint64_t size;
        int64_t sec;
        int64_t nsec;
    } golden[] = {
        {0, 0, 51},
        {1, 0, 6226},
        {2, 0, 8433},
        {100, 0, 411989},
        {4096, 0, 16778853},
        {1048576, 8, 1583},
        {4294967295, 32767, 536867382},
        {4294967296, 32768, 3512},
        {1099511627776, 8388608, 2847},
        {281474976710655, 2147483647, 536869817},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        struct timespec atime = {0, 0};
        uint64_t size = 0;
        char name[32];
        snprintf(name, sizeof name, "%llu", (unsigned long long)golden[i].size);
        check(p4cache_marker_encode(golden[i].size, &atime) && atime.tv_sec == golden[i].sec &&
                  atime.tv_nsec == golden[i].nsec,
              "marker encodes", name);
        check(p4cache_marker_decode(golden[i].sec, golden[i].nsec, &size) &&
                  size == golden[i].size,
              "marker decodes", name);
        check(!p4cache_marker_decode(golden[i].sec, golden[i].nsec ^ 1, &size),
              "marker refuses a touched", name);
    }
    struct timespec atime;
    uint64_t size;
    check(!p4cache_marker_encode(UINT64_C(1) << 48, &atime), "marker refuses", "2^48");
    check(!p4cache_marker_decode(0, 0, &size), "marker refuses", "atime 0");
    check(!p4cache_marker_decode(-1, 51, &size), "marker refuses", "a negative time");
    check(!p4cache_marker_decode(0, 1 << 29, &size), "marker refuses", "30 bits of nanoseconds");
}

static void test_managed(void) {
    static const char *const archives[] = {"a,v", "d/a,v", "x,d/1.1", "a/x,d/1.2.gz",
                                           "spec/75,d/p4users.p4s", "\xe9,v", "a b,v",
                                           "db.rev,v", "a/tmp.1,v", "journal,v", "journal.c,v",
                                           "checkpoint.py,v", "x.jnl.y,v", "x.ckp.y,v", "x.lck,v",
                                           "a/server.locks/x,v", "a/server.locks/x,d/1.2",
                                           "a/server.locks/x,d/1.20.gz"};
    static const char *const others[] = {
        "", ",v", "a", "a,vv", "x,d", "a,d/b/c", "db.rev", "tmp.12.3", "x,d/tmp.1",
        "a.lck", "x,d/a.lck", "journal", "journal.3", "checkpoint.5", "a.jnl.4", "a.ckp.4",
        "server.locks/a,v", "server.locks/c/88,d/x", "a/server.locks/c/88,d/x",
        "a/server.locks/x,d/1", "a/server.locks/x,d/1.2.g", ".p4cache/a,v", ".p4cache", "a\n,v", "a//b,v",
        "x.jnl", "x.ckp", "tmp.x,v.p4cache-bad"};
    static const char *const never[] = {"db.rev", "a/tmp.1", ".p4cache/a", "journal", "a\nb", "",
                                        "server.locks", "server.locks/a,v", "a/server.locks/b",
                                        "tmp.x,v.p4cache-bad"};
    for (size_t i = 0; i < sizeof archives / sizeof *archives; i++) {
        check(p4shim_is_managed(archives[i], strlen(archives[i]), false), "is managed",
              archives[i]);
        check(p4shim_may_be_managed(archives[i], false), "may be managed", archives[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        check(!p4shim_is_managed(others[i], strlen(others[i]), false), "is not managed",
              others[i]);
    }
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        check(!p4shim_is_managed(never[i], strlen(never[i]), true), "is never managed",
              never[i]);
    }
    check(p4shim_is_managed("a/b", 3, true), "is managed with all", "a/b");
    check(p4shim_may_be_managed("/x,d/../x,d/1", false), "may be managed", "through ..");
    check(p4shim_may_be_managed("1.1.gz", false), "may be managed", "a bare name");
    check(!p4shim_may_be_managed("/usr/lib/x.so", false), "is never managed", "/usr/lib/x.so");
    char path[P4SHIM_PATH_MAX + 2];
    memset(path, 'a', sizeof path);
    memcpy(path + P4SHIM_PATH_MAX - 2, ",v", 2);
    check(p4shim_is_managed(path, P4SHIM_PATH_MAX, false), "is managed", "3,900 bytes");
    memcpy(path + P4SHIM_PATH_MAX - 2, "a,v", 3);
    check(!p4shim_is_managed(path, P4SHIM_PATH_MAX + 1, false), "is not managed", "3,901 bytes");
}

static void test_join(void) {
    static const char *const cases[][2] = {
        {"/a/b", "/a/b"}, {"/a//b/", "/a/b"},   {"/a/./b", "/a/b"}, {"/a/../b", "/b"},
        {"/../a", "/a"},  {"/a/b/../../c", "/c"}, {"/", ""},        {"/a/..b", "/a/..b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        size_t bytes = 0;
        check(p4shim_join(out, sizeof out, &bytes, cases[i][0]) &&
                  strcmp(out, cases[i][1]) == 0 && bytes == strlen(out),
              "joins", cases[i][0]);
    }
    char out[8];
    size_t bytes = 0;
    check(!p4shim_join(out, sizeof out, &bytes, "/1234567"), "refuses to join", "8 in 8");
}

static void test_replies(void) {
    static const char *const good[] = {
        "OK 0", "OK 9223372036854775807", "OK 5 1400000000123456789 444 0 0 evicted",
        "OK 5 -1 7777 4294967295 1 resident",
        "OK 0 0 0 0 0 resident", "WAIT 0 0", "WAIT 1 18446744073709551615",
        "ERR NOTFOUND x", "ERR NOTFOUND", "ERR SOMETHING_NEW with words"};
    static const char *const bad[] = {
        "", "OK", "OK ", "OK -1", "OK +1", "OK 1 ", "OK  1", "OK 01", "OK 000005", "OK 9223372036854775808", "OK 1x",
        "OK 5 1 444 0 0", "OK 5 1 448 0 0 evicted", "OK 5 1 10000 0 0 evicted",
        "OK 5 1 444 4294967296 0 evicted", "OK 5 1 444 0 0 evictedx", "OK 5 01 444 0 0 evicted",
        "OK 5 -0 444 0 0 evicted", "OK 5 1 0444 0 0 evicted", "OK 5 1 444 00 0 evicted",
        "OK 5 1 444 0 01 evicted", "WAIT 00 1", "WAIT 1 02", "ok 1", "WAIT", "WAIT 1",
        "WAIT 1 2 3", "WAIT 1 18446744073709551616", "ERR", "ERR ", "HELLO", "OK 1\n"};
    struct p4shim_reply reply;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        check(p4shim_parse_reply(good[i], strlen(good[i]), &reply), "reads", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check(!p4shim_parse_reply(bad[i], strlen(bad[i]), &reply), "refuses", bad[i]);
    }
    check(p4shim_parse_reply(good[2], strlen(good[2]), &reply) && reply.size == 5 &&
              reply.has_stat && reply.mtime_ns == 1400000000123456789 && reply.mode == 0444,
          "reads the fields of", good[2]);
    check(p4shim_parse_reply("ERR FULL x", 10, &reply) && reply.kind == P4SHIM_ERR &&
              reply.code == P4SHIM_FULL,
          "reads", "ERR FULL");
    check(p4shim_parse_reply("ERR FULLER x", 12, &reply) && reply.code == P4SHIM_UNKNOWN,
          "reads as unknown", "ERR FULLER");
}

static void test_json(void) {
    char out[64];
    struct p4shim_json j = {out, sizeof out, 0, false};
    p4shim_json_text(&j, "a\"\\\n\x7f\xe9", 6);
    p4shim_json_number(&j, INT64_MIN);
    check(!j.is_full && j.bytes == 1 + 5 * 6 + 20 &&
              memcmp(out, "a\\u0022\\u005c\\u000a\\u007f\\u00e9-9223372036854775808", j.bytes) ==
                  0,
          "writes", "escapes and numbers");
    p4shim_json_raw(&j, "0123456789abcdef");
    check(j.is_full && j.bytes == 51, "leaves out", "what does not fit");
}

static void test_settings(void) {
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"0", 0}, {"300", 300}, {"0030000", 30000}, {"86400000", 86400000},
                 {"86400001", 86400000}, {"90000000", 86400000}, {"900000000", 86400000},
                 {"99999999999999999999999999999999", 86400000}, {"", 7}, {"-1", 7}, {"+1", 7},
                 {"30s", 7}, {" 30", 7}, {"30 ", 7}, {"900000000000x", 7}, {"1e3", 7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(p4shim_setting_ms(cases[i].text, 7) == cases[i].ms, "milliseconds", cases[i].text);
    }
}

int main(void) {
    test_marker();
    test_managed();
    test_join();
    test_replies();
    test_json();
    test_settings();
    return failures == 0 ? 0 : 1;
}
