/*
 * marker.c - makes the marker of an evicted file (helpers/marker.h has the encoding).
 */
#include "posix.h"

#include "../marker.h"

static int stamp_marker(const char *path, const struct p4posix_marker *marker,
                        const struct timespec *atime) {
    const struct p4posix_attributes *want = &marker->attributes;
    struct stat st;
    if (lstat(path, &st) != 0) {
        return failure();
    }
    if (((int64_t)st.st_uid != want->uid || (int64_t)st.st_gid != want->gid) &&
        lchown(path, (uid_t)want->uid, (gid_t)want->gid) != 0) {
        return failure();
    }
    /* After lchown, which takes setuid and setgid bits away. */
    if (fchmodat(AT_FDCWD, path, (mode_t)want->mode, AT_SYMLINK_NOFOLLOW) != 0) {
        return failure();
    }
    const struct timespec times[2] = {*atime, timespec_of(want->mtime_ns)};
    if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0 || lstat(path, &st) != 0) {
        return failure();
    }
    /* A file system that drops nanoseconds cannot hold markers. */
    uint64_t size_bytes;
    if (!p4cache_marker_of_stat(&st, &size_bytes) ||
        size_bytes != (uint64_t)marker->size_bytes || time_ns(st.st_mtim) != want->mtime_ns) {
        return -EOPNOTSUPP;
    }
    return 0;
}

/* Leaves nothing behind on failure. EEXIST if there is anything at `path`. */
int create_marker(const char *path, const struct p4posix_marker *marker) {
    struct timespec atime;
    if (marker->size_bytes < 0 ||
        !p4cache_marker_encode((uint64_t)marker->size_bytes, &atime)) {
        return -EFBIG;
    }
    if (mknod(path, S_IFSOCK | 0600, 0) != 0) {
        return failure();
    }
    const int result = stamp_marker(path, marker, &atime);
    if (result < 0) {
        unlink(path);
    }
    return result;
}

P4POSIX_EXPORT int p4posix_make_marker(const char *path, const struct p4posix_marker *marker) {
    return create_marker(path, marker);
}
