/*
 * stat.c - the stat family: a marker in the depot is told as the regular file that it stands for.
 *
 * A resident file costs one look at its type. A marker costs no daemon: its size is in its
 * atime. Only a damaged marker and a missing managed name are asked for.
 */
#define _GNU_SOURCE
#include <sys/sysmacros.h>

#include "real.h"
#include "shim.h"
#include "sys.h"

#define AT_FLAGS_OF_PATH (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)

void p4shim_dress(struct stat *st, uint64_t size) {
    st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | S_IFREG;
    st->st_size = (off_t)size;
    st->st_blocks = (blkcnt_t)((size + 511) / 512);
    st->st_atim = st->st_mtim; /* the marker's own holds the size */
}

/* Below the depot by its letters, without any letter that could lead out. */
static bool is_plainly_inside(const char *path) {
    const char *rel = p4shim_below(path, &p4shim_config.depot);
    if (rel == NULL) {
        rel = p4shim_below(path, p4shim_real_depot());
    }
    return rel != NULL && strncmp(rel, ".p4cache", 8) != 0 && strstr(rel, "..") == NULL;
}

/* True spares the way through /proc; false says nothing. */
static bool is_cheaply_inside(int dirfd, const char *path) {
    if (path[0] == '/') {
        return is_plainly_inside(path);
    }
    if (dirfd == AT_FDCWD) {
        return p4shim_is_cwd_inside(path);
    }
    return strchr(path, '/') == NULL && strcmp(path, "..") != 0 &&
           p4shim_is_directory_inside(dirfd);
}

bool p4shim_is_marker(int dirfd, const char *path, int at_flags, const struct stat *st,
                      uint64_t *size) {
    if (!p4cache_marker_of_stat(st, size)) {
        return false;
    }
    if (*size < P4SHIM_PLAUSIBLE_SIZE && path[0] != '\0' && is_cheaply_inside(dirfd, path)) {
        return true;
    }
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return *size < P4SHIM_PLAUSIBLE_SIZE;
    }
    const enum p4shim_place place = p4shim_locate(s, dirfd, path, at_flags);
    bool inside = place == P4SHIM_INSIDE;
    if (place == P4SHIM_NOWHERE || place == P4SHIM_GONE) {
        /* No /proc here, or replaced since: the check and the size are what is left. */
        inside = *size < P4SHIM_PLAUSIBLE_SIZE;
    }
    p4shim_scratch_release(s);
    return inside;
}

static void describe(struct stat *st, const struct p4shim_reply *reply) {
    memset(st, 0, sizeof *st);
    st->st_mode = S_IFREG | reply->mode;
    st->st_nlink = 1;
    st->st_uid = reply->uid;
    st->st_gid = reply->gid;
    st->st_blksize = 4096;
    int64_t sec = reply->mtime_ns / 1000000000;
    int64_t nsec = reply->mtime_ns % 1000000000;
    if (nsec < 0) {
        sec -= 1;
        nsec += 1000000000;
    }
    st->st_mtim = (struct timespec){.tv_sec = sec, .tv_nsec = nsec};
    st->st_ctim = st->st_mtim;
    p4shim_dress(st, reply->size);
}

/* A socket of a managed name whose check fails: the daemon knows whether it is a marker, and
 * stamps it again. When nobody can say, the kernel's answer stands: for p4d an error of stat
 * would mean "absent". */
static int amend_damaged(int dirfd, const char *path, int at_flags, struct stat *st) {
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return P4SHIM_LEAVE;
    }
    int verdict = P4SHIM_LEAVE;
    struct p4shim_reply reply;
    if (p4shim_locate(s, dirfd, path, at_flags) == P4SHIM_INSIDE &&
        S_ISSOCK(s->st.st_mode) &&
        p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all) &&
        p4shim_query(s, P4SHIM_DOUBTFUL, &reply) == P4SHIM_AGAIN) {
        struct stat now;
        uint64_t size = 0;
        if (sys_fstatat(dirfd, path, &now, at_flags) == 0) {
            *st = now;
        }
        if (S_ISSOCK(st->st_mode) && reply.has_stat) {
            size = p4cache_marker_of_stat(st, &size) ? size : reply.size;
            p4shim_dress(st, size);
        }
        verdict = P4SHIM_AGAIN;
    }
    p4shim_scratch_release(s);
    return verdict;
}

