/*
 * publish.c - a restored file takes its name.
 *
 * One call because the steps belong together and each would be a thread hop. Durable in this order:
 * the file's bytes and attributes, then its name. A power cut leaves the marker (or nothing) or the
 * whole file at the name. What p4d has put there meanwhile wins.
 */
#include "posix.h"

enum { PUBLISHED = 0, OCCUPIED = 1, CHANGED = 2 };

/*
 * A file that we may not give away (without CAP_CHOWN: an object that another host's user wrote) stays
 * our own, so that p4d can read it at least. What was to run as its owner does not run as us.
 */
static int set_attributes(int fd, const struct stat *st, const struct p4posix_attributes *want) {
    mode_t mode = (mode_t)want->mode;
    if (((int64_t)st->st_uid != want->uid || (int64_t)st->st_gid != want->gid) &&
        fchown(fd, (uid_t)want->uid, (gid_t)want->gid) != 0) {
        if (errno != EPERM && errno != EINVAL) { /* EINVAL: our user namespace has no such user */
            return failure();
        }
        mode &= (mode_t) ~(S_ISUID | S_ISGID);
    }
    /* After fchown, which takes setuid and setgid bits away. */
    if (fchmod(fd, mode) != 0) {
        return failure();
    }
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, timespec_of(want->mtime_ns)};
    if (futimens(fd, times) != 0 || fsync(fd) != 0) {
        return failure();
    }
    return 0;
}

/* While the file was flushed, its marker may have been removed and its number become that of another
 * file's marker, which was renamed here. That was made since: its ctime says so. */
static bool is_expected_marker(const struct stat *st, const struct p4posix_expect *expect) {
    return S_ISSOCK(st->st_mode) && st->st_ino == expect->ino &&
           time_ns(st->st_mtim) == expect->mtime_ns && time_ns(st->st_ctim) == expect->ctime_ns;
}

/* What is set in the moment of the exchange belongs to the file. */
static bool is_untouched(const struct stat *out, const struct stat *marker) {
    return out->st_mode == marker->st_mode && out->st_uid == marker->st_uid &&
           out->st_gid == marker->st_gid && time_ns(out->st_mtim) == time_ns(marker->st_mtim);
}

struct publication {
    const char *temp;
    const char *target;
    struct stat file;
    int fd; /* its descriptor */
    struct p4posix_shown *shown;
};

/* `target` is the file. What it may be by the time at which its name is durable is another question:
 * by this ctime the caller sees whether somebody has changed it since. */
static void note_shown(const struct publication *p) {
    struct stat st;
    p->shown->was_shown = 1;
    p->shown->ctime_ns = fstat(p->fd, &st) == 0 ? time_ns(st.st_ctim) : 0;
}

/* `marker` is pinned: what comes out of `target` is it, and lies at `temp`; or it is put back. */
static int exchange_with(const struct publication *p, const struct stat *marker) {
    const struct identity put = identity_of(&p->file);
    const struct identity wanted = identity_of(marker);
    int result = begin_exchange(p->temp, p->target, &put, &wanted);
    if (result < 0) {
        return result == -ENOENT ? CHANGED : result;
    }
    note_shown(p);
    struct stat out;
    result = result_of(lstat(p->temp, &out));
    if (result == 0 && is_same_inode(&out, marker) && is_untouched(&out, marker)) {
        return PUBLISHED;
    }
    const int back = put_back(p->temp, p->target, &p->file, 0);
    const int synced = back < 0 ? back : fsync_parent(p->target);
    if (synced < 0) {
        return synced;
    }
    if (back == PUT_BACK) {
        end_exchange(p->temp);
    }
    return result < 0 ? result : CHANGED;
}

/* PUBLISHED with the marker at `temp`, CHANGED with `target` as p4d has it, or -errno. */
static int replace_marker(const struct publication *p, const struct p4posix_expect *expect) {
    struct pinned marker;
    int result = pin(p->target, &marker);
    if (result < 0) {
        return result == -ENOENT || result == -ENOTDIR ? CHANGED : result;
    }
    result = is_expected_marker(&marker.st, expect) ? exchange_with(p, &marker.st) : CHANGED;
    unpin(&marker);
    return result;
}

/* RENAME_NOREPLACE is a link and an unlink without the moment of two names, in which a crash would
 * leave a file that counts as linked elsewhere. */
static int take_free_name(const struct publication *p) {
    const int result = rename_no_replace(p->temp, p->target);
    if (result == 0) {
        note_shown(p);
    }
    return result == -EEXIST ? OCCUPIED : result;
}

/* Once the name is taken: make that durable, and only then let the marker go. */
static int settle(const char *temp, const char *target) {
    const int result = fsync_parent(target);
    if (result < 0) {
        return result;
    }
    if (unlink(temp) != 0 && errno != ENOENT) {
        return failure();
    }
    end_exchange(temp);
    struct stat st;
    if (lstat(target, &st) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? CHANGED : failure();
    }
    return S_ISREG(st.st_mode) ? PUBLISHED : CHANGED;
}

/*
 * `expect`: of the marker, or NULL when nothing is expected at `target`. PUBLISHED: nothing is left at
 * `temp`. Else `temp` must be looked at before it is removed: it is the caller's own file iff its
 * inode is that of `fd`, and else for recover.c to judge. `shown` says whether the file had the name, if
 * only for a moment: somebody may have opened it for writing then, and else nobody has.
 */
P4POSIX_EXPORT int p4posix_publish(const char *temp, const char *target, int fd,
                                   const struct p4posix_attributes *attributes,
                                   const struct p4posix_expect *expect,
                                   struct p4posix_shown *shown) {
    struct publication p = {.temp = temp, .target = target, .fd = fd, .shown = shown};
    struct stat named;
    memset(shown, 0, sizeof *shown);
    if (fstat(fd, &p.file) != 0 || lstat(temp, &named) != 0) {
        return failure();
    }
    if (!S_ISREG(p.file.st_mode) || !is_same_inode(&p.file, &named)) {
        return -ESTALE;
    }
    int result = set_attributes(fd, &p.file, attributes);
    if (result == 0 && fstat(fd, &p.file) != 0) {
        result = failure();
    }
    if (result < 0) {
        return result;
    }
    result = expect == NULL ? take_free_name(&p) : replace_marker(&p, expect);
    return result == PUBLISHED ? settle(temp, target) : result;
}
