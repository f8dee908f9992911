/*
 * names.c - operations on names: rename, link, unlink, directories, symbolic links.
 */
#include "actor.h"

#include <sys/syscall.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

/* rename variant howA pathA howB pathB */
static void run_rename(struct actor *a) {
    const char *variant = field(a, 1);
    struct place from = place_of(a, field(a, 2), field(a, 3));
    struct place to = place_of(a, field(a, 4), field(a, 5));
    enter_structure(a);
    if (!from.is_good || !to.is_good) {
    } else if (strcmp(variant, "rename") == 0) {
        (void)TRY(a, "rename", rename(from.absolute, to.absolute));
    } else if (strcmp(variant, "renameat") == 0) {
        (void)TRY(a, "renameat", renameat(from.dirfd, from.path, to.dirfd, to.path));
    } else {
        const unsigned flags = strcmp(variant, "noreplace") == 0  ? RENAME_NOREPLACE
                               : strcmp(variant, "exchange") == 0 ? RENAME_EXCHANGE
                                                                  : 0;
        (void)TRY(a, "renameat2", renameat2(from.dirfd, from.path, to.dirfd, to.path, flags));
    }
    leave_structure(a);
    leave_place(&from);
    leave_place(&to);
}

/* link variant howA pathA howB pathB */
static void run_link(struct actor *a) {
    struct place from = place_of(a, field(a, 2), field(a, 3));
    struct place to = place_of(a, field(a, 4), field(a, 5));
    enter_structure(a);
    if (!from.is_good || !to.is_good) {
    } else if (strcmp(field(a, 1), "link") == 0) {
        (void)TRY(a, "link", link(from.absolute, to.absolute));
    } else {
        const int flags = strcmp(field(a, 1), "follow") == 0 ? AT_SYMLINK_FOLLOW : 0;
        (void)TRY(a, "linkat", linkat(from.dirfd, from.path, to.dirfd, to.path, flags));
    }
    leave_structure(a);
    leave_place(&from);
    leave_place(&to);
}

/* unlink variant how path */
static void run_unlink(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    if (!p.is_good) {
    } else if (strcmp(field(a, 1), "unlink") == 0) {
        (void)TRY(a, "unlink", unlink(p.absolute));
    } else if (strcmp(field(a, 1), "remove") == 0) {
        (void)TRY(a, "remove", remove(p.absolute));
    } else {
        (void)TRY(a, "unlinkat", unlinkat(p.dirfd, p.path, 0));
    }
    leave_place(&p);
}

/* mkdir how path mode */
static void run_mkdir(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    if (p.is_good) {
        (void)TRY(a, "mkdirat", mkdirat(p.dirfd, p.path, (mode_t)number(a, 3)));
    }
    leave_place(&p);
}

/* rmdir variant how path */
static void run_rmdir(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    enter_structure(a);
    if (!p.is_good) {
    } else if (strcmp(field(a, 1), "rmdir") == 0) {
        (void)TRY(a, "rmdir", rmdir(p.absolute));
    } else if (strcmp(field(a, 1), "remove") == 0) {
        (void)TRY(a, "remove", remove(p.absolute));
    } else {
        (void)TRY(a, "unlinkat", unlinkat(p.dirfd, p.path, AT_REMOVEDIR));
    }
    leave_structure(a);
    leave_place(&p);
}

/* symlink target how path */
static void run_symlink(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    if (p.is_good) {
        (void)TRY(a, "symlinkat", symlinkat(field(a, 1), p.dirfd, p.path));
    }
    leave_place(&p);
}

/* readlink how path */
static void run_readlink(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    char target[PATH_MAX];
    ssize_t n = 0;
    if (p.is_good &&
        TRY(a, "readlinkat", n = readlinkat(p.dirfd, p.path, target, sizeof target - 1))) {
        target[n] = '\0';
        say(a, " %s", target);
    }
    leave_place(&p);
}

/* chdir path */
static void run_chdir(struct actor *a) {
    struct place p = place_of(a, "a", field(a, 1));
    if (TRY(a, "chdir", chdir(p.absolute))) {
        snprintf(a->cwd, sizeof a->cwd, "%s", field(a, 1));
    }
}

/*
 * replace how path temporary length seed mtime: as lib/rcs updates a `,v`: stat, read the old one,
 * write old and new to a temporary name beside it, rename it over.
 */
static void run_replace(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    struct place t = place_of(a, field(a, 1), field(a, 3));
    unsigned char old[4096];
    ssize_t kept = 0;
    struct stat st;
    bool is_good = p.is_good && t.is_good;
    int fd = -1;
    if (is_good && TRY(a, "fstatat", fstatat(p.dirfd, p.path, &st, 0))) {
        is_good = TRY(a, "open", fd = openat(p.dirfd, p.path, O_RDONLY | O_CLOEXEC));
        if (is_good) {
            is_good = TRY(a, "read", kept = read(fd, old, sizeof old));
            close(fd);
        }
    } else if (is_good) {
        is_good = errno == ENOENT && a->failed_step < 0;
    }
    if (is_good && TRY(a, "create", fd = openat(t.dirfd, t.path,
                                                O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444))) {
        is_good = TRY(a, "keep", write_all(fd, old, (size_t)kept) ? 0 : -1) &&
                  write_pattern(a, "write", fd, (size_t)number(a, 4),
                                (unsigned long)number(a, 5));
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {number(a, 6), 5}};
        if (number(a, 6) > 0) {
            (void)TRY(a, "futimens", futimens(fd, times));
        }
        close(fd);
        enter_structure(a);
        if (is_good) {
            (void)TRY(a, "renameat", renameat(t.dirfd, t.path, p.dirfd, p.path));
        }
        leave_structure(a);
    }
    leave_place(&p);
    leave_place(&t);
}

const struct operation name_operations[] = {
    {"rename", run_rename},   {"link", run_link},       {"unlink", run_unlink},
    {"mkdir", run_mkdir},     {"rmdir", run_rmdir},     {"symlink", run_symlink},
    {"readlink", run_readlink}, {"chdir", run_chdir},   {"replace", run_replace},
    {NULL, NULL},
};