int p4shim_stat_missing(int dirfd, const char *path, int at_flags, struct stat *st) {
    if (!p4shim_may_lead_to_managed(dirfd, path, at_flags)) {
        return P4SHIM_LEAVE;
    }
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return P4SHIM_LEAVE;
    }
    int verdict = P4SHIM_LEAVE;
    struct p4shim_reply reply;
    if (p4shim_locate_name(s, dirfd, path, at_flags) == P4SHIM_INSIDE &&
        p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all)) {
        verdict = p4shim_query(s, P4SHIM_ABSENT, &reply);
        uint64_t size = 0;
        if (verdict != P4SHIM_AGAIN) {
        } else if (sys_fstatat(dirfd, path, st, at_flags) != 0) {
            if (reply.has_stat) {
                describe(st, &reply);
            } else {
                verdict = P4SHIM_LEAVE;
            }
        } else if (p4cache_marker_of_stat(st, &size)) {
            p4shim_dress(st, size);
        }
    }
    p4shim_scratch_release(s);
    return verdict;
}

/*
 * The kernel answered with a socket in *st, or, with is_missing, ENOENT. P4SHIM_AGAIN: *st is
 * what a resident file would say; P4SHIM_LEAVE: the kernel is right.
 */
static int amend(int dirfd, const char *path, int at_flags, struct stat *st, bool is_missing) {
    if (is_missing) {
        return p4shim_stat_missing(dirfd, path, at_flags, st);
    }
    uint64_t size = 0;
    if (!p4shim_is_marker(dirfd, path, at_flags, st, &size)) {
        return p4cache_marker_of_stat(st, &size)
                   ? P4SHIM_LEAVE
                   : amend_damaged(dirfd, path, at_flags, st);
    }
    if (p4shim_config.stat_restores && path[0] != '\0') {
        const int verdict = p4shim_restore_marker(dirfd, path, at_flags);
        struct stat now;
        if (verdict != P4SHIM_AGAIN) {
            return verdict;
        }
        if (sys_fstatat(dirfd, path, &now, at_flags) == 0) {
            *st = now;
        }
        if (!p4cache_marker_of_stat(st, &size)) {
            return P4SHIM_AGAIN;
        }
    }
    p4shim_dress(st, size);
    return P4SHIM_AGAIN;
}

/* Linux 6.11 takes NULL for the empty path of a descriptor. */
static const char *named(const char *path, int at_flags) {
    return path == NULL && (at_flags & AT_EMPTY_PATH) != 0 ? "" : path;
}

static int stat_slowly(int rc, int dirfd, const char *path, int at_flags, struct stat *st) {
    const int why = errno;
    path = named(path, at_flags);
    if (!p4shim_is_on() || path == NULL) {
        return rc;
    }
    const int verdict = amend(dirfd, path, at_flags & AT_FLAGS_OF_PATH, st, rc != 0);
    errno = verdict > 0 ? verdict : why;
    return verdict == P4SHIM_AGAIN ? 0 : verdict == P4SHIM_LEAVE ? rc : -1;
}

/* `why` is not looked at on the way of a resident file. */
static inline int after_stat(int rc, int dirfd, const char *path, int at_flags,
                             struct stat *st) {
    if (P4SHIM_LIKELY(rc == 0 ? !S_ISSOCK(st->st_mode) : errno != ENOENT)) {
        return rc;
    }
    return stat_slowly(rc, dirfd, path, at_flags, st);
}

#define MAKE_STAT(name) \
    P4SHIM_HOOK(STAT, name) { \
        return after_stat(p4shim_real.name(path, st), AT_FDCWD, path, 0, st); \
    }
#define MAKE_LSTAT(name) \
    P4SHIM_HOOK(LSTAT, name) { \
        return after_stat(p4shim_real.name(path, st), AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, st); \
    }
#define MAKE_FSTATAT(name) \
    P4SHIM_HOOK(FSTATAT, name) { \
        return after_stat(p4shim_real.name(dirfd, path, st, flags), dirfd, path, flags, st); \
    }
