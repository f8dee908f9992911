/*
 * probe.c - does one call on one path and prints what a program can see of it: the return, the
 * errno, the content, the fields of stat. The runner compares these lines, for a file that is
 * resident and for the same one evicted. Not linked with anything of the shim.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <utime.h>

#include "probe.h"

void probe_show(const char *what, long rc) {
    printf("%s=%ld errno=%s\n", what, rc, rc == -1 ? strerrorname_np(errno) : "-");
}

void probe_show_fd(int fd) {
    if (fd < 0) {
        printf("open=-1 errno=%s\n", strerrorname_np(errno));
        return;
    }
    unsigned long sum = 5381;
    long total = 0;
    char buffer[65536];
    ssize_t n = 0;
    while ((n = pread(fd, buffer, sizeof buffer, total)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            sum = sum * 33 + (unsigned char)buffer[i];
        }
        total += n;
    }
    printf("open=ok bytes=%ld sum=%lx read_errno=%s\n", total, sum,
           n < 0 ? strerrorname_np(errno) : "-");
    close(fd);
}

void probe_show_stat(const char *what, int rc, const struct stat *st) {
    if (rc != 0) {
        probe_show(what, rc);
        return;
    }
    printf("%s mode=%o size=%lld mtime=%lld.%09ld uid=%u gid=%u nlink=%lu blocks_fit=%d\n", what,
           st->st_mode, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
           st->st_mtim.tv_nsec, st->st_uid, st->st_gid, (unsigned long)st->st_nlink,
           st->st_blocks * 512 >= st->st_size);
}

static void *find(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found == NULL) {
        printf("%s=absent\n", name);
    }
    return found;
}

static void probe_open(const char *path) {
    errno = 77;
    const int fd = open(path, O_RDONLY);
    if (fd >= 0 && errno != 77) {
        printf("errno was changed to %d\n", errno);
    }
    probe_show_fd(fd);
}

static void probe_open64(const char *path) { probe_show_fd(open64(path, O_RDONLY)); }
static void probe_openat(const char *path) { probe_show_fd(openat(AT_FDCWD, path, O_RDONLY)); }
static void probe_openat64(const char *path) { probe_show_fd(openat64(AT_FDCWD, path, O_RDONLY)); }

static void probe_open_2(const char *path) {
    int (*call)(const char *, int) = (int (*)(const char *, int))find("__open_2");
    probe_show_fd(call(path, O_RDONLY));
}
static void probe_open64_2(const char *path) {
    int (*call)(const char *, int) = (int (*)(const char *, int))find("__open64_2");
    probe_show_fd(call(path, O_RDONLY));
}
static void probe_openat_2(const char *path) {
    int (*call)(int, const char *, int) = (int (*)(int, const char *, int))find("__openat_2");
    probe_show_fd(call(AT_FDCWD, path, O_RDONLY));
}
static void probe_openat64_2(const char *path) {
    int (*call)(int, const char *, int) = (int (*)(int, const char *, int))find("__openat64_2");
    probe_show_fd(call(AT_FDCWD, path, O_RDONLY));
}
static void probe_open_rdwr(const char *path) {
    const int fd = open(path, O_RDWR);
    if (fd >= 0) {
        probe_show("pwrite", pwrite(fd, "MORE", 4, 2));
    }
    probe_show_fd(fd);
}
static void probe_open_creat(const char *path) {
    const int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd >= 0) {
        probe_show("pwrite", pwrite(fd, "MORE", 4, 2));
    }
    probe_show_fd(fd);
}
static void probe_open_append(const char *path) {
    const int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        probe_show("write", write(fd, "MORE", 4));
    }
    probe_show_fd(fd);
}
static void probe_open_trunc(const char *path) { probe_show_fd(open(path, O_RDWR | O_TRUNC)); }
static void probe_open_excl(const char *path) {
    probe_show_fd(open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
}
static void probe_open_nofollow(const char *path) {
    probe_show_fd(open(path, O_RDONLY | O_NOFOLLOW));
}
static void probe_open_directory(const char *path) {
    probe_show_fd(open(path, O_RDONLY | O_DIRECTORY));
}
static void probe_creat(const char *path) {
    const int fd = creat(path, 0600);
    probe_show("creat", fd >= 0 ? 0 : -1);
    if (fd >= 0) {
        probe_show("write", write(fd, "new", 3));
        close(fd);
    }
    probe_show_fd(open(path, O_RDONLY));
}
static void probe_open_path(const char *path) {
    struct stat st;
    const int fd = open(path, O_PATH);
    probe_show("open", fd >= 0 ? 0 : -1);
    probe_show_stat("fstat", fstat(fd, &st), &st);
    probe_show_stat("fstatat", fstatat(fd, "", &st, AT_EMPTY_PATH), &st);
}
static void probe_open_by_dirfd(const char *path) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    char *slash = strrchr(copy, '/');
    *slash = '\0';
    const int dir = open(copy, O_RDONLY | O_DIRECTORY);
    struct stat st;
    probe_show_stat("fstatat", fstatat(dir, slash + 1, &st, 0), &st);
    probe_show_fd(openat(dir, slash + 1, O_RDONLY));
    close(dir);
}
static void probe_open_relative(const char *path) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    char *slash = strrchr(copy, '/');
    *slash = '\0';
    if (chdir(copy) != 0) {
        probe_show("chdir", -1);
        return;
    }
    struct stat st;
    probe_show_stat("stat", stat(slash + 1, &st), &st);
    probe_show_fd(open(slash + 1, O_RDONLY));
}

static void show_stream(FILE *stream) {
    char text[64] = "";
    if (stream == NULL) {
        printf("fopen=NULL errno=%s\n", strerrorname_np(errno));
        return;
    }
    const size_t n = fread(text, 1, sizeof text - 1, stream);
    printf("fopen=ok first=%zu %.20s\n", n, text);
    fclose(stream);
}
static void probe_fopen(const char *path) { show_stream(fopen(path, "r")); }
static void probe_fopen64(const char *path) { show_stream(fopen64(path, "rb")); }
static void probe_fopen_append(const char *path) {
    FILE *stream = fopen(path, "a+");
    if (stream != NULL) {
        fputs("tail", stream);
        rewind(stream);
    }
    show_stream(stream);
    probe_show_fd(open(path, O_RDONLY));
}
static void probe_io_fopen(const char *path) {
    FILE *(*call)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) find("_IO_fopen");
    show_stream(call(path, "r"));
}
static void probe_freopen(const char *path) {
    FILE *stream = fopen("/dev/null", "r");
    show_stream(freopen(path, "r", stream));
}

static void probe_stat(const char *path) {
    struct stat st;
    probe_show_stat("stat", stat(path, &st), &st);
    probe_show_stat("lstat", lstat(path, &st), &st);
    probe_show_stat("fstatat", fstatat(AT_FDCWD, path, &st, 0), &st);
    probe_show_stat("fstatat_nofollow", fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW), &st);
    struct stat64 st64;
    probe_show_stat("stat64", stat64(path, &st64), (struct stat *)&st64);
    probe_show_stat("lstat64", lstat64(path, &st64), (struct stat *)&st64);
}
static void probe_xstat(const char *path) {
    typedef int (*xstat)(int, const char *, struct stat *);
    typedef int (*fxstatat)(int, int, const char *, struct stat *, int);
    static const char *const names[] = {"__xstat", "__xstat64", "__lxstat", "__lxstat64"};
    struct stat st;
    for (size_t i = 0; i < 4; i++) {
        xstat call = (xstat)find(names[i]);
        if (call != NULL) {
            probe_show_stat(names[i], call(1, path, &st), &st);
        }
    }
    fxstatat at = (fxstatat)find("__fxstatat64");
    if (at != NULL) {
        probe_show_stat("__fxstatat64", at(1, AT_FDCWD, path, &st, 0), &st);
    }
}
static void probe_statx(const char *path) {
    struct statx stx;
    const int rc = statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &stx);
    if (rc != 0) {
        probe_show("statx", rc);
        return;
    }
    printf("statx mode=%o size=%llu mtime=%lld.%09u uid=%u nlink=%u mask_ok=%d\n", stx.stx_mode,
           (unsigned long long)stx.stx_size, (long long)stx.stx_mtime.tv_sec,
           stx.stx_mtime.tv_nsec, stx.stx_uid, stx.stx_nlink,
           (stx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    const int rc2 = statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_SIZE, &stx);
    printf("statx_size rc=%d size=%llu\n", rc2, (unsigned long long)stx.stx_size);
}
static void probe_access(const char *path) {
    probe_show("access", access(path, R_OK));
    probe_show("access_x", access(path, X_OK));
}
static void probe_mmap(const char *path) {
    const int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        probe_show("open", -1);
        return;
    }
    const char *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    printf("mmap size=%lld first=%.8s\n", (long long)st.st_size, at);
}

static void probe_unlink(const char *path) {
    struct stat st;
    probe_show("unlink", unlink(path));
    probe_show("lstat", lstat(path, &st));
}
static void probe_unlinkat(const char *path) {
    probe_show("unlinkat", unlinkat(AT_FDCWD, path, 0));
}
static void probe_remove(const char *path) { probe_show("remove", remove(path)); }
static void probe_truncate(const char *path) {
    struct stat st;
    probe_show("truncate", truncate(path, 5));
    probe_show("truncate_negative", truncate(path, -1));
    probe_show("stat", stat(path, &st));
    printf("size=%lld now=%d\n", (long long)st.st_size, st.st_mtim.tv_sec > 1600000000);
    probe_show_fd(open(path, O_RDONLY));
}
static void probe_link(const char *path) {
    char other[4096];
    snprintf(other, sizeof other, "%s.linked,v", path);
    probe_show("link", link(path, other));
    probe_show_fd(open(other, O_RDONLY));
    probe_show_fd(open(path, O_RDONLY));
    struct stat st;
    probe_show_stat("stat", stat(other, &st), &st);
}
static void probe_rename_out(const char *path) {
    probe_show("rename", rename(path, getenv("PROBE_TO")));
    probe_show_fd(open(getenv("PROBE_TO"), O_RDONLY));
}
/* The kernel's errno for a bad pointer, of a file and of its directory. */
static void probe_rename_bad(const char *path) {
    char directory[4096];
    const char *bad = (const char *)(uintptr_t)1;
    snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
    probe_show("rename", rename(path, bad));
    probe_show("rename_from", rename(bad, path));
    probe_show("rename_directory", rename(directory, bad));
    probe_show("exchange", renameat2(AT_FDCWD, path, AT_FDCWD, bad, RENAME_EXCHANGE));
    probe_show("exchange_from", renameat2(AT_FDCWD, bad, AT_FDCWD, path, RENAME_EXCHANGE));
}
static void probe_times(const char *path) {
    struct stat st;
    const struct timespec spec[2] = {{1000, 1}, {1234567890, 123456789}};
    probe_show("utimensat", utimensat(AT_FDCWD, path, spec, 0));
    probe_show_stat("stat", stat(path, &st), &st);
    const struct timeval val[2] = {{1000, 1}, {1234567891, 5}};
    probe_show("utimes", utimes(path, val));
    probe_show_stat("stat", stat(path, &st), &st);
    probe_show("lutimes", lutimes(path, val));
    const struct utimbuf buf = {5, 1234567892};
    probe_show("utime", utime(path, &buf));
    probe_show_stat("stat", stat(path, &st), &st);
    const struct timeval bad[2] = {{1, 1}, {1, 1000000}};
    probe_show("utimes_bad", utimes(path, bad));
    probe_show("touch", utimensat(AT_FDCWD, path, NULL, 0));
    probe_show("stat", stat(path, &st));
    printf("touched=%d\n", st.st_mtim.tv_sec > 1600000000);
    const struct timespec back[2] = {{0, UTIME_NOW}, {1500000000, 7}};
    probe_show("utimensat", utimensat(AT_FDCWD, path, back, 0));
    probe_show_stat("stat", stat(path, &st), &st);
    probe_show_fd(open(path, O_RDONLY));
    probe_show_stat("stat", stat(path, &st), &st);
}
static void probe_chmod(const char *path) {
    struct stat st;
    probe_show("chmod", chmod(path, 0640));
    probe_show_stat("stat", stat(path, &st), &st);
}

