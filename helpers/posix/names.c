/*
 * names.c - calls that take or give names: stat, make, remove, rename, attributes, space.
 */
#include "posix.h"

#include <sys/statvfs.h>

static int64_t kind_of(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return KIND_FILE;
    case S_IFDIR:
        return KIND_DIRECTORY;
    case S_IFLNK:
        return KIND_SYMLINK;
    case S_IFSOCK:
        return KIND_SOCKET;
    default:
        return KIND_OTHER;
    }
}

void fill_stat(struct p4posix_stat *out, const struct stat *st) {
    *out = (struct p4posix_stat){
        .kind = kind_of(st->st_mode),
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .nlink = (int64_t)st->st_nlink,
        .size_bytes = st->st_size,
        .blocks = st->st_blocks,
        .mtime_ns = time_ns(st->st_mtim),
        .ctime_ns = time_ns(st->st_ctim),
        .atime_ns = time_ns(st->st_atim),
        .ino = st->st_ino,
        .dev = st->st_dev,
    };
}

P4POSIX_EXPORT int p4posix_lstat(const char *path, struct p4posix_stat *out) {
    struct stat st;
    if (lstat(path, &st) != 0) {
        return failure();
    }
    fill_stat(out, &st);
    return 0;
}

P4POSIX_EXPORT int p4posix_fstat(int fd, struct p4posix_stat *out) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return failure();
    }
    fill_stat(out, &st);
    return 0;
}

/* A descriptor of the directory that holds `path`. */
static int open_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return -EINVAL;
    }
    char parent[PATH_MAX];
    const size_t bytes = slash == path ? 1 : (size_t)(slash - path);
    if (bytes >= sizeof parent) {
        return -ENAMETOOLONG;
    }
    memcpy(parent, path, bytes);
    parent[bytes] = '\0';
    return result_of(open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

int fsync_parent(const char *path) {
    const int fd = open_parent(path);
    if (fd < 0) {
        return fd;
    }
    const int result = result_of(fsync(fd));
    close(fd);
    return result;
}

P4POSIX_EXPORT int p4posix_fsync_path(const char *path) {
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return failure();
    }
    const int result = result_of(fsync(fd));
    close(fd);
    return result;
}

static int make_directory(const char *path, mode_t mode) {
    if (mkdir(path, mode) == 0) {
        return fsync_parent(path);
    }
    const int result = failure();
    struct stat st;
    /* EROFS and EACCES may be said of a directory that is there. A symlink to one will do. */
    if (stat(path, &st) != 0) {
        return result;
    }
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

P4POSIX_EXPORT int p4posix_make_dirs(const char *path, int mode) {
    char prefix[PATH_MAX];
    const size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof prefix) {
        return bytes == 0 ? -ENOENT : -ENAMETOOLONG;
    }
    memcpy(prefix, path, bytes + 1);
    for (size_t i = 1; i <= bytes; i++) {
        if ((path[i] != '/' && path[i] != '\0') || path[i - 1] == '/') {
            continue;
        }
        prefix[i] = '\0';
        const int result = make_directory(prefix, (mode_t)mode);
        if (result < 0) {
            return result;
        }
        prefix[i] = path[i];
    }
    return 0;
}

P4POSIX_EXPORT int p4posix_unlink(const char *path) {
    return result_of(unlink(path));
}

P4POSIX_EXPORT int p4posix_rmdir(const char *path) {
    return result_of(rmdir(path));
}

P4POSIX_EXPORT int p4posix_rename(const char *from, const char *to) {
    return result_of(rename(from, to));
}

P4POSIX_EXPORT int p4posix_link(const char *from, const char *to) {
    return result_of(linkat(AT_FDCWD, from, AT_FDCWD, to, 0));
}

P4POSIX_EXPORT int p4posix_chmod(const char *path, int mode) {
    return result_of(fchmodat(AT_FDCWD, path, (mode_t)mode, AT_SYMLINK_NOFOLLOW));
}

P4POSIX_EXPORT int p4posix_chown(const char *path, int64_t uid, int64_t gid) {
    return result_of(lchown(path, (uid_t)uid, (gid_t)gid));
}

P4POSIX_EXPORT int p4posix_set_times(const char *path, int64_t atime_ns, int64_t mtime_ns) {
    const struct timespec keep = {.tv_nsec = UTIME_OMIT};
    const struct timespec times[2] = {
        atime_ns == P4POSIX_TIME_KEEP ? keep : timespec_of(atime_ns),
        mtime_ns == P4POSIX_TIME_KEEP ? keep : timespec_of(mtime_ns),
    };
    return result_of(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}

/* out: bytes in all, bytes that an unprivileged process may still take. */
P4POSIX_EXPORT int p4posix_statvfs(const char *path, uint64_t out[2]) {
    struct statvfs fs;
    if (statvfs(path, &fs) != 0) {
        return failure();
    }
    out[0] = (uint64_t)fs.f_blocks * fs.f_frsize;
    out[1] = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}
