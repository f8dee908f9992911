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

/* Whether a name is in the depot and, if `managed`, one that the daemon keeps. */
static bool is_here(int dirfd, const char *name, bool managed, bool otherwise) {
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return otherwise;
    }
    const bool is_inside =
        p4shim_locate_name(s, dirfd, name, AT_SYMLINK_NOFOLLOW) == P4SHIM_INSIDE &&
        (!managed || p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all));
    p4shim_scratch_release(s);
    return is_inside;
}

static bool leads_away(int dirfd, const char *name) { return !is_here(dirfd, name, true, false); }

/* What a directory of the depot holds would leave with it, markers and all, and the daemon would
 * take it for deleted. EXDEV, as between two file systems: mv copies it then, file by file. */
static bool takes_directory_out(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return true;
    }
    const bool leads_out =
        p4shim_locate(s, from_dirfd, from, AT_SYMLINK_NOFOLLOW) == P4SHIM_INSIDE &&
        p4shim_is_parent_outside(s, to_dirfd, to);
    p4shim_scratch_release(s);
    return leads_out;
}

/* A marker that is about to leave the managed names comes back first; a missing one that the
 * store has comes back to be renamed. Anything else is the kernel's. */
static bool is_renamable(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    struct stat st;
    uint64_t size = 0;
    if (!p4shim_is_on() || from == NULL || to == NULL) {
        return true;
    }
    const int saved = errno;
    int verdict = P4SHIM_LEAVE;
    if (sys_fstatat(from_dirfd, from, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        verdict = errno == ENOENT ? p4shim_restore_missing(from_dirfd, from, AT_SYMLINK_NOFOLLOW) : P4SHIM_LEAVE;
    } else if (S_ISDIR(st.st_mode)) {
        verdict = takes_directory_out(from_dirfd, from, to_dirfd, to) ? EXDEV : P4SHIM_LEAVE;
    } else if (p4cache_marker_of_stat(&st, &size) && leads_away(to_dirfd, to)) {
        verdict = p4shim_restore_marker(from_dirfd, from, AT_SYMLINK_NOFOLLOW);
    }
    errno = verdict > 0 ? verdict : saved;
    return verdict <= 0;
}

/* A file that left the managed names is deleted from them, like one that was unlinked: else the
 * daemon, which sees only that it vanished, would put its marker back. */
static void tell_if_away(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    const int saved = errno;
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s != NULL) {
        if (p4shim_locate_name(s, from_dirfd, from, AT_SYMLINK_NOFOLLOW) == P4SHIM_INSIDE &&
            p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all) &&
            leads_away(to_dirfd, to)) {
            p4shim_tell_removed(s);
        }
        p4shim_scratch_release(s);
    }
    errno = saved;
}

static int after_rename(int rc, int from_dirfd, const char *from, int to_dirfd, const char *to) {
    if (rc == 0 && p4shim_is_on() && p4shim_may_lead_to_managed(from_dirfd, from, AT_SYMLINK_NOFOLLOW)) {
        tell_if_away(from_dirfd, from, to_dirfd, to);
    }
    return rc;
}

/* An exchange is told to the daemon as two renames, each over a file that the other one still
 * needs. So the depot is a file system that has none: callers know EINVAL, and do without. */
static bool is_exchange_here(int from_dirfd, const char *from, int to_dirfd, const char *to,
                             unsigned flags) {
    if ((flags & RENAME_EXCHANGE) == 0 || !p4shim_is_on() || from == NULL || to == NULL ||
        (!is_here(from_dirfd, from, false, true) && !is_here(to_dirfd, to, false, true))) {
        return false;
    }
    errno = EINVAL;
    return true;
}

#define MAKE_RENAME(name) \
    P4SHIM_HOOK(RENAME, name) { \
        return is_renamable(AT_FDCWD, from, AT_FDCWD, to) \
                   ? after_rename(p4shim_real.name(from, to), AT_FDCWD, from, AT_FDCWD, to) \
                   : -1; \
    }

#define MAKE_RENAMEAT(name) \
    P4SHIM_HOOK(RENAMEAT, name) { \
        return is_renamable(from_dirfd, from, to_dirfd, to) \
                   ? after_rename(p4shim_real.name(from_dirfd, from, to_dirfd, to), from_dirfd, \
                                  from, to_dirfd, to) \
                   : -1; \
    }

#define MAKE_RENAMEAT2(name) \
    P4SHIM_HOOK(RENAMEAT2, name) { \
        return !is_exchange_here(from_dirfd, from, to_dirfd, to, flags) && \
                       is_renamable(from_dirfd, from, to_dirfd, to) \
                   ? after_rename(p4shim_real.name(from_dirfd, from, to_dirfd, to, flags), \
                                  from_dirfd, from, to_dirfd, to) \
                   : -1; \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_CHANGE_HOOKS(MAKE)