#define MAKE_XSTAT(name) \
    P4SHIM_HOOK(XSTAT, name) { \
        return after_stat(p4shim_real.name(version, path, st), AT_FDCWD, path, 0, st); \
    }
#define MAKE_LXSTAT(name) \
    P4SHIM_HOOK(LXSTAT, name) { \
        return after_stat(p4shim_real.name(version, path, st), AT_FDCWD, path, \
                          AT_SYMLINK_NOFOLLOW, st); \
    }
#define MAKE_FXSTATAT(name) \
    P4SHIM_HOOK(FXSTATAT, name) { \
        return after_stat(p4shim_real.name(version, dirfd, path, st, flags), dirfd, path, \
                          flags, st); \
    }

/* An O_PATH descriptor of a marker; a connected socket has no atime that passes the check. */
static int fstat_slowly(int fd, struct stat *st) {
    const int saved = errno;
    uint64_t size = 0;
    if (p4shim_is_on() && p4shim_is_marker(fd, "", AT_EMPTY_PATH, st, &size)) {
        p4shim_dress(st, size);
    }
    errno = saved;
    return 0;
}

static inline int after_fstat(int rc, int fd, struct stat *st) {
    return P4SHIM_LIKELY(rc != 0 || !S_ISSOCK(st->st_mode)) ? rc : fstat_slowly(fd, st);
}

#define MAKE_FSTAT(name) \
    P4SHIM_HOOK(FSTAT, name) { return after_fstat(p4shim_real.name(fd, st), fd, st); }
#define MAKE_FXSTAT(name) \
    P4SHIM_HOOK(FXSTAT, name) { \
        return after_fstat(p4shim_real.name(version, fd, st), fd, st); \
    }

static struct statx_timestamp statx_time(struct timespec t) {
    return (struct statx_timestamp){.tv_sec = t.tv_sec, .tv_nsec = (unsigned)t.tv_nsec};
}

static void describe_statx(struct statx *stx, const struct stat *st) {
    stx->stx_mask |= STATX_BASIC_STATS;
    stx->stx_mode = (unsigned short)st->st_mode;
    stx->stx_size = (uint64_t)st->st_size;
    stx->stx_blocks = (uint64_t)st->st_blocks;
    stx->stx_blksize = (unsigned)st->st_blksize;
    stx->stx_nlink = (unsigned)st->st_nlink;
    stx->stx_uid = st->st_uid;
    stx->stx_gid = st->st_gid;
    stx->stx_ino = st->st_ino;
    stx->stx_dev_major = major(st->st_dev);
    stx->stx_dev_minor = minor(st->st_dev);
    stx->stx_atime = statx_time(st->st_atim);
    stx->stx_mtime = statx_time(st->st_mtim);
    stx->stx_ctime = statx_time(st->st_ctim);
}

static int statx_slowly(int rc, int dirfd, const char *path, int flags, struct statx *stx) {
    struct stat st;
    const int why = errno;
    const int at_flags = flags & AT_FLAGS_OF_PATH;
    path = named(path, flags);
    if (!p4shim_is_on() || path == NULL ||
        (rc == 0 && sys_fstatat(dirfd, path, &st, at_flags) != 0)) {
        errno = why;
        return rc;
    }
    const int verdict = rc == 0 && !S_ISSOCK(st.st_mode)
                            ? P4SHIM_AGAIN /* restored meanwhile */
                            : amend(dirfd, path, at_flags, &st, rc != 0);
    if (verdict == P4SHIM_AGAIN) {
        if (rc != 0) {
            memset(stx, 0, sizeof *stx);
        }
        describe_statx(stx, &st);
    }
    errno = verdict > 0 ? verdict : why;
    return verdict == P4SHIM_AGAIN ? 0 : verdict == P4SHIM_LEAVE ? rc : -1;
}

#define MAKE_STATX(name) \
    P4SHIM_HOOK(STATX, name) { \
        const int rc = p4shim_real.name(dirfd, path, flags, mask, stx); \
        return P4SHIM_LIKELY(rc == 0 ? !S_ISSOCK(stx->stx_mode) : errno != ENOENT) \
                   ? rc \
                   : statx_slowly(rc, dirfd, path, flags, stx); \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_STAT_HOOKS(MAKE)
