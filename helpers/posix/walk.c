/*
 * walk.c - lists a tree in batches, with the stat of everything.
 *
 * Depth first; within one directory in the order of the file system. A directory is opened from the
 * root's descriptor without following any symlink, so nothing that happens to the tree meanwhile leads
 * out of it. What vanishes meanwhile is left out; what cannot be read is told, because a walk that
 * leaves out silently makes files look deleted. One thread at a time per walk.
 */
#include "walk.h"

#include <linux/openat2.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* Large enough that a directory of 100 k files costs some 30 calls. */
#define DENTS_BYTES (128 * 1024)

enum { FULL = 0, GO_ON = 1 };

struct pending {
    struct pending *below;
    size_t path_bytes;
    char path[];
};

struct p4posix_walk {
    int root_fd;
    int flags;
    dev_t root_dev;
    char *skip; /* relative paths, each with its NUL */
    size_t skip_bytes;
    struct pending *stack;
    struct pending *current; /* the directory that dir_fd reads */
    int dir_fd;              /* -1: none */
    bool is_announced;       /* its WALK_DIRECTORY is in this batch */
    long dents_held;
    long dents_at;
    _Alignas(8) char dents[DENTS_BYTES];
};

struct batch {
    char *bytes;
    size_t size;
    size_t used;
};

struct linux_dirent64 {
    uint64_t d_ino;
    int64_t d_off;
    unsigned short d_reclen;
    unsigned char d_type;
    char d_name[];
};

static int push(struct p4posix_walk *walk, const struct pending *parent, const char *name) {
    const size_t parent_bytes = parent == NULL ? 0 : parent->path_bytes;
    const size_t name_bytes = strlen(name);
    const size_t slash = parent_bytes > 0 ? 1 : 0;
    struct pending *new = malloc(sizeof *new + parent_bytes + slash + name_bytes + 1);
    if (new == NULL) {
        return -ENOMEM;
    }
    if (slash > 0) {
        memcpy(new->path, parent->path, parent_bytes);
        new->path[parent_bytes] = '/';
    }
    memcpy(new->path + parent_bytes + slash, name, name_bytes + 1);
    new->path_bytes = parent_bytes + slash + name_bytes;
    new->below = walk->stack;
    walk->stack = new;
    return 0;
}

static bool is_skipped(const struct p4posix_walk *walk, const struct pending *parent,
                       const char *name) {
    const char *end = walk->skip + walk->skip_bytes;
    for (const char *at = walk->skip; at < end; at += strlen(at) + 1) {
        const char *rest = at;
        if (parent->path_bytes > 0) {
            if (strncmp(at, parent->path, parent->path_bytes) != 0 ||
                at[parent->path_bytes] != '/') {
                continue;
            }
            rest = at + parent->path_bytes + 1;
        }
        if (strcmp(rest, name) == 0) {
            return true;
        }
    }
    return false;
}

static struct p4posix_walk_record *add_record(struct batch *batch, enum walk_record type,
                                              const char *name, size_t name_bytes) {
    const size_t bytes = (sizeof(struct p4posix_walk_record) + name_bytes + 7) & ~(size_t)7;
    if (batch->size - batch->used < bytes) {
        return NULL;
    }
    struct p4posix_walk_record *record = (void *)(batch->bytes + batch->used);
    memset(record, 0, sizeof *record);
    record->record_bytes = (uint32_t)bytes;
    record->type = (uint16_t)type;
    record->name_bytes = (uint32_t)name_bytes;
    memcpy(record->name, name, name_bytes);
    batch->used += bytes;
    return record;
}

static int add_unreadable(struct batch *batch, const struct pending *parent, const char *name,
                          int error) {
    struct p4posix_walk_record *record;
    if (name[0] == '\0' || parent->path_bytes == 0) {
        const bool is_parent = name[0] == '\0';
        record = add_record(batch, WALK_UNREADABLE, is_parent ? parent->path : name,
                            is_parent ? parent->path_bytes : strlen(name));
    } else {
        const size_t bytes = parent->path_bytes + 1 + strlen(name);
        char *path = malloc(bytes + 1);
        if (path == NULL) {
            return -ENOMEM;
        }
        memcpy(path, parent->path, parent->path_bytes);
        path[parent->path_bytes] = '/';
        memcpy(path + parent->path_bytes + 1, name, strlen(name) + 1);
        record = add_record(batch, WALK_UNREADABLE, path, bytes);
        free(path);
    }
    if (record == NULL) {
        return FULL;
    }
    record->error = error;
    return GO_ON;
}

static void leave_directory(struct p4posix_walk *walk) {
    if (walk->dir_fd >= 0) {
        close(walk->dir_fd);
    }
    walk->dir_fd = -1;
    free(walk->current);
    walk->current = NULL;
    walk->dents_held = 0;
    walk->dents_at = 0;
}

static int open_directory(const struct p4posix_walk *walk, const struct pending *at) {
    const char *path = at->path_bytes == 0 ? "." : at->path;
    const uint64_t flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct open_how how = {
        .flags = flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, walk->root_fd, path, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS) { /* kernels before 5.6 */
        fd = openat(walk->root_fd, path, (int)flags);
    }
    return fd < 0 ? failure() : (int)fd;
}

static bool is_vanished(int error) {
    return error == ENOENT || error == ENOTDIR || error == ELOOP;
}

