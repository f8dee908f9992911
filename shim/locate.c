/*
 * locate.c - which file of the depot a call means, as the kernel sees it.
 *
 * A program reaches the depot by absolute and relative paths, by directory descriptors, through
 * `..` and links. On the slow paths the kernel is asked: an O_PATH descriptor, and its name in
 * /proc. Letters alone decide only what may be wrong without harm (an event, a fast stat).
 */
#define _GNU_SOURCE
#include "shim.h"
#include "sys.h"

static const char own_directory[] = ".p4cache";

/* Takes the absolute path in s->text apart. */
static enum p4shim_place place_of_text(struct p4shim_scratch *s) {
    const char *rel = p4shim_below(s->text, p4shim_real_depot());
    if (rel == NULL || *rel == '\0') {
        return P4SHIM_OUTSIDE;
    }
    const size_t own = sizeof own_directory - 1;
    if (strncmp(rel, own_directory, own) == 0 && (rel[own] == '\0' || rel[own] == '/')) {
        return P4SHIM_OUTSIDE;
    }
    s->rel_bytes = strlen(rel);
    memcpy(s->rel, rel, s->rel_bytes + 1);
    return P4SHIM_INSIDE;
}

/* The name of a descriptor to s->text; false with errno. */
static bool name_of_fd(struct p4shim_scratch *s, int fd) {
    char link[P4SHIM_FD_LINK_MAX];
    p4shim_fd_link(link, fd);
    const ssize_t bytes = sys_readlinkat(AT_FDCWD, link, s->text, PATH_MAX);
    if (bytes < 0) {
        return false;
    }
    if (bytes == PATH_MAX || s->text[0] != '/') {
        errno = ENAMETOOLONG; /* or a pipe, or outside of our root */
        return false;
    }
    s->text[bytes] = '\0';
    return true;
}

static enum p4shim_place place_of_fd(struct p4shim_scratch *s, int fd) {
    if (sys_fstat(fd, &s->st) != 0) {
        return P4SHIM_NOWHERE;
    }
    if (s->st.st_nlink == 0) {
        return P4SHIM_GONE; /* its name in /proc would end in " (deleted)" */
    }
    if (!name_of_fd(s, fd)) {
        return P4SHIM_NOWHERE;
    }
    return place_of_text(s);
}

/* Whether `path` still leads to what is in s->st. */
static bool is_still_there(const struct p4shim_scratch *s, int dirfd, const char *path,
                           int at_flags) {
    struct stat now;
    return sys_fstatat(dirfd, path, &now, at_flags) == 0 && now.st_ino == s->st.st_ino &&
           now.st_dev == s->st.st_dev;
}

/* Within the moment of a restore the marker lies in the daemon's own directory, and a descriptor
 * that was opened before is told that name. */
static bool is_moved_aside(const struct p4shim_scratch *s) {
    const char *rel = p4shim_below(s->text, p4shim_real_depot());
    return rel != NULL && strncmp(rel, own_directory, sizeof own_directory - 1) == 0;
}

enum p4shim_place p4shim_locate(struct p4shim_scratch *s, int dirfd, const char *path,
                                int at_flags) {
    enum p4shim_place place;
    if (path[0] == '\0') { /* AT_EMPTY_PATH */
        place = place_of_fd(s, dirfd);
        return place == P4SHIM_OUTSIDE && is_moved_aside(s) ? P4SHIM_GONE : place;
    }
    const int follow = at_flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0;
    struct p4shim_fd file = {.fd = sys_openat(dirfd, path, O_PATH | O_CLOEXEC | follow, 0)};
    if (file.fd < 0) {
        return errno == ENOENT ? P4SHIM_GONE : P4SHIM_NOWHERE;
    }
    if (!p4shim_own(&file, P4SHIM_PATH)) {
        return P4SHIM_NOWHERE;
    }
    place = place_of_fd(s, file.fd);
    p4shim_close(&file);
    if (place == P4SHIM_OUTSIDE && is_moved_aside(s) &&
        !is_still_there(s, dirfd, path, at_flags)) {
        place = P4SHIM_GONE;
    }
    return place;
}

