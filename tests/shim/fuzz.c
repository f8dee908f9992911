/*
 * fuzz.c - the pure parts of the shim under libFuzzer: the reply parser, names, paths, JSON.
 *
 * Beyond not crashing: a reply that is read holds values in range, and is how they are written; a managed name stays managed
 * when it is asked by its letters; a joined path has no empty, `.` or `..` segment; JSON text is
 * printable ASCII.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

#define MUST(condition) \
    do { \
        if (!(condition)) { \
            abort(); \
        } \
    } while (0)

/* There is one way to write an OK. */
static void must_be_written_so(const struct p4shim_reply *reply, const char *data, size_t bytes) {
    static const char *const ends[] = {" resident", " evicted", ""};
    bool is_canonical = false;
    for (size_t i = reply->has_stat ? 0 : 2; i < (reply->has_stat ? 2 : 3); i++) {
        char text[160];
        char rest[128] = "";
        if (reply->has_stat) {
            snprintf(rest, sizeof rest, " %lld %o %u %u", (long long)reply->mtime_ns, reply->mode,
                     reply->uid, reply->gid);
        }
        const int wanted = snprintf(text, sizeof text, "OK %llu%s%s",
                                    (unsigned long long)reply->size, rest, ends[i]);
        is_canonical =
            is_canonical || ((size_t)wanted == bytes && memcmp(text, data, bytes) == 0);
    }
    MUST(is_canonical);
}

static void fuzz_reply(const char *data, size_t bytes) {
    struct p4shim_reply reply;
    if (!p4shim_parse_reply(data, bytes, &reply)) {
        return;
    }
    MUST(reply.kind == P4SHIM_OK || reply.kind == P4SHIM_ERR || reply.kind == P4SHIM_WAIT);
    if (reply.kind == P4SHIM_OK) {
        MUST(reply.size <= INT64_MAX);
        MUST(!reply.has_stat || reply.mode <= 07777);
        must_be_written_so(&reply, data, bytes);
    }
    if (reply.kind == P4SHIM_ERR) {
        MUST(reply.code <= P4SHIM_UNKNOWN);
    }
    MUST(memchr(data, '\n', bytes) == NULL || reply.kind == P4SHIM_ERR);
}

static void fuzz_name(char *text, size_t bytes) {
    MUST(!p4shim_is_managed(text, bytes, false) || p4shim_is_managed(text, bytes, true));
    MUST(!p4shim_is_managed(text, bytes, false) || p4shim_may_be_managed(text, false));
}

static void fuzz_join(const char *text) {
    char out[256];
    size_t used = 0;
    if (!p4shim_join(out, sizeof out, &used, text)) {
        return;
    }
    MUST(used < sizeof out && strlen(out) == used && (used == 0 || out[0] == '/'));
    MUST(strstr(out, "//") == NULL && (used == 0 || out[used - 1] != '/'));
    MUST(strstr(out, "/./") == NULL && strstr(out, "/../") == NULL);
}

static void fuzz_json(const char *data, size_t bytes) {
    char out[300];
    struct p4shim_json j = {out, sizeof out, 0, false};
    p4shim_json_text(&j, data, bytes);
    p4shim_json_number(&j, (int64_t)bytes);
    MUST(j.bytes <= sizeof out);
    for (size_t i = 0; i < j.bytes; i++) {
        MUST(out[i] >= 0x20 && out[i] < 0x7f && out[i] != '"');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    /* A copy of the exact size, so that one byte beyond it is seen. */
    char *exact = malloc(bytes == 0 ? 1 : bytes);
    char *text = malloc(bytes + 1);
    if (exact != NULL && text != NULL) {
        memcpy(exact, data, bytes);
        memcpy(text, data, bytes);
        text[bytes] = '\0';
        fuzz_reply(exact, bytes);
        fuzz_json(exact, bytes);
        fuzz_join(text);
        fuzz_name(text, strlen(text));
    }
    free(exact);
    free(text);
    return 0;
}