static int enter_next(struct p4posix_walk *walk, struct batch *batch) {
    struct pending *next = walk->stack;
    const int fd = open_directory(walk, next);
    if (fd < 0) {
        const int told = is_vanished(-fd) ? GO_ON : add_unreadable(batch, next, "", -fd);
        if (told == GO_ON) {
            walk->stack = next->below;
            free(next);
        }
        return told;
    }
    walk->stack = next->below;
    walk->current = next;
    walk->dir_fd = fd;
    walk->is_announced = false;
    return GO_ON;
}

static bool is_dot(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static bool is_entered(const struct p4posix_walk *walk, const struct stat *st) {
    return S_ISDIR(st->st_mode) && (walk->flags & WALK_FLAG_RECURSE) != 0 &&
           (st->st_dev == walk->root_dev || (walk->flags & WALK_FLAG_CROSS_DEVICES) != 0);
}

static int add_entry(struct p4posix_walk *walk, struct batch *batch, const char *name) {
    struct stat st;
    const struct pending *at = walk->current;
    if (is_dot(name) || is_skipped(walk, at, name)) {
        return GO_ON;
    }
    if (fstatat(walk->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return is_vanished(errno) ? GO_ON : add_unreadable(batch, at, name, errno);
    }
    if (!walk->is_announced) {
        if (add_record(batch, WALK_DIRECTORY, at->path, at->path_bytes) == NULL) {
            return FULL;
        }
        walk->is_announced = true;
    }
    struct p4posix_walk_record *record = add_record(batch, WALK_ENTRY, name, strlen(name));
    if (record == NULL) {
        return FULL;
    }
    fill_stat(&record->stat, &st);
    if (!is_entered(walk, &st)) {
        return GO_ON;
    }
    const int pushed = push(walk, at, name);
    return pushed < 0 ? pushed : GO_ON;
}

static int read_more(struct p4posix_walk *walk, struct batch *batch) {
    const long held = syscall(SYS_getdents64, walk->dir_fd, walk->dents, DENTS_BYTES);
    const int error = held < 0 ? errno : 0;
    walk->dents_at = 0;
    walk->dents_held = held < 0 ? 0 : held;
    if (held > 0) {
        return GO_ON;
    }
    /* ENOENT: the directory was removed while it was read. */
    const int told = error == 0 || error == ENOENT
                         ? GO_ON
                         : add_unreadable(batch, walk->current, "", error);
    if (told == GO_ON) {
        leave_directory(walk);
    }
    return told;
}

static int step(struct p4posix_walk *walk, struct batch *batch) {
    if (walk->dir_fd < 0) {
        return enter_next(walk, batch);
    }
    if (walk->dents_at >= walk->dents_held) {
        return read_more(walk, batch);
    }
    const struct linux_dirent64 *entry = (const void *)(walk->dents + walk->dents_at);
    const int result = add_entry(walk, batch, entry->d_name);
    if (result == GO_ON) {
        walk->dents_at += entry->d_reclen;
    }
    return result;
}

static int prepare(struct p4posix_walk *walk, const char *root, const char *skip) {
    struct stat st;
    walk->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (walk->root_fd < 0 || fstat(walk->root_fd, &st) != 0) {
        return failure();
    }
    walk->root_dev = st.st_dev;
    walk->skip = malloc(walk->skip_bytes + 1);
    if (walk->skip == NULL) {
        return -ENOMEM;
    }
    if (walk->skip_bytes > 0) {
        memcpy(walk->skip, skip, walk->skip_bytes);
    }
    return push(walk, NULL, "");
}

P4POSIX_EXPORT void p4posix_walk_close(struct p4posix_walk *walk) {
    leave_directory(walk);
    while (walk->stack != NULL) {
        struct pending *top = walk->stack;
        walk->stack = top->below;
        free(top);
    }
    if (walk->root_fd >= 0) {
        close(walk->root_fd);
    }
    free(walk->skip);
    free(walk);
}

/* Writes the handle to *out. `skip`: relative paths that are left out with all below them, each with
 * its NUL. */
P4POSIX_EXPORT int p4posix_walk_open(const char *root, const char *skip, int skip_bytes, int flags,
                                     struct p4posix_walk **out) {
    struct p4posix_walk *walk = malloc(sizeof *walk);
    if (walk == NULL) {
        return -ENOMEM;
    }
    memset(walk, 0, offsetof(struct p4posix_walk, dents));
    walk->root_fd = -1;
    walk->dir_fd = -1;
    walk->flags = flags;
    walk->skip_bytes = (size_t)skip_bytes;
    const int result = prepare(walk, root, skip);
    if (result < 0) {
        p4posix_walk_close(walk);
        return result;
    }
    *out = walk;
    return 0;
}

/* Bytes of records in `buffer`; 0 at the end. -ENOBUFS if not even one fits. */
P4POSIX_EXPORT int p4posix_walk_next(struct p4posix_walk *walk, void *buffer, int buffer_bytes) {
    struct batch batch = {.bytes = buffer, .size = (size_t)buffer_bytes};
    walk->is_announced = false;
    int result = GO_ON;
    while (result == GO_ON && (walk->dir_fd >= 0 || walk->stack != NULL)) {
        result = step(walk, &batch);
    }
    if (result < 0) {
        return result;
    }
    return result == FULL && batch.used == 0 ? -ENOBUFS : (int)batch.used;
}
