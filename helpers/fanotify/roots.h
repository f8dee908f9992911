/* roots.h - the trees that are watched, and where a directory lies in them. */
#ifndef P4CACHE_ROOTS_H
#define P4CACHE_ROOTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The depot, and one for each further device below it. */
#define ROOTS_MAX 64

struct root {
    int fd;               /* open for reading: a mount for open_by_handle_at */
    uint64_t fsid;        /* as in events */
    char real[PATH_MAX];  /* absolute, as the kernel prints it */
    char prefix[PATH_MAX]; /* of its paths, relative to the first root: "" or "big/" */
};

struct roots {
    struct root *root;
    size_t count;
};

/* A path relative to the first root. */
struct depot_path {
    size_t bytes;
    char text[2 * PATH_MAX];
};

/*
 * Opens one more root, which belongs to the user who started this, if he is not root. Ends the
 * process with a fatal line when it cannot.
 */
void roots_add(struct roots *roots, const char *path);

/*
 * What the kernel calls the file behind a descriptor. False with errno; ENOENT when no name leads
 * there any more. out: PATH_MAX bytes.
 */
bool roots_name_of(int fd, char *out);

/* The path in the depot of an absolute path, when it lies below roots->root[i]. */
bool roots_translate(const struct roots *roots, size_t i, const char *absolute,
                     struct depot_path *out);

/* Whether events under this path are told: the daemon's own directories are not, but its canary. */
bool roots_is_told(const struct roots *roots, const struct depot_path *path);

/* A root that was renamed or unmounted would make the watcher blind: a fatal line. */
void roots_check(const struct roots *roots);

#endif
