/* survey.c - see survey.h. */
#define _GNU_SOURCE
#include "survey.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "directories.h"

/* Half of what is remembered: a larger depot is learnt as far as that. */
#define LEARNT_MAX 32768
/* After each the events have their turn. One directory of a slow disk may take longer. */
#define STEP_NS 1000000

/* A directory that is still to be read. */
struct pending {
    struct pending *below;
    size_t root;
    char *path; /* relative to the root; "" for itself */
};

static struct {
    struct pending *stack;
    struct pending *current;
    DIR *dir; /* of `current` */
    size_t learnt;
} survey;

static void push(size_t root, const char *parent, const char *name) {
    struct pending *new = malloc(sizeof *new);
    if (new == NULL) {
        return;
    }
    *new = (struct pending){.below = survey.stack, .root = root};
    if (asprintf(&new->path, "%s%s%s", parent, *parent == '\0' ? "" : "/", name) < 0) {
        free(new);
        return;
    }
    survey.stack = new;
}

void survey_begin(const struct roots *roots) {
    for (size_t i = 0; i < roots->count; i++) {
        push(i, "", "");
    }
}

/* The path is what the directory is called now: it may have moved since its name was read. */
static bool learn(const struct roots *roots, size_t i, int fd) {
    union {
        struct file_handle head;
        char bytes[sizeof(struct file_handle) + FAN_HANDLE_BYTES_MAX];
    } handle = {.head.handle_bytes = FAN_HANDLE_BYTES_MAX};
    char absolute[PATH_MAX];
    struct depot_path path;
    int mount_id;
    if (name_to_handle_at(fd, "", &handle.head, &mount_id, AT_EMPTY_PATH) != 0 ||
        !roots_name_of(fd, absolute) || !roots_translate(roots, i, absolute, &path)) {
        return false;
    }
    const struct fan_handle known = {.is_given = true, .fsid = roots->root[i].fsid,
                                     .handle = handle.bytes,
                                     .handle_bytes = sizeof handle.head + handle.head.handle_bytes};
    directories_meet(&known, &path);
    survey.learnt++;
    return true;
}

static int open_below(const struct root *root, const char *path) {
    const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    return (int)syscall(SYS_openat2, root->fd, *path == '\0' ? "." : path, &how, sizeof how);
}

/* One that is gone, elsewhere, or another user's (O_NOATIME), is learnt from its events. */
static void open_next(const struct roots *roots) {
    survey.current = survey.stack;
    survey.stack = survey.stack->below;
    const size_t i = survey.current->root;
    const int fd = open_below(&roots->root[i], survey.current->path);
    if (fd >= 0 && learn(roots, i, fd)) {
        survey.dir = fdopendir(fd);
    }
    if (fd >= 0 && survey.dir == NULL) {
        close(fd);
    }
}

static bool is_directory(const struct dirent *entry) {
    struct stat st;
    return entry->d_type == DT_DIR ||
           (entry->d_type == DT_UNKNOWN &&
            fstatat(dirfd(survey.dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode));
}

static void take(const struct roots *roots, const struct dirent *entry) {
    struct depot_path path = {.bytes = 0};
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
        !is_directory(entry)) {
        return;
    }
    /* Not the daemon's own. */
    if (*survey.current->path == '\0') {
        const size_t i = survey.current->root;
        path.bytes = (size_t)snprintf(path.text, sizeof path.text, "%s%s",
                                      roots->root[i].prefix, entry->d_name);
        if (!roots_is_told(roots, &path)) {
            return;
        }
    }
    push(survey.current->root, survey.current->path, entry->d_name);
}

static void drop(struct pending *pending) {
    free(pending->path);
    free(pending);
}

static void close_current(void) {
    if (survey.dir != NULL) {
        closedir(survey.dir);
        survey.dir = NULL;
    }
    drop(survey.current);
    survey.current = NULL;
}

static void drop_rest(void) {
    while (survey.stack != NULL) {
        struct pending *const last = survey.stack;
        survey.stack = last->below;
        drop(last);
    }
}

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool survey_step(const struct roots *roots) {
    const int64_t end_ns = monotonic_ns() + STEP_NS;
    while (monotonic_ns() < end_ns) {
        if (survey.dir == NULL) {
            if (survey.learnt >= LEARNT_MAX) {
                drop_rest();
            }
            if (survey.stack == NULL) {
                return false;
            }
            open_next(roots);
        }
        const struct dirent *entry = survey.dir == NULL ? NULL : readdir(survey.dir);
        if (entry == NULL) {
            close_current();
        } else {
            take(roots, entry);
        }
    }
    return true;
}
