/*
 * late_eviction.c - evictions that commit between the shim's last look at a name and the kernel's
 * rename or link of it. Preloaded behind the shim; what it does itself goes past every hook.
 *
 * LATE_EVICTIONS=n: at the first n of these calls. LATE_TAKEN: something else has the old name then.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../helpers/marker.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int rename(const char *from, const char *to);
EXPORTED int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to);
EXPORTED int renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to,
                       unsigned flags);
EXPORTED int link(const char *from, const char *to);
EXPORTED int linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags);

/* As p4posix_put_marker does, as far as these calls can see. */
static void evict(int dirfd, const char *path) {
    static long evictions;
    const char *wanted = getenv("LATE_EVICTIONS");
    struct stat st;
    if (wanted == NULL || evictions >= strtol(wanted, NULL, 10) || strstr(path, ",v") == NULL ||
        syscall(SYS_newfstatat, dirfd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(st.st_mode)) {
        return;
    }
    evictions++;
    struct timespec times[2] = {{0, 0}, st.st_mtim};
    p4cache_marker_encode((uint64_t)st.st_size, &times[0]);
    syscall(SYS_unlinkat, dirfd, path, 0);
    syscall(SYS_mknodat, dirfd, path, S_IFSOCK | (st.st_mode & 07777), 0);
    syscall(SYS_utimensat, dirfd, path, times, 0);
}

static int rename_late(int from_dirfd, const char *from, int to_dirfd, const char *to,
                       unsigned flags) {
    evict(from_dirfd, from);
    const int rc = (int)syscall(SYS_renameat2, from_dirfd, from, to_dirfd, to, flags);
    if (rc == 0 && getenv("LATE_TAKEN") != NULL) {
        syscall(SYS_close, syscall(SYS_openat, from_dirfd, from, O_WRONLY | O_CREAT, 0600));
    }
    return rc;
}

int renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags) {
    return rename_late(from_dirfd, from, to_dirfd, to, flags);
}

int rename(const char *from, const char *to) {
    return rename_late(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to) {
    return rename_late(from_dirfd, from, to_dirfd, to, 0);
}

static int link_late(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags) {
    evict(from_dirfd, from);
    return (int)syscall(SYS_linkat, from_dirfd, from, to_dirfd, to, flags);
}

int linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags) {
    return link_late(from_dirfd, from, to_dirfd, to, flags);
}

int link(const char *from, const char *to) {
    return link_late(AT_FDCWD, from, AT_FDCWD, to, 0);
}
