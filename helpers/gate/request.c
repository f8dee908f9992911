/* request.c - see request.h. */
#define _GNU_SOURCE
#include "request.h"

#include <string.h>

/* The daemon's own directory, directly below the depot root. */
#define RESERVED_NAME ".p4cache"

static bool take(const char **at, const char *end, const char *word) {
    const size_t bytes = strlen(word);
    if ((size_t)(end - *at) < bytes || memcmp(*at, word, bytes) != 0) {
        return false;
    }
    *at += bytes;
    return true;
}

static const char fetch_op[] = "FETCH";
static const char control_op[] = "CONTROL";

static const char *take_op(const char **at, const char *end) {
    static const char *const ops[] = {fetch_op, "STAT", "DELETE", control_op};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        const char *after = *at;
        if (take(&after, end, ops[i]) && take(&after, end, " ")) {
            *at = after;
            return ops[i];
        }
    }
    return NULL;
}

static bool is_proper_segment(const char *segment, size_t bytes) {
    return bytes > 0 && !(bytes == 1 && segment[0] == '.') &&
           !(bytes == 2 && segment[0] == '.' && segment[1] == '.');
}

/* Relative, without NUL, without an empty, "." or ".." segment. */
static bool is_proper_path(const char *path, size_t bytes) {
    if (memchr(path, '\0', bytes) != NULL) {
        return false;
    }
    const char *const end = path + bytes;
    for (const char *segment = path;;) {
        const char *slash = memchr(segment, '/', (size_t)(end - segment));
        if (!is_proper_segment(segment, (size_t)((slash == NULL ? end : slash) - segment))) {
            return false;
        }
        if (slash == NULL) {
            return true;
        }
        segment = slash + 1;
    }
}

static bool is_reserved(const char *path, size_t bytes) {
    const size_t name_bytes = sizeof RESERVED_NAME - 1;
    return bytes >= name_bytes && memcmp(path, RESERVED_NAME, name_bytes) == 0 &&
           (bytes == name_bytes || path[name_bytes] == '/');
}

/* Never without a version: no shim ever sent one. The daemon reads what is between the braces. */
static bool is_control(const struct request *request) {
    const char *text = request->path;
    const size_t bytes = request->path_bytes;
    return !request->is_legacy && bytes >= 2 && text[0] == '{' && text[bytes - 1] == '}' &&
           memchr(text, '\0', bytes) == NULL;
}

enum request_verdict request_parse(const char *line, size_t bytes, struct request *request) {
    const char *at = line;
    const char *const end = line + bytes;
    /* An unknown version begins so too, and is no operation: bad. */
    request->is_legacy = !take(&at, end, "P4CACHE/1 ");
    request->op = take_op(&at, end);
    request->is_fetch = request->op == fetch_op;
    request->path = at;
    request->path_bytes = (size_t)(end - at);
    if (request->op == control_op) {
        return is_control(request) ? REQUEST_CONTROL : REQUEST_BAD;
    }
    if (request->op == NULL || !is_proper_path(request->path, request->path_bytes)) {
        return REQUEST_BAD;
    }
    return is_reserved(request->path, request->path_bytes) ? REQUEST_RESERVED : REQUEST_GOOD;
}
