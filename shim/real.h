/*
 * real.h - libc's own functions behind the hooks.
 *
 * On LP64 `struct stat` is `struct stat64` and `struct dirent` is `struct dirent64`, so one
 * signature serves both names. Other ABIs are refused at compile time.
 */
#ifndef P4SHIM_REAL_H
#define P4SHIM_REAL_H

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <utime.h>

#include "hooks.h"

#define RETURNS_OPEN int
#define TAKES_OPEN (const char *path, int flags, ...)
#define RETURNS_OPENAT int
#define TAKES_OPENAT (int dirfd, const char *path, int flags, ...)
#define RETURNS_OPEN_2 int
#define TAKES_OPEN_2 (const char *path, int flags)
#define RETURNS_OPENAT_2 int
#define TAKES_OPENAT_2 (int dirfd, const char *path, int flags)
#define RETURNS_CREAT int
#define TAKES_CREAT (const char *path, mode_t mode)
#define RETURNS_FOPEN FILE *
#define TAKES_FOPEN (const char *path, const char *mode)
#define RETURNS_FREOPEN FILE *
#define TAKES_FREOPEN (const char *path, const char *mode, FILE *stream)

#define RETURNS_STAT int
#define TAKES_STAT (const char *path, struct stat *st)
#define RETURNS_LSTAT int
#define TAKES_LSTAT (const char *path, struct stat *st)
#define RETURNS_FSTAT int
#define TAKES_FSTAT (int fd, struct stat *st)
#define RETURNS_FSTATAT int
#define TAKES_FSTATAT (int dirfd, const char *path, struct stat *st, int flags)
#define RETURNS_XSTAT int
#define TAKES_XSTAT (int version, const char *path, struct stat *st)
#define RETURNS_LXSTAT int
#define TAKES_LXSTAT (int version, const char *path, struct stat *st)
#define RETURNS_FXSTAT int
#define TAKES_FXSTAT (int version, int fd, struct stat *st)
#define RETURNS_FXSTATAT int
#define TAKES_FXSTATAT \
    (int version, int dirfd, const char *path, struct stat *st, int flags)
#define RETURNS_STATX int
#define TAKES_STATX \
    (int dirfd, const char *path, int flags, unsigned mask, struct statx *stx)

typedef int (*p4shim_select)(const struct dirent *);
typedef int (*p4shim_order)(const struct dirent **, const struct dirent **);
#define RETURNS_READDIR struct dirent *
#define TAKES_READDIR (DIR * dir)
#define RETURNS_READDIR_R int
#define TAKES_READDIR_R (DIR * dir, struct dirent * entry, struct dirent * *result)
#define RETURNS_GETDENTS ssize_t
#define TAKES_GETDENTS (int fd, void *buffer, size_t bytes)
#define RETURNS_SCANDIR int
#define TAKES_SCANDIR \
    (const char *path, struct dirent ***list, p4shim_select select, p4shim_order order)
#define RETURNS_SCANDIRAT int
#define TAKES_SCANDIRAT \
    (int dirfd, const char *path, struct dirent ***list, p4shim_select select, \
     p4shim_order order)

typedef int (*p4shim_nftw_fn)(const char *, const struct stat *, int, struct FTW *);
typedef int (*p4shim_ftw_fn)(const char *, const struct stat *, int);
#define RETURNS_NFTW int
#define TAKES_NFTW (const char *path, p4shim_nftw_fn fn, int fds, int flags)
#define RETURNS_FTW int
#define TAKES_FTW (const char *path, p4shim_ftw_fn fn, int fds)
#define RETURNS_FTS_READ FTSENT *
#define TAKES_FTS_READ (FTS * fts)
#define RETURNS_FTS_CHILDREN FTSENT *
#define TAKES_FTS_CHILDREN (FTS * fts, int flags)

#define RETURNS_UNLINK int
#define TAKES_UNLINK (const char *path)
#define RETURNS_UNLINKAT int
#define TAKES_UNLINKAT (int dirfd, const char *path, int flags)

