/*
 * old_glibc.c - the stat family as the system calls that they stand for: libc has functions of
 * these names only from 2.33 on (old_glibc.h). Hidden, so that nobody else gets them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fstatat(int directory, const char *restrict path, struct stat *restrict st, int flags) {
    return (int)syscall(SYS_newfstatat, directory, path, st, flags);
}

int stat(const char *restrict path, struct stat *restrict st) {
    return fstatat(AT_FDCWD, path, st, 0);
}

int lstat(const char *restrict path, struct stat *restrict st) {
    return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int fstat(int fd, struct stat *st) {
    return (int)syscall(SYS_fstat, fd, st);
}

/* The kernel takes devices in 32 bits; a socket's is 0. */
int mknod(const char *path, mode_t mode, dev_t device) {
    return (int)syscall(SYS_mknodat, AT_FDCWD, path, mode, (unsigned)device);
}