#define PROBE(name) {#name, probe_##name}
static const struct {
    const char *name;
    void (*run)(const char *path);
} probes[] = {
    PROBE(open), PROBE(open64), PROBE(openat), PROBE(openat64), PROBE(open_2), PROBE(open64_2),
    PROBE(openat_2), PROBE(openat64_2), PROBE(open_rdwr), PROBE(open_creat),
    PROBE(open_append), PROBE(open_trunc), PROBE(open_excl), PROBE(open_nofollow),
    PROBE(open_directory), PROBE(creat), PROBE(open_path), PROBE(open_by_dirfd),
    PROBE(open_relative), PROBE(fopen), PROBE(fopen64), PROBE(fopen_append), PROBE(io_fopen),
    PROBE(freopen),
    PROBE(stat), PROBE(xstat), PROBE(old_stat), PROBE(statx), PROBE(access), PROBE(mmap), PROBE(unlink),
    PROBE(unlinkat), PROBE(remove), PROBE(truncate), PROBE(link), PROBE(rename_out),
    PROBE(rename_bad),
    PROBE(times), PROBE(chmod), PROBE(readdir), PROBE(walk), PROBE(exec), PROBE(exec_relative),
    PROBE(vfork_exec),
    PROBE(spawn), PROBE(pidfd_spawn), PROBE(dlopen), PROBE(fork_while_waiting), PROBE(closes_all), PROBE(signals),
    PROBE(threads), PROBE(small_stack), PROBE(idle), PROBE(opens), PROBE(exit_at_once),
    PROBE(fork_events), PROBE(cancel), PROBE(chroot), PROBE(no_descriptors), PROBE(rcs_update),
    PROBE(exec_after_open), PROBE(real_socket), PROBE(everything),
    PROBE(open_twice), PROBE(fork_in_handler), PROBE(on_command), PROBE(fork_for_each), PROBE(thousands), PROBE(other_root),
    PROBE(filtered), PROBE(vfork_chdir), PROBE(alternate_stack),
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 3 && i < sizeof probes / sizeof *probes; i++) {
        if (strcmp(probes[i].name, argv[1]) == 0) {
            probes[i].run(argv[2]);
            return 0;
        }
    }
    fprintf(stderr, "usage: probe CALL PATH\n");
    return 2;
}
