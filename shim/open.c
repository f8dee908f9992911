/*
 * open.c - opens. Only two answers of the kernel lead anywhere but straight back: ENXIO, which
 * is what a marker gives, and ENOENT.
 */
#define _GNU_SOURCE
#include <stdarg.h>

#include "real.h"
#include "shim.h"
#include "sys.h"

struct open_call {
    int dirfd;
    const char *path;
    int flags;
    mode_t mode;
};

typedef int (*open_again)(const struct open_call *call);

static bool takes_mode(int flags) {
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

static int at_flags_of(const struct open_call *call) {
    return call->flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;
}

static int open_cold(const struct open_call *call, open_again again) {
    const int at_flags = at_flags_of(call);
    for (int attempt = 0; attempt < P4SHIM_ATTEMPTS_MAX; attempt++) {
        const int why = errno;
        const int verdict = why == ENXIO
                                ? p4shim_restore_marker(call->dirfd, call->path, at_flags)
                                : p4shim_restore_missing(call->dirfd, call->path, at_flags);
        if (verdict != P4SHIM_AGAIN) {
            errno = verdict == P4SHIM_LEAVE ? why : verdict;
            return -1;
        }
        const int fd = again(call);
        if (fd >= 0 || (errno != ENXIO && errno != ENOENT)) {
            return fd;
        }
    }
    errno = EIO; /* evicted again each time: the daemon does not keep its promise */
    return -1;
}

/* What the store has is a file: to be told so, it need not come back. */
static int open_as_directory(const struct open_call *call, open_again again) {
    struct stat st;
    const int verdict = p4shim_stat_missing(call->dirfd, call->path, at_flags_of(call), &st);
    if (verdict != P4SHIM_AGAIN) {
        errno = verdict > 0 ? verdict : ENOENT;
        return -1;
    }
    const int fd = again(call);
    if (fd < 0 && errno == ENOENT) {
        errno = ENOTDIR;
    }
    return fd;
}

/* O_CREAT would put an empty file in place of one that the store has and the disk lost. */
static bool would_shadow(const struct open_call *call) {
    return (call->flags & (O_CREAT | O_EXCL | O_TRUNC)) == O_CREAT && call->path != NULL &&
           (p4shim_may_be_managed(call->path, p4shim_config.manage_all) ||
            p4shim_is_below_by_letters(call->dirfd, call->path));
}

static int restore_unless_new(const struct open_call *call) {
    struct stat st;
    const int at_flags = at_flags_of(call);
    return sys_fstatat(call->dirfd, call->path, &st, at_flags) != 0 && errno == ENOENT
               ? p4shim_restore_missing(call->dirfd, call->path, at_flags)
               : P4SHIM_LEAVE;
}

static int open_watched(const struct open_call *call, open_again again) {
    const int saved = errno;
    if (P4SHIM_UNLIKELY(would_shadow(call))) {
        const int verdict = restore_unless_new(call);
        errno = verdict > 0 ? verdict : saved;
        if (verdict > 0) {
            return -1;
        }
    }
    enum p4shim_result result = P4SHIM_HOT;
    int fd = again(call);
    if (P4SHIM_UNLIKELY(fd < 0)) {
        result = P4SHIM_ERROR;
        if (errno == ENXIO || errno == ENOENT) {
            fd = errno == ENOENT && (call->flags & O_DIRECTORY) != 0
                     ? open_as_directory(call, again)
                     : open_cold(call, again);
            result = fd >= 0 ? P4SHIM_COLD : errno == ENOENT ? P4SHIM_MISSING : P4SHIM_ERROR;
            if (fd >= 0) {
                errno = saved;
            }
        }
    }
    if (fd >= 0 || errno != EFAULT) {
        p4shim_note_open(call->dirfd, call->path, call->flags, result);
    }
    return fd;
}

#define OPEN_BODY(name, at) \
    const struct open_call call = {at, path, flags, mode}; \
    return P4SHIM_LIKELY(p4shim_is_on()) ? open_watched(&call, again_##name) \
                                         : again_##name(&call);

#define TAKE_MODE() \
    mode_t mode = 0; \
    if (takes_mode(flags)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

#define MAKE_OPEN(name) \
    static int again_##name(const struct open_call *c) { \
        return p4shim_real.name(c->path, c->flags, c->mode); \
    } \
    P4SHIM_HOOK(OPEN, name) { \
        TAKE_MODE() \
        OPEN_BODY(name, AT_FDCWD) \
    }

#define MAKE_OPENAT(name) \
    static int again_##name(const struct open_call *c) { \
        return p4shim_real.name(c->dirfd, c->path, c->flags, c->mode); \
    } \
    P4SHIM_HOOK(OPENAT, name) { \
        TAKE_MODE() \
        OPEN_BODY(name, dirfd) \
    }

/* The fortified forms, for calls without a mode; libc ends a program that needed one. */
#define MAKE_OPEN_2(name) \
    static int again_##name(const struct open_call *c) { \
        return p4shim_real.name(c->path, c->flags); \
    } \
    P4SHIM_HOOK(OPEN_2, name) { \
        const mode_t mode = 0; \
        OPEN_BODY(name, AT_FDCWD) \
    }