/* Opens the directory part of path[0..cut), as far as `cut` goes; AT_FDCWD-like for none. */
static int open_directory(struct p4shim_scratch *s, int dirfd, const char *path, size_t cut) {
    if (cut == 0) {
        s->line[0] = '.';
        cut = 1;
    } else {
        if (cut >= sizeof s->line) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(s->line, path, cut);
    }
    s->line[cut] = '\0';
    return sys_openat(dirfd, s->line, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

/* The length of the directory part of path[0..bytes): without the last name. */
static size_t directory_part(const char *path, size_t bytes) {
    while (bytes > 0 && path[bytes - 1] != '/') {
        bytes--;
    }
    while (bytes > 1 && path[bytes - 1] == '/') {
        bytes--;
    }
    return bytes;
}

static bool has_dots(const char *rest) {
    for (const char *at = rest; *at != '\0';) {
        const char *end = strchrnul(at, '/');
        const size_t n = (size_t)(end - at);
        if ((n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.')) {
            return true;
        }
        at = *end == '\0' ? end : end + 1;
    }
    return false;
}

enum p4shim_place p4shim_locate_name(struct p4shim_scratch *s, int dirfd, const char *path) {
    const size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= PATH_MAX || path[bytes - 1] == '/') {
        return P4SHIM_OUTSIDE; /* no file has this name */
    }
    size_t cut = directory_part(path, bytes);
    struct p4shim_fd dir = {.fd = open_directory(s, dirfd, path, cut)};
    while (dir.fd < 0) {
        const size_t shorter = directory_part(path, cut);
        if (errno != ENOENT || cut == 0 || shorter == cut) {
            return errno == ENOTDIR ? P4SHIM_OUTSIDE : P4SHIM_NOWHERE;
        }
        cut = shorter;
        dir.fd = open_directory(s, dirfd, path, cut);
    }
    if (!p4shim_own(&dir, P4SHIM_PATH)) {
        return P4SHIM_NOWHERE;
    }
    enum p4shim_place place = P4SHIM_NOWHERE;
    struct stat st;
    if (sys_fstat(dir.fd, &st) == 0 && name_of_fd(s, dir.fd)) {
        size_t out = s->text[1] == '\0' ? 0 : strlen(s->text);
        if (st.st_nlink == 0 || has_dots(path + cut) ||
            !p4shim_join(s->text, sizeof s->text, &out, path + cut)) {
            place = P4SHIM_OUTSIDE;
        } else {
            place = place_of_text(s);
        }
    }
    p4shim_close(&dir);
    return place;
}

bool p4shim_is_parent_outside(struct p4shim_scratch *s, int dirfd, const char *path) {
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') {
        bytes--;
    }
    struct p4shim_fd parent = {
        .fd = open_directory(s, dirfd, path, directory_part(path, bytes))};
    if (parent.fd < 0 || !p4shim_own(&parent, P4SHIM_PATH)) {
        return false;
    }
    const enum p4shim_place place = place_of_fd(s, parent.fd);
    p4shim_close(&parent);
    return place == P4SHIM_OUTSIDE && strcmp(s->text, p4shim_real_depot()->path) != 0;
}

bool p4shim_is_textually_inside(struct p4shim_scratch *s, int dirfd, const char *path) {
    size_t bytes = 0;
    if (path[0] != '/') {
        if (dirfd != AT_FDCWD ||
            p4shim_syscall(SYS_getcwd, s->line, sizeof s->line) <= 0 || s->line[0] != '/' ||
            !p4shim_join(s->text, sizeof s->text, &bytes, s->line)) {
            return false;
        }
    }
    if (!p4shim_join(s->text, sizeof s->text, &bytes, path)) {
        return false;
    }
    return place_of_text(s) == P4SHIM_INSIDE || p4shim_below(s->text, &p4shim_config.depot) != NULL;
}

bool p4shim_is_cwd_inside(const char *path) {
    char cwd[PATH_MAX];
    if (strstr(path, "..") != NULL ||
        p4shim_syscall(SYS_getcwd, cwd, sizeof cwd) <= 0 || cwd[0] != '/') {
        return false;
    }
    const struct p4shim_root *real = p4shim_real_depot();
    if (strcmp(cwd, real->path) == 0) {
        return strncmp(path, own_directory, sizeof own_directory - 1) != 0;
    }
    const char *rel = p4shim_below(cwd, real);
    return rel != NULL && strncmp(rel, own_directory, sizeof own_directory - 1) != 0;
}

static bool ask_for_directory(int dirfd) {
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return false;
    }
    const enum p4shim_place place = place_of_fd(s, dirfd);
    const bool is_inside =
        place == P4SHIM_INSIDE ||
        (place == P4SHIM_OUTSIDE && strcmp(s->text, p4shim_real_depot()->path) == 0);
    p4shim_scratch_release(s);
    return is_inside;
}

/* The last directory that was found inside: a listing asks for each of its entries. One that was
 * outside is not kept: its inode number may be a new directory's of the depot next. */
static __thread struct {
    bool is_in_use; /* a signal handler that comes in between goes without */
    dev_t dev;
    ino_t ino;
} last_inside __attribute__((tls_model("initial-exec")));

bool p4shim_is_directory_inside(int dirfd) {
    struct stat st;
    if (last_inside.is_in_use || sys_fstat(dirfd, &st) != 0) {
        return ask_for_directory(dirfd);
    }
    last_inside.is_in_use = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    bool is_inside = last_inside.ino == st.st_ino && last_inside.dev == st.st_dev;
    if (!is_inside && ask_for_directory(dirfd)) {
        last_inside.dev = st.st_dev;
        last_inside.ino = st.st_ino;
        is_inside = true;
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    last_inside.is_in_use = false;
    return is_inside;
}
