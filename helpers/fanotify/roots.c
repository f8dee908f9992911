/* roots.c - see roots.h. */
#define _GNU_SOURCE
#include "roots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../common/output.h"

#define RESERVED_NAME ".p4cache"
#define CANARY_PREFIX ".p4cache/canary"

bool roots_name_of(int fd, char *out) {
    char link[32];
    struct stat st;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t bytes = readlink(link, out, PATH_MAX);
    if (bytes < 0) {
        return false;
    }
    if (bytes == PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    out[bytes] = '\0';
    /* The kernel adds " (deleted)"; a file may be called so, hence the count of links. */
    if (fstat(fd, &st) != 0 || st.st_nlink == 0) {
        errno = ENOENT;
        return false;
    }
    return true;
}

/* Where `absolute` goes on after `directory`: "" for itself, NULL when it is not below. */
static const char *below(const char *directory, const char *absolute) {
    const size_t bytes = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
    if (strncmp(absolute, directory, bytes) != 0 ||
        (absolute[bytes] != '/' && absolute[bytes] != '\0')) {
        return NULL;
    }
    return absolute[bytes] == '/' ? absolute + bytes + 1 : absolute + bytes;
}

/* The first root has none. A further one is below it, really or by a symbolic link in it. */
static void set_prefix(const struct roots *roots, struct root *root, const char *given) {
    static char first_given[PATH_MAX];
    root->prefix[0] = '\0';
    if (roots->count == 0) {
        snprintf(first_given, sizeof first_given, "%s", given);
        return;
    }
    const char *rest = below(roots->root[0].real, root->real);
    rest = rest != NULL ? rest : below(first_given, given);
    if (rest != NULL && *rest != '\0' && strlen(rest) + 1 < sizeof root->prefix) {
        snprintf(root->prefix, sizeof root->prefix, "%s/", rest);
    } else {
        output_fatal(EINVAL, "Cannot watch \"%s\": it is not below \"%s\"", given, first_given);
    }
}

/*
 * What a file system does is told to root and to whoever owns the tree: anybody may start this
 * program where its mode lets him. Asked of what is open: a path may lead elsewhere the next time.
 */
static void refuse_stranger(int fd, const char *path) {
    struct stat st;
    const uid_t uid = getuid();
    if (fstat(fd, &st) != 0) {
        output_fatal(errno, "Cannot stat depot \"%s\": %s", path, strerror(errno));
    }
    if (uid != 0 && uid != st.st_uid) {
        output_fatal(EPERM,
                     "Cannot watch \"%s\": it belongs to UID %u, and this runs as UID %u; run p4-cache "
                     "as the user of p4d, and give him this directory (chown, without -R)",
                     path, st.st_uid, uid);
    }
}

void roots_add(struct roots *roots, const char *path) {
    struct statfs fs;
    if (roots->count == ROOTS_MAX) {
        output_fatal(EINVAL, "Cannot watch more than %d trees", ROOTS_MAX);
    }
    struct root *all = realloc(roots->root, (roots->count + 1) * sizeof *all);
    if (all == NULL) {
        output_fatal(ENOMEM, "Cannot watch \"%s\": no memory", path);
    }
    roots->root = all;
    struct root *root = &all[roots->count];
    root->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root->fd < 0 || fstatfs(root->fd, &fs) != 0 || !roots_name_of(root->fd, root->real)) {
        output_fatal(errno, "Cannot open depot \"%s\": %s", path, strerror(errno));
    }
    refuse_stranger(root->fd, path);
    _Static_assert(sizeof fs.f_fsid == sizeof root->fsid, "the layout of the kernel");
    memcpy(&root->fsid, &fs.f_fsid, sizeof root->fsid);
    set_prefix(roots, root, path);
    roots->count++;
}

bool roots_translate(const struct roots *roots, size_t i, const char *absolute,
                     struct depot_path *out) {
    const struct root *root = &roots->root[i];
    const char *rest = below(root->real, absolute);
    if (rest == NULL) {
        return false;
    }
    const size_t prefix_bytes = strlen(root->prefix);
    const size_t rest_bytes = strlen(rest);
    memcpy(out->text, root->prefix, prefix_bytes);
    memcpy(out->text + prefix_bytes, rest, rest_bytes);
    out->bytes = prefix_bytes + rest_bytes;
    out->text[out->bytes] = '\0';
    return true;
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

bool roots_is_told(const struct roots *roots, const struct depot_path *path) {
    for (size_t i = 0; i < roots->count; i++) {
        const char *prefix = roots->root[i].prefix;
        const char *rest = path->text + strlen(prefix);
        if (begins(path->text, prefix) && begins(rest, RESERVED_NAME)) {
            const char after = rest[sizeof RESERVED_NAME - 1];
            if ((after == '\0' || after == '/') && !begins(rest, CANARY_PREFIX)) {
                return false;
            }
        }
    }
    return path->bytes > 0;
}

void roots_check(const struct roots *roots) {
    char now[PATH_MAX];
    for (size_t i = 0; i < roots->count; i++) {
        const struct root *root = &roots->root[i];
        if (!roots_name_of(root->fd, now) || strcmp(now, root->real) != 0) {
            output_fatal(ESTALE, "Cannot go on: \"%s\" was moved or removed", root->real);
        }
    }
}
