/* directories.c - see directories.h. */
#define _GNU_SOURCE
#include "directories.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 16384
/* About 16 MB with paths of 150 bytes; then it starts anew. */
#define REMEMBERED_MAX 65536
/*
 * ext4 says ENOMEM, not ESTALE, while the number of a removed directory is being given to a new
 * inode (seen on 6.18 within 20,000 events). It passes in microseconds of whoever makes that inode,
 * who may have to get a core first: a few tries at once, then some with sleeps. Where it has not
 * passed by then, memory is short, and the scan that follows is one for all: for a second nobody
 * sleeps, since the events of others wait meanwhile.
 */
#define TRIES_AT_ONCE 10
#define TRIES_MAX 110
#define SLEEP_NS 1000000
#define GIVEN_UP_S 1

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

static bool is_of(const struct directory *d, const struct fan_handle *handle) {
    return d->fsid == handle->fsid && d->handle_bytes == handle->handle_bytes &&
           memcmp(d->bytes, handle->handle, handle->handle_bytes) == 0;
}

static struct directory **slot_of(const struct fan_handle *handle) {
    struct directory **slot = &buckets[bucket_of(handle)];
    while (*slot != NULL && !is_of(*slot, handle)) {
        slot = &(*slot)->next;
    }
    return slot;
}

static void forget(struct directory **slot) {
    struct directory *gone = *slot;
    *slot = gone->next;
    free(gone);
    remembered--;
}

void directories_forget(const struct fan_handle *handle) {
    struct directory **slot = slot_of(handle);
    if (handle->is_given && *slot != NULL) {
        forget(slot);
    }
}

void directories_forget_all(void) {
    for (size_t i = 0; i < BUCKETS && remembered > 0; i++) {
        while (buckets[i] != NULL) {
            forget(&buckets[i]);
        }
    }
}

/* Without memory it is resolved again the next time. */
static void remember(const struct fan_handle *handle, const struct depot_path *path) {
    if (remembered == REMEMBERED_MAX) {
        directories_forget_all();
    }
    const size_t path_bytes = path == NULL ? 0 : path->bytes;
    struct directory *d = malloc(sizeof *d + handle->handle_bytes + path_bytes);
    if (d == NULL) {
        return;
    }
    const size_t bucket = bucket_of(handle);
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

void directories_learn(const struct fan_handle *handle, const struct depot_path *path) {
    if (handle->is_given) {
        directories_forget(handle);
        remember(handle, path);
    }
}

void directories_meet(const struct fan_handle *handle, const struct depot_path *path) {
    if (*slot_of(handle) == NULL) {
        remember(handle, path);
    }
}

/* Where the path of `d` goes on after `path`: "" for itself, NULL when it is not below. */
static const char *rest_below(const struct directory *d, const struct depot_path *path) {
    const char *own = d->bytes + d->handle_bytes;
    const bool is_below = d->is_inside && d->path_bytes >= path->bytes &&
                          memcmp(own, path->text, path->bytes) == 0 &&
                          (d->path_bytes == path->bytes || own[path->bytes] == '/');
    return is_below ? own + path->bytes : NULL;
}

/* The same with another path; outside, when `to` is NULL. NULL when there is no memory. */
static struct directory *moved(struct directory *d, const char *rest, const struct depot_path *to) {
    const size_t rest_bytes = d->path_bytes - (size_t)(rest - d->bytes - (ptrdiff_t)d->handle_bytes);
    const size_t path_bytes = to == NULL ? 0 : to->bytes + rest_bytes;
    struct directory *now = malloc(sizeof *now + d->handle_bytes + path_bytes);
    if (now == NULL) {
        return NULL;
    }
    memcpy(now, d, sizeof *d + d->handle_bytes);
    now->is_inside = to != NULL;
    now->path_bytes = path_bytes;
    if (to != NULL) {
        memcpy(now->bytes + now->handle_bytes, to->text, to->bytes);
        memcpy(now->bytes + now->handle_bytes + to->bytes, rest, rest_bytes);
    }
    return now;
}

/* What moved there is told of next; what is remembered there was replaced, or is elsewhere. */
static void clear_way(const struct depot_path *to) {
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct directory **slot = &buckets[i]; *slot != NULL;) {
            if (rest_below(*slot, to) != NULL) {
                forget(slot);
            } else {
                slot = &(*slot)->next;
            }
        }
    }
}

/* Whatever lay outside may be what came. */
static void forget_outside(void) {
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct directory **slot = &buckets[i]; *slot != NULL;) {
            if ((*slot)->is_inside) {
                slot = &(*slot)->next;
            } else {
                forget(slot);
            }
        }
    }
}

