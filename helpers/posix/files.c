/*
 * files.c - calls on open files, and what makes them.
 */
#include "posix.h"

#include <malloc.h>
#include <sys/prctl.h>

#include "walk.h"

P4POSIX_EXPORT int p4posix_abi(int what) {
    switch (what) {
    case 0:
        return P4POSIX_ABI_VERSION;
    case 1:
        return (int)sizeof(struct p4posix_stat);
    case 2:
        return (int)sizeof(struct p4posix_attributes);
    case 3:
        return (int)sizeof(struct p4posix_marker);
    case 4:
        return (int)sizeof(struct p4posix_expect);
    case 5:
        return (int)sizeof(struct p4posix_walk_record);
    case 6:
        return (int)sizeof(struct p4posix_leaves);
    case 7:
        return (int)sizeof(struct p4posix_shown);
    default:
        return -EINVAL;
    }
}

/* Keeps other processes of the same user from reading the daemon's memory and its keys. */
P4POSIX_EXPORT int p4posix_not_dumpable(void) {
    return result_of(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

enum { LARGE_BYTES = 256 * 1024, TRIM_BYTES = 1024 * 1024 };

/*
 * Buffers of transfers lie in mappings of their own, which go back to the kernel as soon as they are
 * freed. glibc would raise that bound to 32 MiB at the first one that is freed; from then on they
 * would lie in heaps, where a small one that lives on keeps all of what was freed before it. What
 * the start left there goes back now.
 */
P4POSIX_EXPORT int p4posix_bound_memory(void) {
    if (mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) != 1 || mallopt(M_TRIM_THRESHOLD, TRIM_BYTES) != 1) {
        return -EINVAL;
    }
    malloc_trim(0);
    return 0;
}

/*
 * Opens what is now a regular file at `path`; never waits, as a pipe would make it. A marker gives
 * ENXIO; so do pipes and devices. O_NOATIME is for the file's owner and CAP_FOWNER only.
 */
int open_for_read(const char *path) {
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    int fd = open(path, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM) {
        fd = open(path, flags);
    }
    if (fd < 0) {
        return failure();
    }
    struct stat st;
    int result = result_of(fstat(fd, &st));
    if (result == 0 && !S_ISREG(st.st_mode)) {
        result = S_ISDIR(st.st_mode) ? -EISDIR : -ENXIO;
    }
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

P4POSIX_EXPORT int p4posix_open_read(const char *path) {
    return open_for_read(path);
}

int create_temp(const char *path, int mode) {
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    return result_of(open(path, flags, (mode_t)mode));
}

P4POSIX_EXPORT int p4posix_create_temp(const char *path, int mode) {
    return create_temp(path, mode);
}

/* Linux frees the number even when close fails: never again on EINTR. */
P4POSIX_EXPORT int p4posix_close(int fd) {
    const int result = result_of(close(fd));
    return result == -EINTR ? 0 : result;
}

/* Fewer than `bytes` only at the end of the file. */
int read_at(int fd, void *buffer, int bytes, int64_t offset) {
    int done = 0;
    while (done < bytes) {
        const ssize_t n =
            pread(fd, (char *)buffer + done, (size_t)(bytes - done), (off_t)(offset + done));
        if (n == 0) {
            break;
        }
        if (n > 0) {
            done += (int)n;
        } else if (errno != EINTR) {
            return failure();
        }
    }
    return done;
}

P4POSIX_EXPORT int p4posix_read(int fd, void *buffer, int bytes, int64_t offset) {
    return read_at(fd, buffer, bytes, offset);
}

/*
 * From this size on the kernel is told to begin with the disk: whoever writes here flushes
 * in the end, and should not wait then for all that could have gone before. Small files
 * are flushed at once anyway.
 */
#define WRITEBACK_BYTES_MIN 262144

int write_at(int fd, const void *buffer, int bytes, int64_t offset) {
    int done = 0;
    while (done < bytes) {
        const ssize_t n = pwrite(fd, (const char *)buffer + done, (size_t)(bytes - done),
                                 (off_t)(offset + done));
        if (n > 0) {
            done += (int)n;
        } else if (n == 0) {
            return -EIO;
        } else if (errno != EINTR) {
            return failure();
        }
    }
    return 0;
}

P4POSIX_EXPORT int p4posix_write(int fd, const void *buffer, int bytes, int64_t offset) {
    const int result = write_at(fd, buffer, bytes, offset);
    if (result == 0 && bytes >= WRITEBACK_BYTES_MIN) {
        /* A hint, which waits for nothing and takes no error from the flush to come. */
        (void)sync_file_range(fd, (off_t)offset, bytes, SYNC_FILE_RANGE_WRITE);
    }
    return result;
}

P4POSIX_EXPORT int p4posix_fsync(int fd) {
    return result_of(fsync(fd));
}

P4POSIX_EXPORT int p4posix_fdatasync(int fd) {
    return result_of(fdatasync(fd));
}

P4POSIX_EXPORT int p4posix_truncate(int fd, int64_t size_bytes) {
    int result;
    do {
        result = result_of(ftruncate(fd, (off_t)size_bytes));
    } while (result == -EINTR);
    return result;
}