#define RETURNS_TRUNCATE int
#define TAKES_TRUNCATE (const char *path, off_t size)
#define RETURNS_LINK int
#define TAKES_LINK (const char *from, const char *to)
#define RETURNS_LINKAT int
#define TAKES_LINKAT \
    (int from_dirfd, const char *from, int to_dirfd, const char *to, int flags)
#define RETURNS_RENAME int
#define TAKES_RENAME (const char *from, const char *to)
#define RETURNS_RENAMEAT int
#define TAKES_RENAMEAT (int from_dirfd, const char *from, int to_dirfd, const char *to)
#define RETURNS_RENAMEAT2 int
#define TAKES_RENAMEAT2 \
    (int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)

#define RETURNS_UTIME int
#define TAKES_UTIME (const char *path, const struct utimbuf *times)
#define RETURNS_UTIMES int
#define TAKES_UTIMES (const char *path, const struct timeval *times)
#define RETURNS_LUTIMES int
#define TAKES_LUTIMES (const char *path, const struct timeval *times)
#define RETURNS_FUTIMESAT int
#define TAKES_FUTIMESAT (int dirfd, const char *path, const struct timeval *times)
#define RETURNS_UTIMENSAT int
#define TAKES_UTIMENSAT \
    (int dirfd, const char *path, const struct timespec *times, int flags)

#define RETURNS_EXECVE int
#define TAKES_EXECVE (const char *path, char *const argv[], char *const envp[])
#define RETURNS_EXECV int
#define TAKES_EXECV (const char *path, char *const argv[])
#define RETURNS_EXECVEAT int
#define TAKES_EXECVEAT \
    (int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
#define RETURNS_EXECL int
#define TAKES_EXECL (const char *path, const char *arg, ...)
#define RETURNS_EXECLE int
#define TAKES_EXECLE (const char *path, const char *arg, ...)
#define RETURNS_SPAWN int
#define TAKES_SPAWN \
    (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions, \
     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
#define RETURNS_DLOPEN void *
#define TAKES_DLOPEN (const char *path, int mode)
#define RETURNS_EXIT void
#define TAKES_EXIT (int status)
#define RETURNS_CHDIR int
#define TAKES_CHDIR (const char *path)
#define RETURNS_FCHDIR int
#define TAKES_FCHDIR (int fd)

#define P4SHIM_REAL_MEMBER(family, name) RETURNS_##family(*name) TAKES_##family;
struct p4shim_real {
    P4SHIM_HOOKS(P4SHIM_REAL_MEMBER)
};

/*
 * Never NULL for a call that the kernel can answer: until libc's function is found, and where
 * libc has none of that name, the raw system call stands there. NULL for what lives in libc
 * alone (streams, walkers, dlopen): P4SHIM_FIND_OR looks once more, and gives ENOSYS.
 */
extern struct p4shim_real p4shim_real;

#define P4SHIM_FIND_OR(name, otherwise) \
    if (P4SHIM_UNLIKELY(p4shim_real.name == NULL)) { \
        p4shim_resolve(); \
    } \
    if (P4SHIM_UNLIKELY(p4shim_real.name == NULL)) { \
        errno = ENOSYS; \
        return otherwise; \
    }

/* Looks up every name in the libraries after this one. Idempotent; safe from any thread. */
void p4shim_resolve(void);

/* A hook is defined under a name of its own and exported by its label: headers declare libc's
 * with attributes (nonnull, fortify inlines) that must not reach our definitions. */
#define P4SHIM_HOOK(family, name) \
    __attribute__((visibility("default"))) RETURNS_##family hook_##name TAKES_##family \
        __asm__(#name); \
    RETURNS_##family hook_##name TAKES_##family

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "LP64 only");
_Static_assert(sizeof(struct dirent) == sizeof(struct dirent64), "LP64 only");

#endif
