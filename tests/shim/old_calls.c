/*
 * old_calls.c - what a program linked before glibc 2.33 calls for stat, by the versions that such a
 * program asks for. They must be led to the shim, which exports names without versions.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../helpers/old_glibc.h"
#include "probe.h"

#ifdef __x86_64__
#define STAT_VERSION 1
#define AT_GLIBC "GLIBC_2.4" /* the *at calls are of that time */
#else
#define STAT_VERSION 0
#define AT_GLIBC P4CACHE_GLIBC_BASE
#endif

int __xstat(int version, const char *path, struct stat *st);
int __lxstat(int version, const char *path, struct stat *st);
int __fxstat(int version, int fd, struct stat *st);
int __fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags);
int __xstat64(int version, const char *path, struct stat *st);
int __lxstat64(int version, const char *path, struct stat *st);
int __fxstat64(int version, int fd, struct stat *st);
int __fxstatat64(int version, int dirfd, const char *path, struct stat *st, int flags);
P4CACHE_OLD_GLIBC(__xstat);
P4CACHE_OLD_GLIBC(__lxstat);
P4CACHE_OLD_GLIBC(__fxstat);
P4CACHE_OLD_GLIBC(__xstat64);
P4CACHE_OLD_GLIBC(__lxstat64);
P4CACHE_OLD_GLIBC(__fxstat64);
__asm__(".symver __fxstatat, __fxstatat@" AT_GLIBC);
__asm__(".symver __fxstatat64, __fxstatat64@" AT_GLIBC);

void probe_old_stat(const char *path) {
    struct stat st;
    const int fd = open(path, O_PATH);
    probe_show_stat("__xstat", __xstat(STAT_VERSION, path, &st), &st);
    probe_show_stat("__lxstat", __lxstat(STAT_VERSION, path, &st), &st);
    probe_show_stat("__fxstat", __fxstat(STAT_VERSION, fd, &st), &st);
    probe_show_stat("__fxstatat", __fxstatat(STAT_VERSION, AT_FDCWD, path, &st, 0), &st);
    probe_show_stat("__xstat64", __xstat64(STAT_VERSION, path, &st), &st);
    probe_show_stat("__lxstat64", __lxstat64(STAT_VERSION, path, &st), &st);
    probe_show_stat("__fxstat64", __fxstat64(STAT_VERSION, fd, &st), &st);
    probe_show_stat("__fxstatat64", __fxstatat64(STAT_VERSION, AT_FDCWD, path, &st, 0), &st);
    probe_show("bad version", __xstat(77, path, &st));
}
