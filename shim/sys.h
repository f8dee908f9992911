/*
 * sys.h - the shim's own system calls.
 *
 * They go past libc's wrappers, hence past every hook (ours and others'), are no cancellation
 * points, and are safe in a signal handler. The test build counts them and lets the n-th fail.
 */
#ifndef P4SHIM_SYS_H
#define P4SHIM_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef P4SHIM_FAULTS
long p4shim_syscall(long number, ...);
void *p4shim_find(const char *name);
#else
#define p4shim_syscall syscall
#define p4shim_find(name) dlsym(RTLD_NEXT, name)
#endif

static inline int sys_openat(int dirfd, const char *path, int flags, mode_t mode) {
    return (int)p4shim_syscall(SYS_openat, dirfd, path, flags, mode);
}

static inline int sys_fstatat(int dirfd, const char *path, struct stat *st, int flags) {
    return (int)p4shim_syscall(SYS_newfstatat, dirfd, path, st, flags);
}

static inline int sys_fstat(int fd, struct stat *st) {
    return (int)p4shim_syscall(SYS_fstat, fd, st);
}

static inline ssize_t sys_readlinkat(int dirfd, const char *path, char *out, size_t cap) {
    return p4shim_syscall(SYS_readlinkat, dirfd, path, out, cap);
}

static inline int64_t p4shim_now_ms(clockid_t clock) {
    struct timespec now = {0, 0};
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What tells our descriptor from one that the host opened under its number. */
struct p4shim_fd {
    int fd;
    dev_t dev;
    ino_t ino;
    int slot; /* of a socket: see client.c */
};

/* What the shim opens. Anything else under its number was opened by the host in that moment. */
enum p4shim_fd_kind { P4SHIM_PATH, P4SHIM_SOCKET, P4SHIM_LOG };

/* No host opens a file so. */
#define P4SHIM_LOG_FLAGS (O_WRONLY | O_APPEND | O_NONBLOCK)

/* Fills in the identity of a descriptor that was just opened. False with errno when it is not of
 * that kind any more: then it is the host's, and stays open. */
bool p4shim_own(struct p4shim_fd *own, enum p4shim_fd_kind kind);

/* The same open file still? The host may have closed all its descriptors and opened its own. */
bool p4shim_is_ours(const struct p4shim_fd *own);

/* Closes it if it is ours; keeps errno. */
void p4shim_close(const struct p4shim_fd *own);

#define P4SHIM_FD_LINK_MAX 32 /* "/proc/self/fd/" and an int */
void p4shim_fd_link(char out[P4SHIM_FD_LINK_MAX], int fd);

/* Waits; a signal does not shorten it. */
void p4shim_pause_ms(int64_t ms);

#endif
