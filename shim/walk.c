/*
 * walk.c - nftw, ftw and fts: they stat inside libc, so what they report is dressed on its way
 * to the program.
 */
#define _GNU_SOURCE
#include "real.h"
#include "shim.h"
#include "sys.h"

/* The walker passes no word of the caller's to its callback. Nested walks save and put back. */
static __thread struct {
    p4shim_nftw_fn nftw;
    p4shim_ftw_fn ftw;
    int flags;
} walk __attribute__((tls_model("initial-exec")));

static const struct stat *dressed(const char *path, int at_flags, const struct stat *st,
                                  struct stat *copy) {
    const int saved = errno;
    uint64_t size = 0;
    if (st == NULL || !S_ISSOCK(st->st_mode) ||
        !p4shim_is_marker(AT_FDCWD, path, at_flags, st, &size)) {
        errno = saved;
        return st;
    }
    errno = saved;
    *copy = *st;
    p4shim_dress(copy, size);
    return copy;
}

static int nftw_step(const char *path, const struct stat *st, int type, struct FTW *at) {
    struct stat copy;
    const bool changes_directory = (walk.flags & FTW_CHDIR) != 0;
    if (changes_directory) {
        p4shim_cwd_changed();
    }
    if (type == FTW_F) {
        st = dressed(changes_directory ? path + at->base : path,
                     walk.flags & FTW_PHYS ? AT_SYMLINK_NOFOLLOW : 0, st, &copy);
    }
    return walk.nftw(path, st, type, at);
}

static int ftw_step(const char *path, const struct stat *st, int type) {
    struct stat copy;
    return walk.ftw(path, type == FTW_F ? dressed(path, 0, st, &copy) : st, type);
}

#define MAKE_NFTW(name) \
    P4SHIM_HOOK(NFTW, name) { \
        P4SHIM_FIND_OR(name, -1) \
        if (!p4shim_is_on()) { \
            return p4shim_real.name(path, fn, fds, flags); \
        } \
        const __typeof__(walk) outer = walk; \
        walk.nftw = fn; \
        walk.flags = flags; \
        const int rc = p4shim_real.name(path, nftw_step, fds, flags); \
        walk = outer; \
        p4shim_cwd_changed(); \
        return rc; \
    }

#define MAKE_FTW(name) \
    P4SHIM_HOOK(FTW, name) { \
        P4SHIM_FIND_OR(name, -1) \
        if (!p4shim_is_on()) { \
            return p4shim_real.name(path, fn, fds); \
        } \
        const __typeof__(walk) outer = walk; \
        walk.ftw = fn; \
        const int rc = p4shim_real.name(path, ftw_step, fds); \
        walk = outer; \
        return rc; \
    }

/* By its atime alone: fts has moved the working directory, and its paths are its own. */
static void dress_visit(FTSENT *entry) {
    uint64_t size = 0;
    if (entry->fts_info == FTS_DEFAULT && entry->fts_statp != NULL &&
        p4cache_marker_of_stat(entry->fts_statp, &size) && size < P4SHIM_PLAUSIBLE_SIZE) {
        p4shim_dress(entry->fts_statp, size);
        entry->fts_info = FTS_F;
    }
}

#define MAKE_FTS_READ(name) \
    P4SHIM_HOOK(FTS_READ, name) { \
        P4SHIM_FIND_OR(name, NULL) \
        FTSENT *entry = p4shim_real.name(fts); \
        if (p4shim_is_on()) { \
            p4shim_cwd_changed(); \
            if (entry != NULL) { \
                dress_visit(entry); \
            } \
        } \
        return entry; \
    }

#define MAKE_FTS_CHILDREN(name) \
    P4SHIM_HOOK(FTS_CHILDREN, name) { \
        P4SHIM_FIND_OR(name, NULL) \
        FTSENT *first = p4shim_real.name(fts, flags); \
        for (FTSENT *entry = first; p4shim_is_on() && entry != NULL; entry = entry->fts_link) { \
            dress_visit(entry); \
        } \
        return first; \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_WALK_HOOKS(MAKE)
