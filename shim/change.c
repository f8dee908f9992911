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

/* How to look at what link() is given with `flags`. */
static int link_look_flags(int flags) {
    return (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW) | (flags & AT_EMPTY_PATH);
}

/* Sets errno and gives false when the file should come back and cannot. *is_file: no marker is to
 * get the new name. A marker of another depot may. */
static bool is_linkable(int dirfd, const char *from, int flags, bool *is_file) {
    *is_file = false;
    if (!p4shim_is_on() || from == NULL) {
        return true;
    }
    const int saved = errno;
    const int at_flags = link_look_flags(flags);
    struct stat st;
    *is_file = sys_fstatat(dirfd, from, &st, at_flags) == 0 && S_ISREG(st.st_mode);
    errno = saved;
    if (*is_file) {
        return true;
    }
    const int verdict = p4shim_restore_before(dirfd, from, at_flags);
    *is_file = verdict == P4SHIM_AGAIN;
    if (verdict > 0) {
        errno = verdict;
    }
    return verdict <= 0;
}

/* An eviction that commits between the look and the kernel's link gives the new name to a marker,
 * which no row knows. The name goes again: whether to call once more, else *rc and errno are final.
 * Another file's marker may have been renamed there since; that is no link of ours. */
static bool links_again(int *rc, bool was_file, int from_dirfd, const char *from, int at_flags,
                        int to_dirfd, const char *to, int attempt) {
    const int saved = errno;
    struct stat st;
    struct stat source;
    uint64_t size = 0;
    const bool is_marker =
        *rc == 0 && was_file && sys_fstatat(to_dirfd, to, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        p4cache_marker_of_stat(&st, &size) &&
        sys_fstatat(from_dirfd, from, &source, at_flags) == 0 && source.st_dev == st.st_dev &&
        source.st_ino == st.st_ino;
    errno = saved;
    if (!is_marker) {
        return false;
    }
    if (p4shim_syscall(SYS_unlinkat, to_dirfd, to, 0) == 0 && attempt < P4SHIM_ATTEMPTS_MAX) {
        return true;
    }
    *rc = -1;
    errno = EIO;
    return false;
}

#define LINK_BODY(from_at, to_at, flags, call) \
    bool was_file; \
    for (int attempt = 0;; attempt++) { \
        if (!is_linkable(from_at, from, flags, &was_file)) { \
            return -1; \
        } \
        int rc = call; \
        if (!links_again(&rc, was_file, from_at, from, link_look_flags(flags), to_at, to, \
                         attempt)) { \
            return rc; \
        } \
    }

#define MAKE_LINK(name) \
    P4SHIM_HOOK(LINK, name) { \
        LINK_BODY(AT_FDCWD, AT_FDCWD, 0, p4shim_real.name(from, to)) \
    }

#define MAKE_LINKAT(name) \
    P4SHIM_HOOK(LINKAT, name) { \
        LINK_BODY(from_dirfd, to_dirfd, flags, \
                  p4shim_real.name(from_dirfd, from, to_dirfd, to, flags)) \
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

struct renaming {
    int from_dirfd;
    const char *from;
    int to_dirfd;
    const char *to;
    struct p4shim_scratch *leaving; /* what to tell of a delete, or NULL */
    bool is_watched;                /* no marker may arrive */
    dev_t dev;                      /* and, for that to be told, what was seen last */
    ino_t ino;
};

/* A file that leaves the managed names is deleted from them, like one that was unlinked: else the
 * daemon, which sees only that it vanished, would put its marker back. A marker comes back first,
 * also a damaged one of a managed name, and one that is made meanwhile: that is looked at last. */
static int verdict_of_file(struct renaming *r, bool is_marker) {
    struct p4shim_scratch *s = p4shim_managed_name(r->from_dirfd, r->from);
    if (s == NULL && !is_marker) {
        return P4SHIM_LEAVE;
    }
    if (!is_readable(r->to_dirfd, r->to)) {
        if (s != NULL) {
            p4shim_scratch_release(s);
        }
        return P4SHIM_LEAVE;
    }
    struct stat st;
    const enum answer stays = is_here(r->to_dirfd, r->to, true);
    int verdict = s != NULL && stays == NO ? p4shim_why_untellable() : P4SHIM_AGAIN;
    bool is_there = sys_fstatat(r->from_dirfd, r->from, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (verdict == P4SHIM_AGAIN && stays != YES && is_there && S_ISSOCK(st.st_mode)) {
        verdict = p4shim_restore_marker(r->from_dirfd, r->from, AT_SYMLINK_NOFOLLOW);
        is_there = sys_fstatat(r->from_dirfd, r->from, &st, AT_SYMLINK_NOFOLLOW) == 0;
    }
    r->is_watched = is_there && stays != YES && verdict == P4SHIM_AGAIN;
    r->dev = is_there ? st.st_dev : 0;
    r->ino = is_there ? st.st_ino : 0;
    if (s != NULL && (verdict > 0 || stays != NO)) {
        p4shim_scratch_release(s);
        s = NULL;
    }
    r->leaving = s;
    return verdict;
}

/* A missing name that the store has comes back to be renamed. Anything that is none of ours is the
 * kernel's. False with errno. */
static bool is_renamable(struct renaming *r) {
    struct stat st;
    uint64_t size = 0;
    r->leaving = NULL;
    r->is_watched = false;
    if (!p4shim_is_on() || r->from == NULL || r->to == NULL) {
        return true;
    }
    const int saved = errno;
    int verdict = P4SHIM_LEAVE;
    bool is_file = sys_fstatat(r->from_dirfd, r->from, &st, AT_SYMLINK_NOFOLLOW) == 0;
    const bool is_marker = is_file && p4cache_marker_of_stat(&st, &size);
    if (is_file && S_ISDIR(st.st_mode)) {
        verdict = verdict_of_directory(r->from_dirfd, r->from, r->to_dirfd, r->to);
        is_file = false;
    } else if (!is_file && errno == ENOENT) {
        verdict = p4shim_restore_missing(r->from_dirfd, r->from, AT_SYMLINK_NOFOLLOW);
        is_file = verdict == P4SHIM_AGAIN;
    }
    if (is_file) {
        verdict = verdict_of_file(r, is_marker);
    }
    errno = verdict > 0 ? verdict : saved;
    return verdict <= 0;
}

/* Of the marker that arrived. Something else may have come to its new name meanwhile: that goes out
 * again, and has never been in the depot. */
static bool goes_back(const struct renaming *r, const struct stat *marker) {
    struct stat st;
    if (p4shim_syscall(SYS_renameat2, r->to_dirfd, r->to, r->from_dirfd, r->from,
                       RENAME_NOREPLACE) != 0 ||
        sys_fstatat(r->from_dirfd, r->from, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    }
    if (st.st_dev == marker->st_dev && st.st_ino == marker->st_ino) {
        return true;
    }
    (void)p4shim_syscall(SYS_renameat2, r->from_dirfd, r->from, r->to_dirfd, r->to,
                         RENAME_NOREPLACE);
    return false;
}

/* An eviction that commits between the last look and the kernel's rename lets a marker leave, and
 * with a delete told the object would follow the file. So it goes back: whether to call once more,
 * else *rc and errno are final. A delete is told only of what is known to have arrived, and is none. */
static bool renames_again(int *rc, struct renaming *r, int attempt) {
    const int saved = errno;
    struct stat st;
    uint64_t size = 0;
    const bool is_seen = *rc == 0 && r->is_watched &&
                         sys_fstatat(r->to_dirfd, r->to, &st, AT_SYMLINK_NOFOLLOW) == 0;
    const bool is_marker = is_seen && p4cache_marker_of_stat(&st, &size);
    if (r->leaving != NULL) {
        if (is_seen && !is_marker && st.st_dev == r->dev && st.st_ino == r->ino) {
            p4shim_tell_removed(r->leaving);
        }
        p4shim_scratch_release(r->leaving);
    }
    errno = saved;
    if (!is_marker) {
        return false;
    }
    if (goes_back(r, &st) && attempt < P4SHIM_ATTEMPTS_MAX) {
        errno = saved;
        return true;
    }
    *rc = -1;
    errno = EIO;
    return false;
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
    struct renaming r = {from_at, from, to_at, to, NULL, false, 0, 0}; \
    for (int attempt = 0;; attempt++) { \
        if (!is_renamable(&r)) { \
            return -1; \
        } \
        int rc = call; \
        if (!renames_again(&rc, &r, attempt)) { \
            return rc; \
        } \
    }

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
