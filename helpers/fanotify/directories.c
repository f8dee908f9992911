/* directories.c - see directories.h. */
#define _GNU_SOURCE
#include "directories.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS 16384
/* About 16 MB with paths of 150 bytes; then it starts anew. */
#define REMEMBERED_MAX 65536
/* ext4 says ENOMEM, not ESTALE, while the number of a removed directory is being given to a new
 * inode (seen on 6.18 within 20,000 events). It passes in microseconds. */
#define TRIES_MAX 100

struct directory {
    struct directory *next;
    uint64_t fsid;
    size_t handle_bytes;
    bool is_inside;
    size_t path_bytes;
    char bytes[]; /* the handle, then the path */
};

static struct directory *buckets[BUCKETS];
static size_t remembered;

static size_t bucket_of(const struct fan_handle *handle) {
    return (size_t)(fan_handle_hash(handle) >> 32) % BUCKETS;
}

static struct directory *recall(const struct fan_handle *handle, size_t bucket) {
    for (struct directory *d = buckets[bucket]; d != NULL; d = d->next) {
        if (d->fsid == handle->fsid && d->handle_bytes == handle->handle_bytes &&
            memcmp(d->bytes, handle->handle, handle->handle_bytes) == 0) {
            return d;
        }
    }
    return NULL;
}

void directories_forget_all(void) {
    for (size_t i = 0; i < BUCKETS && remembered > 0; i++) {
        while (buckets[i] != NULL) {
            struct directory *d = buckets[i];
            buckets[i] = d->next;
            free(d);
            remembered--;
        }
    }
}

/* Without memory it is resolved again the next time. */
static void remember(const struct fan_handle *handle, size_t bucket,
                     const struct depot_path *path) {
    if (remembered == REMEMBERED_MAX) {
        directories_forget_all();
    }
    const size_t path_bytes = path == NULL ? 0 : path->bytes;
    struct directory *d = malloc(sizeof *d + handle->handle_bytes + path_bytes);
    if (d == NULL) {
        return;
    }
    *d = (struct directory){.next = buckets[bucket], .fsid = handle->fsid,
                            .handle_bytes = handle->handle_bytes, .is_inside = path != NULL,
                            .path_bytes = path_bytes};
    memcpy(d->bytes, handle->handle, handle->handle_bytes);
    if (path != NULL) {
        memcpy(d->bytes + handle->handle_bytes, path->text, path_bytes);
    }
    buckets[bucket] = d;
    remembered++;
}

/*
 * ESTALE, ENOENT: the directory is gone, and with it all that was in it. ENAMETOOLONG: longer than
 * any path that is managed.
 */
static enum place place_of_errno(int error) {
    return error == ESTALE || error == ENOENT || error == ENAMETOOLONG ? PLACE_OUTSIDE
                                                                       : PLACE_UNKNOWN;
}

static enum place resolve_in(const struct roots *roots, size_t i,
                             const struct fan_handle *directory, struct depot_path *out) {
    char absolute[PATH_MAX];
    union {
        struct file_handle head;
        char bytes[sizeof(struct file_handle) + FAN_HANDLE_BYTES_MAX];
    } handle;
    memcpy(handle.bytes, directory->handle, directory->handle_bytes);
    int fd = open_by_handle_at(roots->root[i].fd, &handle.head, O_PATH | O_CLOEXEC);
    for (int tries = 1; fd < 0 && errno == ENOMEM && tries < TRIES_MAX; tries++) {
        sched_yield();
        fd = open_by_handle_at(roots->root[i].fd, &handle.head, O_PATH | O_CLOEXEC);
    }
    if (fd < 0) {
        return place_of_errno(errno);
    }
    const bool has_name = roots_name_of(fd, absolute);
    const int error = errno;
    close(fd);
    if (!has_name) {
        errno = error;
        return place_of_errno(error);
    }
    return roots_translate(roots, i, absolute, out) ? PLACE_INSIDE : PLACE_OUTSIDE;
}

static enum place resolve(const struct roots *roots, const struct fan_handle *directory,
                          struct depot_path *out) {
    enum place place = PLACE_OUTSIDE;
    for (size_t i = 0; i < roots->count && place == PLACE_OUTSIDE; i++) {
        if (roots->root[i].fsid == directory->fsid) {
            place = resolve_in(roots, i, directory, out);
        }
    }
    return place;
}

static enum place find_directory(const struct roots *roots, const struct fan_handle *directory,
                                 struct depot_path *out) {
    const size_t bucket = bucket_of(directory);
    const struct directory *known = recall(directory, bucket);
    if (known != NULL) {
        memcpy(out->text, known->bytes + known->handle_bytes, known->path_bytes);
        out->bytes = known->path_bytes;
        return known->is_inside ? PLACE_INSIDE : PLACE_OUTSIDE;
    }
    const enum place place = resolve(roots, directory, out);
    if (place != PLACE_UNKNOWN) {
        remember(directory, bucket, place == PLACE_INSIDE ? out : NULL);
    }
    return place;
}

/* A root's path ends with '/' or is empty, any other directory's does not. */
static void join(struct depot_path *path, const struct fan_name *name) {
    if (path->bytes > 0 && path->text[path->bytes - 1] != '/') {
        path->text[path->bytes++] = '/';
    }
    memcpy(path->text + path->bytes, name->name, name->name_bytes);
    path->bytes += name->name_bytes;
    path->text[path->bytes] = '\0';
}

enum place directories_find(const struct roots *roots, const struct fan_name *name,
                            struct depot_path *out) {
    if (!name->directory.is_given) {
        return PLACE_OUTSIDE;
    }
    const enum place place = find_directory(roots, &name->directory, out);
    if (place != PLACE_INSIDE) {
        return place;
    }
    /* A name has at most 255 bytes and a directory PATH_MAX with its prefix: checked all the same,
     * because the kernel's record is what it says it is only by its word. */
    if (name->name_bytes > NAME_MAX || out->bytes + 1 + name->name_bytes >= sizeof out->text) {
        return PLACE_OUTSIDE;
    }
    join(out, name);
    return roots_is_told(roots, out) ? PLACE_INSIDE : PLACE_OUTSIDE;
}
