/*
 * locate.c - which file of the depot a call means, as the kernel sees it.
 *
 * A program reaches the depot by absolute and relative paths, by directory descriptors, through
 * `..` and links. On the slow paths the kernel is asked: for what is there an O_PATH descriptor, and
 * its name in /proc; for what may be missing each link of its path. Letters alone decide only what may be wrong without harm (an event, a fast stat).
 */
#define _GNU_SOURCE
#include "shim.h"
#include "sys.h"

#define LINKS_MAX 40 /* as the kernel's */

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

/* The directory that a path starts from, to s->text, without links or a slash at its end. */
static bool start_walk(struct p4shim_scratch *s, int dirfd, const char *path, size_t *at) {
    struct stat st;
    *at = 0;
    if (path[0] == '/') {
        return true;
    }
    if (dirfd == AT_FDCWD) {
        if (p4shim_syscall(SYS_getcwd, s->text, PATH_MAX) <= 0) {
            return false;
        }
    } else if (sys_fstat(dirfd, &st) != 0 || !name_of_fd(s, dirfd)) {
        return false;
    } else if (st.st_nlink == 0) {
        errno = ENOENT; /* removed: its name in /proc is none */
        return false;
    }
    if (s->text[0] != '/') {
        errno = ENOENT; /* outside of our root */
        return false;
    }
    *at = s->text[1] == '\0' ? 0 : strlen(s->text);
    return true;
}

/* Takes the last name off s->text. */
static size_t step_back(struct p4shim_scratch *s, size_t at) {
    while (at > 0 && s->text[--at] != '/') {
    }
    return at;
}

enum step { NO_LINK, LINK, MISSING, FAILED };

/* What stands at s->text; a link's target is put in front of what is left of the path. */
static enum step read_link(struct p4shim_scratch *s, const char *rest) {
    const ssize_t bytes = sys_readlinkat(AT_FDCWD, s->text, s->line, sizeof s->line);
    if (bytes < 0) {
        return errno == EINVAL ? NO_LINK : errno == ENOENT ? MISSING : FAILED;
    }
    const size_t left = strlen(rest) + 1;
    if ((size_t)bytes + left > sizeof s->line) {
        errno = ENAMETOOLONG;
        return FAILED;
    }
    memcpy(s->line + bytes, rest, left);
    memcpy(s->record, s->line, (size_t)bytes + left);
    return LINK;
}

/*
 * Follows a path, one name after another, as the kernel would, by reading links: this needs no
 * descriptor, and goes on where the kernel stops, at what is missing. *has_parent: all but the
 * last name is there.
 */
static enum p4shim_place walk(struct p4shim_scratch *s, int dirfd, const char *path, int flags,
                              bool *has_parent) {
    const size_t given = strlen(path);
    size_t at = 0;
    int links = 0;
    bool is_there = true;
    if (given == 0 || given >= PATH_MAX) {
        return P4SHIM_OUTSIDE; /* no file has this name */
    }
    memcpy(s->record, path, given + 1);
    if (!start_walk(s, dirfd, path, &at)) {
        return P4SHIM_NOWHERE;
    }
    for (const char *rest = s->record; *(rest += strspn(rest, "/")) != '\0';) {
        const size_t n = strcspn(rest, "/");
        const bool ends_here = rest[n] == '\0';
        const bool is_last = rest[n + strspn(rest + n, "/")] == '\0';
        if (rest[0] == '.' && (n == 1 || (n == 2 && rest[1] == '.'))) {
            if (is_last || !is_there) {
                return P4SHIM_OUTSIDE; /* no name, or none that the kernel would find */
            }
            at = n == 1 ? at : step_back(s, at);
            rest += n;
            continue;
        }
        if (is_last && !ends_here && (flags & P4SHIM_AT_DIRECTORY) == 0) {
            return P4SHIM_OUTSIDE; /* a slash at its end: no file */
        }
        if (at + n + 2 > sizeof s->text) {
            errno = ENAMETOOLONG;
            return P4SHIM_NOWHERE;
        }
        s->text[at] = '/';
        memcpy(s->text + at + 1, rest, n);
        s->text[at + 1 + n] = '\0';
        *has_parent = is_there;
        enum step step = NO_LINK;
        if (is_there && !(is_last && (flags & AT_SYMLINK_NOFOLLOW) != 0)) {
            step = read_link(s, rest + n);
        }
        if (step == FAILED) {
            return errno == ENOTDIR ? P4SHIM_OUTSIDE : P4SHIM_NOWHERE;
        }
        if (step == LINK && ++links > LINKS_MAX) {
            errno = ELOOP;
            return P4SHIM_NOWHERE;
        }
        if (step == LINK) {
            at = s->record[0] == '/' ? 0 : at;
            rest = s->record;
        } else if (is_last) {
            return place_of_text(s);
        } else {
            is_there = is_there && step != MISSING;
            at += n + 1;
            rest += n;
        }
    }
    return P4SHIM_OUTSIDE; /* the root */
}

enum p4shim_place p4shim_locate_name(struct p4shim_scratch *s, int dirfd, const char *path,
                                     int flags) {
    bool has_parent = false;
    const int saved = errno;
    const enum p4shim_place place = walk(s, dirfd, path, flags, &has_parent);
    errno = place == P4SHIM_NOWHERE ? errno : saved;
    return place;
}

bool p4shim_is_parent_outside(struct p4shim_scratch *s, int dirfd, const char *path) {
    bool has_parent = false;
    return walk(s, dirfd, path, AT_SYMLINK_NOFOLLOW | P4SHIM_AT_DIRECTORY, &has_parent) ==
               P4SHIM_OUTSIDE &&
           has_parent;
}

/* On the stack, which may be a signal handler's. What is longer takes the long way. */
#define SHORT_PATH_MAX 1024

static bool is_link(int dirfd, const char *path) {
    char first;
    return sys_readlinkat(dirfd, path, &first, 1) > 0;
}

static bool is_parent_link(int dirfd, const char *path) {
    char parent[SHORT_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : (size_t)(slash - path);
    while (bytes > 0 && path[bytes - 1] == '/') {
        bytes--;
    }
    if (bytes == 0 || bytes >= sizeof parent) {
        return bytes > 0; /* to be looked at in a scratch page */
    }
    memcpy(parent, path, bytes);
    parent[bytes] = '\0';
    return is_link(dirfd, parent);
}

bool p4shim_may_lead_to_managed(int dirfd, const char *path, int at_flags) {
    if (p4shim_may_be_managed(path, p4shim_config.manage_all)) {
        return true;
    }
    if (!p4shim_is_below_by_letters(dirfd, path)) {
        return false;
    }
    const int saved = errno;
    const bool may = is_parent_link(dirfd, path) ||
                     ((at_flags & AT_SYMLINK_NOFOLLOW) == 0 && is_link(dirfd, path));
    errno = saved;
    return may;
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
    char cwd[SHORT_PATH_MAX];
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