#define MAKE_OPENAT_2(name) \
    static int again_##name(const struct open_call *c) { \
        return p4shim_real.name(c->dirfd, c->path, c->flags); \
    } \
    P4SHIM_HOOK(OPENAT_2, name) { \
        const mode_t mode = 0; \
        OPEN_BODY(name, dirfd) \
    }

#define MAKE_CREAT(name) \
    static int again_##name(const struct open_call *c) { \
        return p4shim_real.name(c->path, c->mode); \
    } \
    P4SHIM_HOOK(CREAT, name) { \
        const int flags = O_CREAT | O_WRONLY | O_TRUNC; \
        OPEN_BODY(name, AT_FDCWD) \
    }

/* The flags of a stdio mode, as far as we look at them. */
static int flags_of_mode(const char *mode) {
    int flags = mode[0] == 'r' ? 0 : mode[0] == 'w' ? O_CREAT | O_TRUNC : O_CREAT | O_APPEND;
    flags |= mode[0] == 'r' ? O_RDONLY : O_WRONLY;
    for (const char *c = mode; *c != '\0' && *c != ','; c++) {
        flags = *c == '+' ? (flags & ~O_ACCMODE) | O_RDWR : flags;
        flags |= *c == 'x' ? O_EXCL : 0;
    }
    return flags;
}

/* fopen opens inside libc, past our open; so it is tried again as a whole. */
static FILE *fopen_watched(FILE *(*real)(const char *, const char *), const char *path,
                           const char *mode) {
    const int saved = errno;
    const struct open_call call = {AT_FDCWD, path, flags_of_mode(mode), 0};
    if (P4SHIM_UNLIKELY(would_shadow(&call))) {
        const int verdict = restore_unless_new(&call);
        errno = verdict > 0 ? verdict : saved;
        if (verdict > 0) {
            return NULL;
        }
    }
    enum p4shim_result result = P4SHIM_HOT;
    FILE *stream = real(path, mode);
    for (int attempt = 0; stream == NULL && (errno == ENXIO || errno == ENOENT); attempt++) {
        const int why = errno;
        const int verdict = attempt == P4SHIM_ATTEMPTS_MAX ? EIO
                            : why == ENXIO ? p4shim_restore_marker(AT_FDCWD, path, 0)
                                           : p4shim_restore_missing(AT_FDCWD, path, 0);
        if (verdict != P4SHIM_AGAIN) {
            errno = verdict == P4SHIM_LEAVE ? why : verdict;
            break;
        }
        result = P4SHIM_COLD;
        stream = real(path, mode);
        if (stream != NULL) {
            errno = saved;
        }
    }
    if (stream == NULL) {
        result = errno == ENOENT ? P4SHIM_MISSING : P4SHIM_ERROR;
    }
    if (stream != NULL || errno != EFAULT) {
        p4shim_note_open(AT_FDCWD, path, call.flags, result);
    }
    return stream;
}

#define MAKE_FOPEN(name) \
    P4SHIM_HOOK(FOPEN, name) { \
        P4SHIM_FIND_OR(name, NULL) \
        return p4shim_is_on() ? fopen_watched(p4shim_real.name, path, mode) \
                              : p4shim_real.name(path, mode); \
    }

/* freopen closes the stream before it opens, so a second attempt has none: restore first. */
static void before_freopen(const char *path, const char *mode) {
    (void)p4shim_restore_before(AT_FDCWD, path, 0);
    p4shim_note_open(AT_FDCWD, path, flags_of_mode(mode), P4SHIM_HOT);
}

#define MAKE_FREOPEN(name) \
    P4SHIM_HOOK(FREOPEN, name) { \
        P4SHIM_FIND_OR(name, NULL) \
        if (path != NULL && p4shim_is_on()) { \
            before_freopen(path, mode); \
        } \
        return p4shim_real.name(path, mode, stream); \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_OPEN_HOOKS(MAKE)