static void move_below(const struct depot_path *from, const struct depot_path *to) {
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct directory **slot = &buckets[i]; *slot != NULL;) {
            struct directory *d = *slot;
            const char *rest = rest_below(d, from);
            struct directory *now = rest == NULL ? d : moved(d, rest, to);
            if (now == NULL) {
                forget(slot);
                continue;
            }
            if (now != d) {
                *slot = now;
                free(d);
            }
            slot = &now->next;
        }
    }
}

/* The last rename within the depot. */
static struct {
    uint64_t directory; /* hash of its handle */
    struct depot_path from;
    struct depot_path to;
} last;

static bool is_same(const struct depot_path *a, const struct depot_path *b) {
    return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
}

/* The way back of the last rename, and of another directory: the other half of an exchange. */
static bool is_other_half(const struct fan_handle *directory, const struct depot_path *from,
                          const struct depot_path *to) {
    return is_same(from, &last.to) && is_same(to, &last.from) &&
           fan_handle_hash(directory) != last.directory;
}

void directories_move(const struct fan_handle *directory, const struct depot_path *from,
                      const struct depot_path *to) {
    if (directory->is_given && from != NULL && to != NULL) {
        if (is_other_half(directory, from, to)) {
            /* By its first half what lay in one is remembered in the other. */
            directories_forget_all();
            last.from.bytes = last.to.bytes = 0;
            return;
        }
        last.directory = fan_handle_hash(directory);
        last.from = *from;
        last.to = *to;
    }
    if (to != NULL) {
        clear_way(to);
    }
    if (from == NULL) {
        forget_outside();
    } else {
        move_below(from, to);
    }
}

/*
 * ESTALE, ENOENT: the directory is gone, and with it all that was in it. ENAMETOOLONG: longer than
 * any path that is managed.
 */
static enum place place_of_errno(int error) {
    return error == ESTALE || error == ENOENT || error == ENAMETOOLONG ? PLACE_OUTSIDE
                                                                       : PLACE_UNKNOWN;
}

static bool is_given_up(const struct timespec *until) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec < until->tv_sec ||
           (now.tv_sec == until->tv_sec && now.tv_nsec < until->tv_nsec);
}

static int open_handle(const struct root *root, const struct fan_handle *file) {
    static struct timespec given_up; /* until then */
    union {
        struct file_handle head;
        char bytes[sizeof(struct file_handle) + FAN_HANDLE_BYTES_MAX];
    } handle;
    memcpy(handle.bytes, file->handle, file->handle_bytes);
    int fd = open_by_handle_at(root->fd, &handle.head, O_PATH | O_CLOEXEC);
    for (int tries = 1; fd < 0 && errno == ENOMEM; tries++) {
        if (tries == TRIES_MAX) {
            clock_gettime(CLOCK_MONOTONIC, &given_up);
            given_up.tv_sec += GIVEN_UP_S;
        }
        if (tries >= TRIES_AT_ONCE && is_given_up(&given_up)) {
            errno = ENOMEM;
            return -1;
        }
        if (tries < TRIES_AT_ONCE) {
            sched_yield();
        } else {
            nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
        }
        fd = open_by_handle_at(root->fd, &handle.head, O_PATH | O_CLOEXEC);
    }
    return fd;
}

bool directories_stat(const struct roots *roots, const struct fan_handle *file, struct stat *out) {
    bool is_known = false;
    for (size_t i = 0; file->is_given && i < roots->count && !is_known; i++) {
        const int fd = roots->root[i].fsid == file->fsid ? open_handle(&roots->root[i], file) : -1;
        if (fd >= 0) {
            is_known = fstat(fd, out) == 0;
            close(fd);
        }
    }
    return is_known;
}

static enum place resolve_in(const struct roots *roots, size_t i,
                             const struct fan_handle *directory, struct depot_path *out) {
    char absolute[PATH_MAX];
    const int fd = open_handle(&roots->root[i], directory);
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
    const struct directory *known = *slot_of(directory);
    if (known != NULL) {
        memcpy(out->text, known->bytes + known->handle_bytes, known->path_bytes);
        out->bytes = known->path_bytes;
        return known->is_inside ? PLACE_INSIDE : PLACE_OUTSIDE;
    }
    const enum place place = resolve(roots, directory, out);
    if (place != PLACE_UNKNOWN) {
        remember(directory, place == PLACE_INSIDE ? out : NULL);
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
