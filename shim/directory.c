/*
 * directory.c - directory listings: the type of a marker's entry is that of a regular file.
 *
 * DT_SOCK is rare outside of a depot, so an entry is looked at only then. A marker whose check
 * fails stays a socket here: only stat asks the daemon.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "real.h"
#include "shim.h"
#include "sys.h"

static bool stands_for_file(int dirfd, const char *name) {
    const int saved = errno;
    struct stat st;
    uint64_t size = 0;
    bool is_file = false;
    if (dirfd >= 0 && sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        is_file = S_ISREG(st.st_mode) ||
                  (S_ISSOCK(st.st_mode) &&
                   p4shim_is_marker(dirfd, name, AT_SYMLINK_NOFOLLOW, &st, &size));
    }
    errno = saved;
    return is_file;
}

static void dress_entry(int dirfd, struct dirent *entry) {
    if (P4SHIM_UNLIKELY(entry->d_type == DT_SOCK) && p4shim_is_on() &&
        stands_for_file(dirfd, entry->d_name)) {
        entry->d_type = DT_REG;
    }
}

/* Another thread of the host may write into its buffer meanwhile: no length is trusted. */
static void dress_entries(int fd, void *buffer, ssize_t filled) {
    const ssize_t least = (ssize_t)offsetof(struct dirent, d_name) + 1;
    for (ssize_t at = 0; filled - at >= least;) {
        struct dirent *entry = (struct dirent *)(void *)((char *)buffer + at);
        const ssize_t bytes = entry->d_reclen;
        if (bytes < least || bytes > filled - at) {
            return;
        }
        dress_entry(fd, entry);
        at += bytes;
    }
}

#define MAKE_READDIR(name) \
    P4SHIM_HOOK(READDIR, name) { \
        P4SHIM_FIND_OR(name, NULL) \
        struct dirent *entry = p4shim_real.name(dir); \
        if (P4SHIM_LIKELY(entry != NULL)) { \
            dress_entry(dirfd(dir), entry); \
        } \
        return entry; \
    }

#define MAKE_READDIR_R(name) \
    P4SHIM_HOOK(READDIR_R, name) { \
        P4SHIM_FIND_OR(name, ENOSYS) \
        const int rc = p4shim_real.name(dir, entry, result); \
        if (rc == 0 && *result != NULL) { \
            dress_entry(dirfd(dir), *result); \
        } \
        return rc; \
    }

#define MAKE_GETDENTS(name) \
    P4SHIM_HOOK(GETDENTS, name) { \
        const ssize_t filled = p4shim_real.name(fd, buffer, bytes); \
        dress_entries(fd, buffer, filled); \
        return filled; \
    }

/* ---- scandir: libc's own reads the directory past readdir ---- */

struct listing {
    struct dirent **entries;
    size_t count;
    size_t room;
};

static bool listing_add(struct listing *l, const struct dirent *entry) {
    if (l->count == l->room) {
        const size_t room = l->room == 0 ? 16 : l->room * 2;
        struct dirent **more = realloc(l->entries, room * sizeof *more);
        if (more == NULL) {
            return false;
        }
        l->entries = more;
        l->room = room;
    }
    struct dirent *copy = malloc(entry->d_reclen);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, entry, entry->d_reclen);
    l->entries[l->count++] = copy;
    return true;
}

static int scan_fails(struct listing *l, DIR *dir, int why) {
    while (l->count > 0) {
        free(l->entries[--l->count]);
    }
    free(l->entries);
    closedir(dir);
    errno = why;
    return -1;
}

static int scan(DIR *dir, struct dirent ***list, p4shim_select select, p4shim_order order) {
    const int saved = errno;
    struct listing l = {NULL, 0, 0};
    for (;;) {
        errno = 0;
        struct dirent *entry = p4shim_real.readdir(dir);
        if (entry == NULL && errno != 0) {
            return scan_fails(&l, dir, errno);
        }
        if (entry == NULL) {
            break;
        }
        dress_entry(dirfd(dir), entry);
        errno = saved; /* the selector may look at it, or change it: neither is ours */
        if ((select == NULL || select(entry) != 0) && !listing_add(&l, entry)) {
            return scan_fails(&l, dir, ENOMEM);
        }
    }
    if (l.count > INT_MAX) {
        return scan_fails(&l, dir, EOVERFLOW);
    }
    closedir(dir);
    if (order != NULL && l.count > 0) {
        qsort(l.entries, l.count, sizeof *l.entries,
              (int (*)(const void *, const void *))(void (*)(void))order);
    }
    *list = l.entries;
    errno = saved;
    return (int)l.count;
}

static DIR *open_list(int dirfd, const char *path) {
    const int fd = sys_openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0) {
        return NULL;
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        const int why = errno;
        p4shim_syscall(SYS_close, fd);
        errno = why;
    }
    return dir;
}

#define MAKE_SCANDIR(name) \
    P4SHIM_HOOK(SCANDIR, name) { \
        if (p4shim_is_on() && p4shim_real.readdir != NULL) { \
            DIR *dir = open_list(AT_FDCWD, path); \
            return dir == NULL ? -1 : scan(dir, list, select, order); \
        } \
        P4SHIM_FIND_OR(name, -1) \
        return p4shim_real.name(path, list, select, order); \
    }

#define MAKE_SCANDIRAT(name) \
    P4SHIM_HOOK(SCANDIRAT, name) { \
        if (p4shim_is_on() && p4shim_real.readdir != NULL) { \
            DIR *dir = open_list(dirfd, path); \
            return dir == NULL ? -1 : scan(dir, list, select, order); \
        } \
        P4SHIM_FIND_OR(name, -1) \
        return p4shim_real.name(dirfd, path, list, select, order); \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_DIRECTORY_HOOKS(MAKE)
