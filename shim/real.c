/*
 * real.c - finding libc's own functions.
 *
 * The table starts with raw system calls, so that a hook works before our constructor has run
 * and where libc has no such name (stat before glibc 2.33, __xstat after it). dlsym then puts
 * libc's functions in, or those of another preloaded library: we stand in a chain.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>

#include "../helpers/old_glibc.h"
#include "real.h"
#include "shim.h"
#include "sys.h"

P4CACHE_OLD_GLIBC(dlsym);

/* The mode is harmless where the flags do not ask for it: the hook passes 0 then. */
static int raw_open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return sys_openat(AT_FDCWD, path, flags, mode);
}

static int raw_openat(int dirfd, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = va_arg(list, mode_t);
    va_end(list);
    return sys_openat(dirfd, path, flags, mode);
}

static int raw_open_2(const char *path, int flags) {
    return sys_openat(AT_FDCWD, path, flags, 0);
}

static int raw_openat_2(int dirfd, const char *path, int flags) {
    return sys_openat(dirfd, path, flags, 0);
}

static int raw_creat(const char *path, mode_t mode) {
    return sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

static int raw_stat(const char *path, struct stat *st) {
    return sys_fstatat(AT_FDCWD, path, st, 0);
}

static int raw_lstat(const char *path, struct stat *st) {
    return sys_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

static int raw_fstat(int fd, struct stat *st) {
    return sys_fstat(fd, st);
}

static int raw_fstatat(int dirfd, const char *path, struct stat *st, int flags) {
    return sys_fstatat(dirfd, path, st, flags);
}

static bool is_known_version(int version) {
    if (version == 0 || version == 1) { /* _STAT_VER_KERNEL and _STAT_VER_LINUX: one layout */
        return true;
    }
    errno = EINVAL;
    return false;
}

static int raw_xstat(int version, const char *path, struct stat *st) {
    return is_known_version(version) ? raw_stat(path, st) : -1;
}

static int raw_lxstat(int version, const char *path, struct stat *st) {
    return is_known_version(version) ? raw_lstat(path, st) : -1;
}

static int raw_fxstat(int version, int fd, struct stat *st) {
    return is_known_version(version) ? raw_fstat(fd, st) : -1;
}

static int raw_fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags) {
    return is_known_version(version) ? raw_fstatat(dirfd, path, st, flags) : -1;
}

static int raw_statx(int dirfd, const char *path, int flags, unsigned mask,
                     struct statx *stx) {
    return (int)p4shim_syscall(SYS_statx, dirfd, path, flags, mask, stx);
}

static ssize_t raw_getdents64(int fd, void *buffer, size_t bytes) {
    return p4shim_syscall(SYS_getdents64, fd, buffer, bytes);
}

static int raw_unlinkat(int dirfd, const char *path, int flags) {
    return (int)p4shim_syscall(SYS_unlinkat, dirfd, path, flags);
}

static int raw_unlink(const char *path) {
    return raw_unlinkat(AT_FDCWD, path, 0);
}

static int raw_remove(const char *path) {
    const int rc = raw_unlink(path);
    return rc != 0 && errno == EISDIR ? raw_unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : rc;
}

static int raw_truncate(const char *path, off_t size) {
    return (int)p4shim_syscall(SYS_truncate, path, size);
}

static int raw_linkat(int from_dirfd, const char *from, int to_dirfd, const char *to,
                      int flags) {
    return (int)p4shim_syscall(SYS_linkat, from_dirfd, from, to_dirfd, to, flags);
}

static int raw_link(const char *from, const char *to) {
    return raw_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int raw_renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to,
                         unsigned flags) {
    return (int)p4shim_syscall(SYS_renameat2, from_dirfd, from, to_dirfd, to, flags);
}

static int raw_renameat(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    return raw_renameat2(from_dirfd, from, to_dirfd, to, 0);
}

static int raw_rename(const char *from, const char *to) {
    return raw_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int raw_utimensat(int dirfd, const char *path, const struct timespec *times,
                         int flags) {
    return (int)p4shim_syscall(SYS_utimensat, dirfd, path, times, flags);
}

static int raw_futimes(int dirfd, const char *path, const struct timeval *times, int flags) {
    struct timespec ts[2];
    for (int i = 0; times != NULL && i < 2; i++) {
        if (times[i].tv_usec < 0 || times[i].tv_usec > 999999) {
            errno = EINVAL;
            return -1;
        }
        ts[i] = (struct timespec){times[i].tv_sec, times[i].tv_usec * 1000};
    }
    return raw_utimensat(dirfd, path, times == NULL ? NULL : ts, flags);
}

static int raw_futimesat(int dirfd, const char *path, const struct timeval *times) {
    return raw_futimes(dirfd, path, times, 0);
}

static int raw_utimes(const char *path, const struct timeval *times) {
    return raw_futimes(AT_FDCWD, path, times, 0);
}

static int raw_lutimes(const char *path, const struct timeval *times) {
    return raw_futimes(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static int raw_utime(const char *path, const struct utimbuf *times) {
    struct timespec ts[2] = {{0, 0}, {0, 0}};
    if (times != NULL) {
        ts[0].tv_sec = times->actime;
        ts[1].tv_sec = times->modtime;
    }
    return raw_utimensat(AT_FDCWD, path, times == NULL ? NULL : ts, 0);
}

static int raw_execve(const char *path, char *const argv[], char *const envp[]) {
    return (int)p4shim_syscall(SYS_execve, path, argv, envp);
}

static int raw_execveat(int dirfd, const char *path, char *const argv[], char *const envp[],
                        int flags) {
    return (int)p4shim_syscall(SYS_execveat, dirfd, path, argv, envp, flags);
}

static void raw_exit(int status) {
    for (;;) {
        syscall(SYS_exit_group, status);
    }
}

static int raw_chdir(const char *path) {
    return (int)p4shim_syscall(SYS_chdir, path);
}

static int raw_fchdir(int fd) {
    return (int)p4shim_syscall(SYS_fchdir, fd);
}

struct p4shim_real p4shim_real = {
    .open = raw_open,
    .open64 = raw_open,
    .__open = raw_open,
    .__open64 = raw_open,
    .openat = raw_openat,
    .openat64 = raw_openat,
    .__open_2 = raw_open_2,
    .__open64_2 = raw_open_2,
    .__openat_2 = raw_openat_2,
    .__openat64_2 = raw_openat_2,
    .creat = raw_creat,
    .creat64 = raw_creat,
    .stat = raw_stat,
    .stat64 = raw_stat,
    .lstat = raw_lstat,
    .lstat64 = raw_lstat,
    .fstat = raw_fstat,
    .fstat64 = raw_fstat,
    .fstatat = raw_fstatat,
    .fstatat64 = raw_fstatat,
    .__xstat = raw_xstat,
    .__xstat64 = raw_xstat,
    .__lxstat = raw_lxstat,
    .__lxstat64 = raw_lxstat,
    .__fxstat = raw_fxstat,
    .__fxstat64 = raw_fxstat,
    .__fxstatat = raw_fxstatat,
    .__fxstatat64 = raw_fxstatat,
    .statx = raw_statx,
    .getdents64 = raw_getdents64,
    .unlink = raw_unlink,
    .remove = raw_remove,
    .unlinkat = raw_unlinkat,
    .truncate = raw_truncate,
    .truncate64 = raw_truncate,
    .link = raw_link,
    .linkat = raw_linkat,
    .rename = raw_rename,
    .renameat = raw_renameat,
    .renameat2 = raw_renameat2,
    .utime = raw_utime,
    .utimes = raw_utimes,
    .lutimes = raw_lutimes,
    .futimesat = raw_futimesat,
    .utimensat = raw_utimensat,
    .execve = raw_execve,
    .execveat = raw_execveat,
    ._exit = raw_exit,
    ._Exit = raw_exit,
    .chdir = raw_chdir,
    .fchdir = raw_fchdir,
};

struct symbol {
    const char *name;
    void **slot;
};

#define SYMBOL(family, hooked) {#hooked, (void **)&p4shim_real.hooked},
static const struct symbol symbols[] = {P4SHIM_HOOKS(SYMBOL)};

void p4shim_resolve(void) {
    const int saved = errno;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = p4shim_find(symbols[i].name);
        if (found != NULL) {
            __atomic_store_n(symbols[i].slot, found, __ATOMIC_RELAXED);
        }
    }
    errno = saved;
}
