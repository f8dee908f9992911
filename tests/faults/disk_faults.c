/*
 * disk_faults.c - preloaded into the daemon by the tests: system calls on the disk fail as told, and the
 * wall clock is another one. A file that is mapped into memory says which and how (disk_faults.ts), and
 * is told when a file was written and when it was synced.
 *
 * Only calls that go through libc are seen, which are all of libp4posix.so's, LMDB's and Deno's that
 * matter here. Other programs that inherit the library are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int32_t left; /* calls that are still to fail; -1: all; 0: none */
    volatile int32_t error;
    char op[24];    /* of the call: open, write, read, sync, rename, unlink, make */
    char path[256]; /* part of it */
    volatile int32_t hits;
    int32_t unused;
    volatile int64_t clock_ns; /* added to the wall clock */
    char watched[256];         /* part of the path of files that are written and synced; empty: none */
    volatile int64_t moments;  /* how many there were; each of the following is one of them */
    volatile int64_t written;  /* the end of the last write that a sync has to follow */
    volatile int64_t synced;   /* the beginning of the last sync that worked */
    volatile int64_t through;  /* the end of the last write through O_DSYNC that worked */
};
_Static_assert(sizeof(struct control) == 592, "disk_faults.ts writes it");

static struct control *control;

__attribute__((constructor)) static void open_control(void) {
    const char *path = getenv("P4CACHE_TEST_FAULTS");
    if (path == NULL || strcmp(program_invocation_short_name, "deno") != 0) {
        return;
    }
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    control = map == MAP_FAILED ? NULL : map;
}

/* Sets errno if this call is to fail. */
static bool fails(const char *op, const char *path) {
    if (control == NULL || control->left == 0 || strcmp(control->op, op) != 0 || path == NULL ||
        strstr(path, control->path) == NULL) {
        return false;
    }
    if (control->left > 0) {
        __sync_fetch_and_sub(&control->left, 1);
    }
    __sync_fetch_and_add(&control->hits, 1);
    errno = control->error;
    return true;
}

enum { PATH_BYTES = 4097 };

static bool path_of(int fd, char path[PATH_BYTES]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t bytes = readlink(link, path, PATH_BYTES - 1);
    if (bytes < 0) {
        return false;
    }
    path[bytes] = '\0';
    return true;
}

static bool fails_on(const char *op, int fd) {
    char path[PATH_BYTES];
    return control != NULL && control->left != 0 && strcmp(control->op, op) == 0 &&
           path_of(fd, path) && fails(op, path);
}

static int64_t moment(void) {
    return __sync_add_and_fetch(&control->moments, 1);
}

/* When a call on a watched file began; 0: it is none. */
static int64_t begin(const char *op, int fd) {
    char path[PATH_BYTES];
    if (control == NULL || control->watched[0] == '\0' || strcmp(op, "read") == 0 ||
        !path_of(fd, path) || strstr(path, control->watched) == NULL) {
        return 0;
    }
    return moment();
}

/* A write that failed may have written. */
static void end(const char *op, int fd, int64_t begun, bool worked) {
    if (begun == 0) {
        return;
    }
    const int error = errno;
    if (strcmp(op, "sync") == 0) {
        control->synced = worked ? begun : control->synced;
    } else if (worked && (fcntl(fd, F_GETFL) & O_DSYNC) != 0) {
        control->through = moment();
    } else {
        control->written = moment();
    }
    errno = error;
}

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (real == NULL) {                                                                            \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                 \
    }

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        REAL(int, name, const char *, int, ...)                                                    \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        const mode_t mode = va_arg(args, mode_t);                                                  \
        va_end(args);                                                                              \
        return fails("open", path) ? -1 : real(path, flags, mode);                                 \
    }
OPEN(open)
OPEN(open64)

#define ON_FD(type, name, op, parameters, arguments)                                               \
    type name parameters {                                                                         \
        static type(*real) parameters;                                                             \
        if (real == NULL) {                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        }                                                                                          \
        if (fails_on(op, fd)) {                                                                    \
            return -1;                                                                             \
        }                                                                                          \
        const int64_t begun = begin(op, fd);                                                       \
        const type result = real arguments;                                                        \
        end(op, fd, begun, result >= 0);                                                           \
        return result;                                                                             \
    }
ON_FD(ssize_t, pwrite, "write", (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
ON_FD(ssize_t, pwrite64, "write", (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at))
ON_FD(ssize_t, pwritev, "write", (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
ON_FD(ssize_t, writev, "write", (int fd, const struct iovec *v, int n), (fd, v, n))
ON_FD(ssize_t, write, "write", (int fd, const void *b, size_t n), (fd, b, n))
ON_FD(ssize_t, pread, "read", (int fd, void *b, size_t n, off_t at), (fd, b, n, at))
ON_FD(ssize_t, pread64, "read", (int fd, void *b, size_t n, off64_t at), (fd, b, n, at))
ON_FD(int, fsync, "sync", (int fd), (fd))
ON_FD(int, fdatasync, "sync", (int fd), (fd))

#define ON_PATH(name, op, parameters, arguments)                                                   \
    int name parameters {                                                                          \
        static int(*real) parameters;                                                              \
        if (real == NULL) {                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        }                                                                                          \
        return fails(op, path) ? -1 : real arguments;                                              \
    }
ON_PATH(rename, "rename", (const char *path, const char *to), (path, to))
ON_PATH(renameat2, "rename", (int d, const char *path, int e, const char *to, unsigned f),
        (d, path, e, to, f))
ON_PATH(unlink, "unlink", (const char *path), (path))
ON_PATH(mknod, "make", (const char *path, mode_t mode, dev_t dev), (path, mode, dev))
ON_PATH(mkdir, "make", (const char *path, mode_t mode), (path, mode))

int symlink(const char *text, const char *path) {
    REAL(int, symlink, const char *, const char *)
    return fails("make", path) ? -1 : real(text, path);
}

static bool is_wall(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, clock_gettime, clockid_t, struct timespec *)
    const int result = real(clock, now);
    if (result == 0 && control != NULL && is_wall(clock)) {
        const int64_t ns = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + control->clock_ns;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) {
        return -1;
    }
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
