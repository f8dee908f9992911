/*
 * change.c - truncate, link and rename.
 *
 * A marker is renamed, chmodded and chowned by the kernel alone. It cannot be truncated, a second
 * name for it would be a second marker that the daemon does not know, and outside of the depot
 * it is worth nothing: in these cases the file comes back first.
 */
#define _GNU_SOURCE
#include "real.h"
#include "shim.h"
#include "sys.h"

/* errno is what the kernel said of a truncate: whether to call again, else errno is final. */
static bool is_truncatable_now(const char *path, int attempt) {
    const int why = errno;
    const int verdict = attempt == P4SHIM_ATTEMPTS_MAX ? EIO
                        : why == EINVAL ? p4shim_restore_marker(AT_FDCWD, path, 0)
                                        : p4shim_restore_missing(AT_FDCWD, path, 0);
    errno = verdict > 0 ? verdict : why;
    return verdict == P4SHIM_AGAIN;
}

static int truncate_watched(int (*real)(const char *, off_t), const char *path, off_t size) {
    const int saved = errno;
    int rc = real(path, size);
    for (int attempt = 0; rc != 0 && size >= 0 && (errno == EINVAL || errno == ENOENT) &&
                          p4shim_is_on() && is_truncatable_now(path, attempt);
         attempt++) {
        rc = real(path, size);
        if (rc == 0) {
            errno = saved;
        }
    }
    return rc;
}

#define MAKE_TRUNCATE(name) \
    P4SHIM_HOOK(TRUNCATE, name) { return truncate_watched(p4shim_real.name, path, size); }

/* Sets errno and gives false when the file should come back and cannot. */
static bool is_linkable(int dirfd, const char *from, int flags) {
    if (!p4shim_is_on() || from == NULL) {
        return true;
    }
    const int at_flags = (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW) |
                         (flags & AT_EMPTY_PATH);
    const int verdict = p4shim_restore_before(dirfd, from, at_flags);
    if (verdict > 0) {
        errno = verdict;
    }
    return verdict <= 0;
}

#define MAKE_LINK(name) \
    P4SHIM_HOOK(LINK, name) { \
        return is_linkable(AT_FDCWD, from, 0) ? p4shim_real.name(from, to) : -1; \
    }

#define MAKE_LINKAT(name) \
    P4SHIM_HOOK(LINKAT, name) { \
        return is_linkable(from_dirfd, from, flags) \
                   ? p4shim_real.name(from_dirfd, from, to_dirfd, to, flags) \
                   : -1; \
    }

/* False for a bad pointer, which is the kernel's to refuse: it reads a name before all else. */
static bool is_readable(int dirfd, const char *path) {
    const int saved = errno;
    char first;
    const bool is_good = sys_readlinkat(dirfd, path, &first, 1) >= 0 || errno != EFAULT;
    errno = saved;
    return is_good;
}

enum answer { NO, YES, UNKNOWN };

/* Whether a name is in the depot and, if `managed`, one that the daemon keeps. */
static enum answer is_here(int dirfd, const char *name, bool managed) {
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return UNKNOWN;
    }
    const enum p4shim_place place =
        p4shim_locate_name(s, dirfd, name, AT_SYMLINK_NOFOLLOW);
    const bool counts =
        place == P4SHIM_INSIDE &&
        (!managed || p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all));
    p4shim_scratch_release(s);
    return place == P4SHIM_NOWHERE ? UNKNOWN : counts ? YES : NO;
}

static bool is_managed_below(struct p4shim_scratch *s, const char *name) {
    const size_t bytes = strlen(name);
    if (s->rel_bytes + 1 + bytes > sizeof s->rel) {
        return false;
    }
    s->rel[s->rel_bytes] = '/';
    memcpy(s->rel + s->rel_bytes + 1, name, bytes);
    return p4shim_is_managed(s->rel, s->rel_bytes + 1 + bytes, p4shim_config.manage_all);
}

/* Whether what lies in the one directory has managed names that it loses in the other: the files
 * of a `,d` under any other name, or everything below server.locks. */
static bool loses_names(struct p4shim_scratch *from, struct p4shim_scratch *to) {
    return (is_managed_below(from, "1.1") && !is_managed_below(to, "1.1")) ||
           (is_managed_below(from, "1.1,v") && !is_managed_below(to, "1.1,v"));
}

static int verdict_of_places(struct p4shim_scratch *from, struct p4shim_scratch *to,
                             int to_dirfd, const char *to_path) {
    if (!is_readable(to_dirfd, to_path)) {
        return P4SHIM_LEAVE;
    }
    switch (p4shim_locate_name(to, to_dirfd, to_path, AT_SYMLINK_NOFOLLOW | P4SHIM_AT_DIRECTORY)) {
    case P4SHIM_INSIDE:
        return loses_names(from, to) ? EXDEV : P4SHIM_LEAVE;
    case P4SHIM_NOWHERE:
        return errno;
    default:
        return p4shim_is_parent_outside(to, to_dirfd, to_path) ? EXDEV : P4SHIM_LEAVE;
    }
}

/* What a directory of the depot holds would leave the managed names with it, markers and all, and
 * the daemon would take it for deleted. EXDEV, as between two file systems: mv copies it then, file
 * by file. In doubt it stays, if it may be of the depot. */
