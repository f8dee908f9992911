/*
 * names.c - which names are managed, and paths as text. Pure: no system call, no state.
 *
 * The rules are those of isManaged() in src/core/names.ts; tests/shim/units.c holds the cases, and
 * tests/differential/names_test.ts compares the two.
 */
#define _GNU_SOURCE
#include <string.h>

#include "shim.h"

struct word {
    const char *at;
    size_t bytes;
};

static bool starts(struct word w, const char *with) {
    const size_t n = strlen(with);
    return w.bytes >= n && memcmp(w.at, with, n) == 0;
}

static bool ends(struct word w, const char *with) {
    const size_t n = strlen(with);
    return w.bytes >= n && memcmp(w.at + w.bytes - n, with, n) == 0;
}

static bool equals(struct word w, const char *other) {
    return w.bytes == strlen(other) && starts(w, other);
}

/* `.jnl.` and `.ckp.` anywhere, `.jnl` and `.ckp` at the end. */
static bool has_server_suffix(struct word w) {
    const char *end = w.at + w.bytes;
    for (const char *dot = w.at; (dot = memchr(dot, '.', (size_t)(end - dot))) != NULL; dot++) {
        const size_t left = (size_t)(end - dot);
        if (left >= 4 && (left == 4 || dot[4] == '.') &&
            (memcmp(dot, ".jnl", 4) == 0 || memcmp(dot, ".ckp", 4) == 0)) {
            return true;
        }
    }
    return false;
}

/* `x,v`, whatever x is: clients choose it, and no file of the server's own ends so. */
static bool is_history(struct word name) {
    return ends(name, ",v") && name.bytes > 2;
}

/* Databases, journals, checkpoints, locks and temporary files of p4d; of a name that is no history. */
static bool is_server_file(struct word name) {
    return starts(name, "db.") || starts(name, "tmp.") || ends(name, ".lck") ||
           equals(name, "journal") || starts(name, "journal.") ||
           starts(name, "checkpoint.") || has_server_suffix(name);
}

/* Digits from *from on, which is moved behind them. */
static bool skip_digits(struct word w, size_t *from) {
    const size_t start = *from;
    while (*from < w.bytes && w.at[*from] >= '0' && w.at[*from] <= '9') {
        ++*from;
    }
    return *from > start;
}

/* What p4d calls a revision in a `,d`: 1.N or 1.N.gz. */
static bool is_revision(struct word name) {
    size_t at = 0;
    if (!skip_digits(name, &at) || at == name.bytes || name.at[at++] != '.' ||
        !skip_digits(name, &at)) {
        return false;
    }
    return at == name.bytes || (name.bytes - at == 3 && ends(name, ".gz"));
}

bool p4shim_is_managed(const char *rel, size_t bytes, bool manage_all) {
    if (bytes == 0 || bytes > P4SHIM_PATH_MAX || memchr(rel, '\n', bytes) != NULL) {
        return false;
    }
    struct word parent;
    struct word name = {rel, 0};
    bool has_parent = false;
    bool is_in_locks = false; /* of a server below the depot, or in a client's directory of that name */
    for (const char *at = rel;;) {
        const char *slash = memchr(at, '/', (size_t)(rel + bytes - at));
        const size_t n = (size_t)((slash == NULL ? rel + bytes : slash) - at);
        parent = name;
        has_parent = at != rel;
        name = (struct word){at, n};
        const bool is_first = at == rel;
        if (n == 0 ||
            (is_first && (equals(name, ".p4cache") || equals(name, "server.locks")))) {
            return false;
        }
        if (slash == NULL) {
            break;
        }
        is_in_locks = is_in_locks || equals(name, "server.locks");
        at = slash + 1;
    }
    if (is_history(name)) {
        return true;
    }
    if (is_in_locks && !is_revision(name)) {
        return false;
    }
    return !is_server_file(name) && (manage_all || (has_parent && ends(parent, ",d")));
}

bool p4shim_may_be_managed(const char *path, bool manage_all) {
    if (manage_all) {
        return true;
    }
    const size_t bytes = strlen(path);
    const char *slash = memrchr(path, '/', bytes);
    if (slash == NULL || (bytes > 2 && memcmp(path + bytes - 2, ",v", 2) == 0)) {
        return true; /* a bare name may be in a `,d` that is the working directory */
    }
    while (slash > path && slash[-1] == '/') {
        slash--;
    }
    const size_t parent_end = (size_t)(slash - path);
    if (parent_end < 2) {
        return true; /* "./x", "/x": too short to tell */
    }
    return memcmp(path + parent_end - 2, ",d", 2) == 0 || path[parent_end - 1] == '.';
}

bool p4shim_join(char *out, size_t cap, size_t *bytes, const char *path) {
    size_t n = *bytes;
    const char *at = path;
    while (*at != '\0') {
        const char *end = strchrnul(at, '/');
        const size_t part = (size_t)(end - at);
        if (part == 2 && at[0] == '.' && at[1] == '.') {
            while (n > 0 && out[--n] != '/') {
            }
        } else if (part > 0 && !(part == 1 && at[0] == '.')) {
            if (n + part + 2 > cap) {
                return false;
            }
            out[n++] = '/';
            memcpy(out + n, at, part);
            n += part;
        }
        at = *end == '\0' ? end : end + 1;
    }
    out[n] = '\0';
    *bytes = n;
    return true;
}
