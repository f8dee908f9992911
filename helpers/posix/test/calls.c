/*
 * calls.c - the wrapped system calls, and what the tests share.
 */
#include "calls.h"

#include <stdarg.h>
#include <time.h>

struct p4posix_marker marker_of_1 = {.attributes = {.mode = 0640, .mtime_ns = 7},
                                     .size_bytes = 1};

bool has_short_symlinks;

static char scratch[] = "/tmp/p4cache-posix.XXXXXX";

void enter_scratch(void) {
    marker_of_1.attributes.uid = getuid();
    marker_of_1.attributes.gid = getgid();
    CHECK(mkdtemp(scratch) != NULL && chdir(scratch) == 0);
    CHECK(mkdir("depot", 0755) == 0 && mkdir("own", 0755) == 0);
}

void leave_scratch(void) {
    CHECK(rmdir("depot") == 0 && rmdir("own") == 0 && chdir("/") == 0 && rmdir(scratch) == 0);
}

int64_t size_at(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : -1;
}

int make_file(const char *path, int bytes) {
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    CHECK(fd >= 0 && ftruncate(fd, bytes) == 0);
    return fd;
}

struct p4posix_expect expect_of(const struct stat *st) {
    return (struct p4posix_expect){.ino = st->st_ino,
                                   .size_bytes = st->st_size,
                                   .mtime_ns = time_ns(st->st_mtim),
                                   .ctime_ns = time_ns(st->st_ctim)};
}

struct p4posix_expect make_version_1(void) {
    struct stat st;
    close(make_file("depot/target", 1));
    CHECK(stat("depot/target", &st) == 0);
    return expect_of(&st);
}

int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    before_call("renameat2");
    return __real_renameat2(from_dir, from, to_dir, to, flags);
}

int __real_lstat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st) {
    before_call("lstat");
    return __real_lstat(path, st);
}

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st) {
    before_call("fstat");
    return __real_fstat(fd, st);
}

int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __wrap_unlink(const char *path) {
    before_call("unlink");
    return __real_unlink(path);
}

int __real_symlink(const char *text, const char *path);
int __wrap_symlink(const char *text, const char *path);
int __wrap_symlink(const char *text, const char *path) {
    before_call("symlink");
    if (has_short_symlinks) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return __real_symlink(text, path);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) {
    before_call("rename");
    return __real_rename(from, to);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    before_call("open");
    return __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    const long argument = va_arg(args, long);
    va_end(args);
    before_call("fcntl");
    return __real_fcntl(fd, command, argument);
}

/* The order of what reaches the disk is not in question here. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
    before_call("fsync");
    return fd >= 0 ? 0 : -1;
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *end,
                           struct timespec *left);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *end,
                           struct timespec *left) {
    (void)clock, (void)flags, (void)end, (void)left;
    before_call("clock_nanosleep");
    return 0;
}