static int verdict_of_directory(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    struct p4shim_scratch *source = p4shim_scratch_take();
    struct p4shim_scratch *target = p4shim_scratch_take();
    int verdict = P4SHIM_LEAVE;
    if (source == NULL || target == NULL) {
        verdict = p4shim_is_below_by_letters(from_dirfd, from) ? ENOMEM : P4SHIM_LEAVE;
    } else {
        switch (p4shim_locate_name(source, from_dirfd, from,
                                   AT_SYMLINK_NOFOLLOW | P4SHIM_AT_DIRECTORY)) {
        case P4SHIM_INSIDE:
            verdict = verdict_of_places(source, target, to_dirfd, to);
            break;
        case P4SHIM_NOWHERE:
            verdict = errno;
            verdict = p4shim_is_below_by_letters(from_dirfd, from) ? verdict : P4SHIM_LEAVE;
            break;
        default:
            break;
        }
    }
    if (source != NULL) {
        p4shim_scratch_release(source);
    }
    if (target != NULL) {
        p4shim_scratch_release(target);
    }
    return verdict;
}

static bool is_marker_now(int dirfd, const char *path) {
    struct stat st;
    uint64_t size = 0;
    return sys_fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           p4cache_marker_of_stat(&st, &size);
}

/* A file that leaves the managed names is deleted from them, like one that was unlinked: else the
 * daemon, which sees only that it vanished, would put its marker back. *leaving: what to tell. A
 * marker comes back first, also one that is made meanwhile: that is looked at last. */
static int verdict_of_file(int from_dirfd, const char *from, int to_dirfd, const char *to,
                           bool is_marker, struct p4shim_scratch **leaving) {
    struct p4shim_scratch *s = p4shim_managed_name(from_dirfd, from);
    if (s == NULL && !is_marker) {
        return P4SHIM_LEAVE;
    }
    if (!is_readable(to_dirfd, to)) {
        if (s != NULL) {
            p4shim_scratch_release(s);
        }
        return P4SHIM_LEAVE;
    }
    const enum answer stays = is_here(to_dirfd, to, true);
    int verdict = s != NULL && stays == NO ? p4shim_why_untellable() : 0;
    if (verdict == 0 && stays != YES && is_marker_now(from_dirfd, from)) {
        verdict = p4shim_restore_marker(from_dirfd, from, AT_SYMLINK_NOFOLLOW);
    }
    if (s != NULL && (verdict > 0 || stays != NO)) {
        p4shim_scratch_release(s);
        s = NULL;
    }
    *leaving = s;
    return verdict;
}

/* A missing name that the store has comes back to be renamed. Anything that is none of ours is the
 * kernel's. False with errno. */
static bool is_renamable(int from_dirfd, const char *from, int to_dirfd, const char *to,
                         struct p4shim_scratch **leaving) {
    struct stat st;
    uint64_t size = 0;
    *leaving = NULL;
    if (!p4shim_is_on() || from == NULL || to == NULL) {
        return true;
    }
    const int saved = errno;
    int verdict = P4SHIM_LEAVE;
    bool is_file = sys_fstatat(from_dirfd, from, &st, AT_SYMLINK_NOFOLLOW) == 0;
    const bool is_marker = is_file && p4cache_marker_of_stat(&st, &size);
    if (is_file && S_ISDIR(st.st_mode)) {
        verdict = verdict_of_directory(from_dirfd, from, to_dirfd, to);
        is_file = false;
    } else if (!is_file && errno == ENOENT) {
        verdict = p4shim_restore_missing(from_dirfd, from, AT_SYMLINK_NOFOLLOW);
        is_file = verdict == P4SHIM_AGAIN;
    }
    if (is_file) {
        verdict = verdict_of_file(from_dirfd, from, to_dirfd, to, is_marker, leaving);
    }
    errno = verdict > 0 ? verdict : saved;
    return verdict <= 0;
}

static int after_rename(int rc, struct p4shim_scratch *leaving) {
    const int saved = errno;
    if (leaving != NULL) {
        if (rc == 0) {
            p4shim_tell_removed(leaving);
        }
        p4shim_scratch_release(leaving);
    }
    errno = saved;
    return rc;
}

/* An exchange is told to the daemon as two renames, each over a file that the other one still
 * needs. So the depot is a file system that has none: callers know EINVAL, and do without. */
static bool is_exchange_here(int from_dirfd, const char *from, int to_dirfd, const char *to,
                             unsigned flags) {
    if ((flags & RENAME_EXCHANGE) == 0 || !p4shim_is_on() || from == NULL || to == NULL ||
        !is_readable(from_dirfd, from) || !is_readable(to_dirfd, to) ||
        (is_here(from_dirfd, from, false) == NO && is_here(to_dirfd, to, false) == NO)) {
        return false;
    }
    errno = EINVAL;
    return true;
}

#define RENAME_BODY(from_at, to_at, call) \
    struct p4shim_scratch *leaving; \
    return is_renamable(from_at, from, to_at, to, &leaving) ? after_rename(call, leaving) : -1;

#define MAKE_RENAME(name) \
    P4SHIM_HOOK(RENAME, name) { \
        RENAME_BODY(AT_FDCWD, AT_FDCWD, p4shim_real.name(from, to)) \
    }

#define MAKE_RENAMEAT(name) \
    P4SHIM_HOOK(RENAMEAT, name) { \
        RENAME_BODY(from_dirfd, to_dirfd, p4shim_real.name(from_dirfd, from, to_dirfd, to)) \
    }

#define MAKE_RENAMEAT2(name) \
    P4SHIM_HOOK(RENAMEAT2, name) { \
        if (is_exchange_here(from_dirfd, from, to_dirfd, to, flags)) { \
            return -1; \
        } \
        RENAME_BODY(from_dirfd, to_dirfd, \
                    p4shim_real.name(from_dirfd, from, to_dirfd, to, flags)) \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_CHANGE_HOOKS(MAKE)
