/*
 * reply.c - one line of the daemon, read strictly. Pure; fuzzed (tests/shim/fuzz.c).
 *
 * A number has no sign but the mtime's, no padding, and fits its type. What does not
 * parse is no reply: the caller treats the daemon as confused, never guesses.
 */
#define _GNU_SOURCE
#include <string.h>

#include "shim.h"

struct cursor {
    const char *at;
    const char *end;
};

static bool take_word(struct cursor *c, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) {
        return false;
    }
    c->at += n;
    return true;
}

static bool take_number(struct cursor *c, unsigned base, uint64_t max, uint64_t *out) {
    const char *start = c->at;
    uint64_t value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at < (char)('0' + base); c->at++) {
        const unsigned digit = (unsigned)(*c->at - '0');
        if (value > (max - digit) / base) {
            return false;
        }
        value = value * base + digit;
    }
    *out = value;
    return c->at == start + 1 || (c->at > start && *start != '0');
}

static bool take_field(struct cursor *c, unsigned base, uint64_t max, uint64_t *out) {
    return take_word(c, " ") && take_number(c, base, max, out);
}

static bool take_mtime(struct cursor *c, int64_t *out) {
    uint64_t value = 0;
    if (!take_word(c, " ")) {
        return false;
    }
    const bool negative = take_word(c, "-");
    if (!take_number(c, 10, INT64_MAX, &value)) {
        return false;
    }
    *out = negative ? -(int64_t)value : (int64_t)value;
    return !negative || value != 0;
}

static bool parse_ok(struct cursor *c, struct p4shim_reply *reply) {
    uint64_t mode = 0;
    uint64_t uid = 0;
    uint64_t gid = 0;
    reply->kind = P4SHIM_OK;
    reply->has_stat = false;
    if (!take_field(c, 10, INT64_MAX, &reply->size)) {
        return false;
    }
    if (c->at == c->end) {
        return true;
    }
    if (!take_mtime(c, &reply->mtime_ns) || !take_field(c, 8, 07777, &mode) ||
        !take_field(c, 10, UINT32_MAX, &uid) || !take_field(c, 10, UINT32_MAX, &gid) ||
        !(take_word(c, " resident") || take_word(c, " evicted")) || c->at != c->end) {
        return false;
    }
    reply->has_stat = true;
    reply->mode = (unsigned)mode;
    reply->uid = (unsigned)uid;
    reply->gid = (unsigned)gid;
    return true;
}

static bool parse_err(struct cursor *c, struct p4shim_reply *reply) {
    static const char *const codes[] = {
        [P4SHIM_NOTFOUND] = "NOTFOUND", [P4SHIM_DENIED] = "DENIED",
        [P4SHIM_CORRUPT] = "CORRUPT",   [P4SHIM_UNAVAILABLE] = "UNAVAILABLE",
        [P4SHIM_FULL] = "FULL",         [P4SHIM_QUOTA] = "QUOTA",
        [P4SHIM_BUSY] = "BUSY",         [P4SHIM_BADREQ] = "BADREQ",
        [P4SHIM_RESERVED] = "RESERVED",
    };
    const char *space = memchr(c->at, ' ', (size_t)(c->end - c->at));
    const size_t bytes = (size_t)((space == NULL ? c->end : space) - c->at);
    reply->kind = P4SHIM_ERR;
    reply->code = P4SHIM_UNKNOWN;
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (strlen(codes[i]) == bytes && memcmp(codes[i], c->at, bytes) == 0) {
            reply->code = (enum p4shim_code)i;
        }
    }
    return bytes > 0;
}

bool p4shim_parse_reply(const char *line, size_t bytes, struct p4shim_reply *reply) {
    struct cursor c = {line, line + bytes};
    if (take_word(&c, "OK")) {
        return parse_ok(&c, reply);
    }
    if (take_word(&c, "ERR ")) {
        return parse_err(&c, reply);
    }
    uint64_t done = 0;
    uint64_t total = 0;
    reply->kind = P4SHIM_WAIT;
    return take_word(&c, "WAIT") && take_field(&c, 10, UINT64_MAX, &done) &&
           take_field(&c, 10, UINT64_MAX, &total) && c.at == c.end;
}
