/*
 * hooks.h - every function of libc that the shim stands in front of: the one table.
 *
 * A row is X(family, name). A family is one signature and one way to treat the call; the
 * names in it are what glibc, old and new, calls the same thing. From this table come the
 * structure of libc's own functions (real.c), the hooks themselves (one MAKE_family macro
 * in the file named after each list) and the version script of the library (Makefile).
 */
#ifndef P4SHIM_HOOKS_H
#define P4SHIM_HOOKS_H

/* open.c */
#define P4SHIM_OPEN_HOOKS(X) \
    X(OPEN, open) X(OPEN, open64) X(OPEN, __open) X(OPEN, __open64) \
    X(OPENAT, openat) X(OPENAT, openat64) \
    X(OPEN_2, __open_2) X(OPEN_2, __open64_2) \
    X(OPENAT_2, __openat_2) X(OPENAT_2, __openat64_2) \
    X(CREAT, creat) X(CREAT, creat64) \
    X(FOPEN, fopen) X(FOPEN, fopen64) X(FOPEN, _IO_fopen) \
    X(FREOPEN, freopen) X(FREOPEN, freopen64)

/* stat.c; the __x names are what programs linked before glibc 2.33 call */
#define P4SHIM_STAT_HOOKS(X) \
    X(STAT, stat) X(STAT, stat64) \
    X(LSTAT, lstat) X(LSTAT, lstat64) \
    X(FSTAT, fstat) X(FSTAT, fstat64) \
    X(FSTATAT, fstatat) X(FSTATAT, fstatat64) \
    X(XSTAT, __xstat) X(XSTAT, __xstat64) \
    X(LXSTAT, __lxstat) X(LXSTAT, __lxstat64) \
    X(FXSTAT, __fxstat) X(FXSTAT, __fxstat64) \
    X(FXSTATAT, __fxstatat) X(FXSTATAT, __fxstatat64) \
    X(STATX, statx)

/* directory.c */
#define P4SHIM_DIRECTORY_HOOKS(X) \
    X(READDIR, readdir) X(READDIR, readdir64) \
    X(READDIR_R, readdir_r) X(READDIR_R, readdir64_r) \
    X(GETDENTS, getdents64) \
    X(SCANDIR, scandir) X(SCANDIR, scandir64) \
    X(SCANDIRAT, scandirat) X(SCANDIRAT, scandirat64)

/* walk.c: glibc's walkers stat and read directories inside libc, past every hook */
#define P4SHIM_WALK_HOOKS(X) \
    X(NFTW, nftw) X(NFTW, nftw64) X(FTW, ftw) X(FTW, ftw64) \
    X(FTS_READ, fts_read) X(FTS_READ, fts64_read) \
    X(FTS_CHILDREN, fts_children) X(FTS_CHILDREN, fts64_children)

/* remove.c */
#define P4SHIM_REMOVE_HOOKS(X) \
    X(UNLINK, unlink) X(UNLINK, remove) X(UNLINKAT, unlinkat)

/* change.c */
#define P4SHIM_CHANGE_HOOKS(X) \
    X(TRUNCATE, truncate) X(TRUNCATE, truncate64) \
    X(LINK, link) X(LINKAT, linkat) \
    X(RENAME, rename) X(RENAMEAT, renameat) X(RENAMEAT2, renameat2)

/* times.c */
#define P4SHIM_TIMES_HOOKS(X) \
    X(UTIME, utime) X(UTIMES, utimes) X(LUTIMES, lutimes) \
    X(FUTIMESAT, futimesat) X(UTIMENSAT, utimensat)

/* process.c: programs and libraries that are evicted files; the ends of a process */
#define P4SHIM_PROCESS_HOOKS(X) \
    X(EXECVE, execve) X(EXECV, execv) X(EXECV, execvp) X(EXECVE, execvpe) \
    X(EXECVEAT, execveat) \
    X(EXECL, execl) X(EXECL, execlp) X(EXECLE, execle) \
    X(SPAWN, posix_spawn) X(SPAWN, posix_spawnp) \
    X(SPAWN, pidfd_spawn) X(SPAWN, pidfd_spawnp) X(DLOPEN, dlopen) \
    X(EXIT, _exit) X(EXIT, _Exit) X(CHDIR, chdir) X(FCHDIR, fchdir)

#define P4SHIM_HOOKS(X) \
    P4SHIM_OPEN_HOOKS(X) P4SHIM_STAT_HOOKS(X) P4SHIM_DIRECTORY_HOOKS(X) \
    P4SHIM_WALK_HOOKS(X) P4SHIM_REMOVE_HOOKS(X) P4SHIM_CHANGE_HOOKS(X) \
    P4SHIM_TIMES_HOOKS(X) P4SHIM_PROCESS_HOOKS(X)

#endif
