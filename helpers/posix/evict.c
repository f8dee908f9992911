/*
 * evict.c - a marker takes the place of a file whose bytes are in the store.
 *
 * Against a power cut: the marker is exchanged for the file, so the name always holds one of them,
 * and the file is unlinked only after the exchange is on disk.
 *
 * Against a writer: a read lease is refused while anybody has the file open for writing, also by a
 * shared mapping. While we hold it, an open for writing waits in the kernel and we see it
 * (F_GETLEASE answers what the lease is to become); then the file goes back to its name before the
 * lease ends, and the writer never knows. One gap is left: an open that has looked up the name before
 * the exchange and has not asked for the lease yet when we end it. SETTLE_NS keeps the lease that
 * long after the exchange, against a gap of some instructions.
 */
#include "posix.h"

#include <signal.h>
#include <time.h>

enum { EVICTED = 0, BUSY = 1, CHANGED = 2 };

/* Longer than a thread between two steps of one open(2) waits for a processor, short against fsync. */
#define SETTLE_NS 5000000

/*
 * 0, BUSY when somebody writes, or -errno. The kernel announces a writer to the lease's holder by
 * SIGIO, which ends a process that does not expect it; SIGURG is ignored unless asked for.
 */
static int take_lease(int fd) {
    if (fcntl(fd, F_SETSIG, SIGURG) != 0) {
        return failure();
    }
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        return 0;
    }
    return errno == EAGAIN ? BUSY : failure();
}

static void end_lease(int fd) {
    fcntl(fd, F_SETLEASE, F_UNLCK);
}

static bool is_writer_waiting(int fd) {
    return fcntl(fd, F_GETLEASE) != F_RDLCK;
}

/* 1 when somebody has `path` open for writing, 0 when not. Its owner or CAP_LEASE only. */
P4POSIX_EXPORT int p4posix_has_writer(const char *path) {
    const int fd = open_for_read(path);
    if (fd < 0) {
        return fd;
    }
    const int result = take_lease(fd);
    if (result == 0) {
        end_lease(fd);
    }
    close(fd);
    return result;
}

/* The exchange itself changes ctime: asked before it only. */
static bool is_unchanged(const struct stat *st, const struct p4posix_expect *expect) {
    return S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_ino == expect->ino &&
           st->st_size == expect->size_bytes && time_ns(st->st_mtim) == expect->mtime_ns;
}

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return time_ns(now);
}

static void settle_until(int64_t end_ns) {
    const struct timespec end = timespec_of(end_ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {
    }
}

struct eviction {
    const char *target;
    const char *aside;
    int fd; /* of the file, with the lease */
    const struct p4posix_expect *expect;
    struct stat file; /* before the exchange */
    struct pinned marker;
};

/* A chmod that came after the decision: the marker has the mode of before. */
static bool has_same_owner(const struct stat *a, const struct stat *b) {
    return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid;
}

/* EVICTED while the file at `aside` is what was decided on, and nobody waits to write it. */
static int look_at_aside(const struct eviction *e) {
    struct stat out;
    if (lstat(e->aside, &out) != 0) {
        return failure();
    }
    if (!is_unchanged(&out, e->expect) || !has_same_owner(&out, &e->file) ||
        out.st_dev != e->marker.st.st_dev) {
        return CHANGED;
    }
    return is_writer_waiting(e->fd) ? BUSY : EVICTED;
}

/* From here the marker has the name. Anything but EVICTED sends the file back. */
static int commit(const struct eviction *e) {
    const int64_t end_ns = monotonic_ns() + SETTLE_NS;
    int result = look_at_aside(e);
    if (result == EVICTED) {
        result = fsync_parent(e->target);
    }
    if (result == EVICTED) {
        settle_until(end_ns);
        result = look_at_aside(e);
    }
    if (result == EVICTED) {
        result = result_of(unlink(e->aside));
    }
    if (result == EVICTED) {
        end_exchange(e->aside);
        return EVICTED;
    }
    const int back = put_back(e->aside, e->target, &e->marker.st, 0);
    const int synced = back < 0 ? back : fsync_parent(e->target);
    if (synced < 0 || back == PUT_BACK_NEWER) {
        return synced < 0 ? synced : result;
    }
    if (unlink(e->aside) != 0 && errno != ENOENT) {
        return failure();
    }
    end_exchange(e->aside);
    return result;
}

static int exchange_for_marker(struct eviction *e, const struct p4posix_marker *marker,
                               struct p4posix_stat *placed) {
    int result = create_marker(e->aside, marker);
    if (result < 0) {
        return result;
    }
    result = pin(e->aside, &e->marker);
    if (result == 0) {
        const struct identity put = identity_of(&e->marker.st);
        const struct identity wanted = {.type = S_IFREG,
                                        .ino = e->expect->ino,
                                        .size_bytes = e->expect->size_bytes,
                                        .mtime_ns = e->expect->mtime_ns};
        result = begin_exchange(e->aside, e->target, &put, &wanted);
    }
    if (result < 0) {
        unlink(e->aside);
        unpin(&e->marker);
        return result == -ENOENT ? CHANGED : result;
    }
    result = commit(e);
    struct stat now;
    if (result == EVICTED) {
        fill_stat(placed, fstat(e->marker.fd, &now) == 0 ? &now : &e->marker.st);
    }
    unpin(&e->marker);
    return result;
}

static int evict_under_lease(struct eviction *e, const struct p4posix_marker *marker,
                             struct p4posix_stat *placed) {
    if (fstat(e->fd, &e->file) != 0) {
        return failure();
    }
    if (!is_unchanged(&e->file, e->expect) || time_ns(e->file.st_ctim) != e->expect->ctime_ns) {
        return CHANGED;
    }
    return exchange_for_marker(e, marker, placed);
}

/*
 * EVICTED: the marker has taken the name, durably, and nothing is at `aside`. Its stat is in `placed`: by
 * now it may have another name, or none. BUSY, CHANGED: `target` is as its writers have it, and
 * nothing is at `aside` but a version that recover.c is to keep. -errno: what is at `aside` must be
 * kept, unless it is a marker. Both names on one file system; `aside` must be free and no one else's.
 */
P4POSIX_EXPORT int p4posix_put_marker(const char *target, const char *aside,
                                      const struct p4posix_expect *expect,
                                      const struct p4posix_marker *marker,
                                      struct p4posix_stat *placed) {
    struct eviction e = {.target = target, .aside = aside, .expect = expect, .marker = {.fd = -1}};
    e.fd = open_for_read(target);
    if (e.fd < 0) {
        const bool is_gone = e.fd == -ENOENT || e.fd == -ENOTDIR || e.fd == -ENXIO ||
                             e.fd == -ELOOP || e.fd == -EISDIR;
        return is_gone ? CHANGED : e.fd;
    }
    int result = take_lease(e.fd);
    if (result == 0) {
        result = evict_under_lease(&e, marker, placed);
        end_lease(e.fd);
    }
    close(e.fd);
    return result == EVICTED ? fsync_parent(aside) : result;
}
