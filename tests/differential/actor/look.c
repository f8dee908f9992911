/*
 * look.c - operations on what is known of a file: stat, listings, access, mode, owner, times,
 * length. And the whole tree, at the end.
 */
#include "actor.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fts.h>
#include <ftw.h>
#include <sys/time.h>
#include <utime.h>

typedef int (*xstat_call)(int, const char *, struct stat *);

/* statx, with what it tells put into a stat. */
static int statx_as_stat(const struct place *p, int flags, struct stat *st) {
    struct statx x;
    if (statx(p->dirfd, p->path, flags, STATX_BASIC_STATS, &x) != 0) {
        return -1;
    }
    *st = (struct stat){.st_mode = x.stx_mode,
                        .st_size = (off_t)x.stx_size,
                        .st_uid = x.stx_uid,
                        .st_gid = x.stx_gid,
                        .st_nlink = x.stx_nlink,
                        .st_blocks = (blkcnt_t)x.stx_blocks,
                        .st_mtim = {x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec}};
    return 0;
}

static int stat_by(const char *variant, const struct place *p, struct stat *st) {
    if (strcmp(variant, "stat") == 0) {
        return stat(p->absolute, st);
    }
    if (strcmp(variant, "lstat") == 0) {
        return lstat(p->absolute, st);
    }
    if (strcmp(variant, "statx") == 0) {
        return statx_as_stat(p, 0, st);
    }
    if (strcmp(variant, "lstatx") == 0) {
        return statx_as_stat(p, AT_SYMLINK_NOFOLLOW, st);
    }
    if (strcmp(variant, "__xstat") == 0) {
        const xstat_call call = (xstat_call)dlsym(RTLD_DEFAULT, "__xstat");
        return call != NULL ? call(1, p->absolute, st) : stat(p->absolute, st);
    }
    if (strcmp(variant, "opath") == 0) {
        const int fd = openat(p->dirfd, p->path, O_PATH | O_CLOEXEC);
        const int rc = fd < 0 ? -1 : fstat(fd, st);
        const int why = errno;
        if (fd >= 0) {
            close(fd);
        }
        errno = why;
        return rc;
    }
    return fstatat(p->dirfd, p->path, st, variant[0] == 'l' ? AT_SYMLINK_NOFOLLOW : 0);
}

/* stat variant how path */
static void run_stat(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    struct stat st;
    if (p.is_good && TRY(a, field(a, 1), stat_by(field(a, 1), &p, &st))) {
        say_stat(a, &st, true);
    }
    leave_place(&p);
}

/* ---- listings: sorted, with the type that the listing gave ---- */

struct listing {
    char **lines;
    size_t count;
};

static __thread struct listing *current;

static void list(struct listing *l, const char *name, int type) {
    l->lines = realloc(l->lines, (l->count + 1) * sizeof *l->lines);
    if (asprintf(&l->lines[l->count++], "%s/%d", name, type) < 0) {
        abort();
    }
}

static int in_order(const void *x, const void *y) {
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static int list_readdir(struct listing *l, const char *path) {
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return -1;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        list(l, e->d_name, e->d_type);
    }
    return closedir(dir);
}

static int list_scandir(struct listing *l, const char *path) {
    struct dirent **entries = NULL;
    const int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        list(l, entries[i]->d_name, entries[i]->d_type);
        free(entries[i]);
    }
    free(entries);
    return count < 0 ? -1 : 0;
}

static int list_getdents(struct listing *l, const char *path) {
    _Alignas(struct dirent64) char buffer[4096];
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ssize_t filled = 0;
    if (fd < 0) {
        return -1;
    }
    while ((filled = getdents64(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < filled;) {
            const struct dirent64 *e = (const struct dirent64 *)(const void *)(buffer + at);
            list(l, e->d_name, e->d_type);
            at += e->d_reclen;
        }
    }
    close(fd);
    return filled < 0 ? -1 : 0;
}

/* The walkers' own words for what a file is: FTW_F, FTS_F; sizes where they are a file's. */
static void list_visit(const char *path, int type, const struct stat *st) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s:%lld", path,
             S_ISREG(st->st_mode) ? (long long)st->st_size : -1LL);
    list(current, name, type);
}

static int visit_nftw(const char *path, const struct stat *st, int type, struct FTW *at) {
    list_visit(path + at->base, type, st);
    return 0;
}

static int visit_ftw(const char *path, const struct stat *st, int type) {
    const char *slash = strrchr(path, '/');
    list_visit(slash == NULL ? path : slash + 1, type, st);
    return 0;
}

static int list_fts(const char *path) {
    char *const paths[] = {(char *)path, NULL};
    FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (fts == NULL) {
        return -1;
    }
    for (FTSENT *e; (e = fts_read(fts)) != NULL;) {
        if (e->fts_info == FTS_NS || e->fts_info == FTS_ERR || e->fts_info == FTS_DNR) {
            errno = e->fts_errno;
            fts_close(fts);
            return -1;
        }
        list_visit(e->fts_name, e->fts_info, e->fts_statp);
    }
    return fts_close(fts);
}

static int list_by(const char *variant, struct listing *l, const char *path) {
    if (strcmp(variant, "readdir") == 0) {
        return list_readdir(l, path);
    }
    if (strcmp(variant, "scandir") == 0) {
        return list_scandir(l, path);
    }
    if (strcmp(variant, "getdents") == 0) {
        return list_getdents(l, path);
    }
    if (strcmp(variant, "nftw") == 0) {
        return nftw(path, visit_nftw, 8, FTW_PHYS);
    }
    return strcmp(variant, "ftw") == 0 ? ftw(path, visit_ftw, 8) : list_fts(path);
}

/* list variant how path */
static void run_list(struct actor *a) {
    const char *how = field(a, 2)[0] == 'd' ? "a" : field(a, 2);
    struct place p = place_of(a, how, field(a, 3));
    struct listing l = {NULL, 0};
    current = &l;
    if (TRY(a, field(a, 1), list_by(field(a, 1), &l, p.absolute))) {
        qsort(l.lines, l.count, sizeof *l.lines, in_order);
        for (size_t i = 0; i < l.count; i++) {
            say(a, " %s", l.lines[i]);
        }
    }
    while (l.count > 0) {
        free(l.lines[--l.count]);
    }
    free(l.lines);
}

/* access how path */
static void run_access(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    const int modes[] = {F_OK, R_OK, W_OK, X_OK};
    for (int i = 0; p.is_good && i < 4; i++) {
        (void)TRY(a, "access", access(p.absolute, modes[i]));
        (void)TRY(a, "faccessat", faccessat(p.dirfd, p.path, modes[i], i & 1 ? AT_EACCESS : 0));
    }
    leave_place(&p);
}

/* chmod variant how path mode */
static void run_chmod(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    const mode_t mode = (mode_t)number(a, 4);
    int fd = -1;
    if (!p.is_good) {
    } else if (strcmp(field(a, 1), "chmod") == 0) {
        (void)TRY(a, "chmod", chmod(p.absolute, mode));
    } else if (strcmp(field(a, 1), "fchmodat") == 0) {
        (void)TRY(a, "fchmodat", fchmodat(p.dirfd, p.path, mode, 0));
    } else if (TRY(a, "open", fd = openat(p.dirfd, p.path, O_RDONLY | O_CLOEXEC))) {
        (void)TRY(a, "fchmod", fchmod(fd, mode));
        close(fd);
    }
    leave_place(&p);
}

/* chown variant how path uid */
static void run_chown(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    const uid_t uid = (uid_t)number(a, 4);
    if (!p.is_good) {
    } else if (strcmp(field(a, 1), "chown") == 0) {
        (void)TRY(a, "chown", chown(p.absolute, uid, uid));
    } else {
        (void)TRY(a, "fchownat", fchownat(p.dirfd, p.path, uid, uid, AT_SYMLINK_NOFOLLOW));
    }
    leave_place(&p);
}

/* truncate variant how path length mtime */
static void run_truncate(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    const off_t length = number(a, 4);
    int fd = -1;
    if (!p.is_good) {
    } else if (strcmp(field(a, 1), "truncate") == 0) {
        (void)TRY(a, "truncate", truncate(p.absolute, length));
    } else if (TRY(a, "open", fd = openat(p.dirfd, p.path, O_WRONLY | O_CLOEXEC))) {
        (void)TRY(a, "ftruncate", ftruncate(fd, length));
        close(fd);
    }
    leave_place(&p);
}

static int set_times(const char *variant, const struct place *p, long sec) {
    const struct timespec spec[2] = {{sec, 3}, {sec, 7}};
    const struct timeval val[2] = {{sec, 3}, {sec, 7}};
    if (strcmp(variant, "utime") == 0) {
        return utime(p->absolute, &(struct utimbuf){sec, sec});
    }
    if (strcmp(variant, "utimes") == 0) {
        return utimes(p->absolute, val);
    }
    if (strcmp(variant, "lutimes") == 0) {
        return lutimes(p->absolute, val);
    }
    if (strcmp(variant, "futimesat") == 0) {
        return futimesat(p->dirfd, p->path, val);
    }
    if (strcmp(variant, "now") == 0) {
        return utimensat(p->dirfd, p->path, NULL, 0);
    }
    if (strcmp(variant, "omit") == 0) {
        const struct timespec omit[2] = {{sec, 3}, {.tv_nsec = UTIME_OMIT}};
        return utimensat(p->dirfd, p->path, omit, 0);
    }
    return utimensat(p->dirfd, p->path, spec,
                     strcmp(variant, "lutimensat") == 0 ? AT_SYMLINK_NOFOLLOW : 0);
}

/* utime variant how path sec */
static void run_utime(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    if (p.is_good) {
        (void)TRY(a, field(a, 1), set_times(field(a, 1), &p, number(a, 4)));
    }
    leave_place(&p);
}

/* tree: every file below, as one operation a file would say it */
static void walk_tree(struct actor *a, const char *path, const char *below) {
    struct listing l = {NULL, 0};
    if (list_readdir(&l, path) != 0) {
        say(a, "\n %s !%s", below, strerrorname_np(errno));
    }
    qsort(l.lines, l.count, sizeof *l.lines, in_order);
    for (size_t i = 0; i < l.count; i++) {
        char *name = l.lines[i];
        *strrchr(name, '/') = '\0';
        char full[PATH_MAX];
        char shown[PATH_MAX];
        struct stat st;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            snprintf(full, sizeof full, "%s/%s", path, name) >= PATH_MAX ||
            snprintf(shown, sizeof shown, "%s/%s", below, name) >= PATH_MAX) {
            continue;
        }
        say(a, " | %s", shown);
        if (TRY(a, "lstat", lstat(full, &st))) {
            say_stat(a, &st, true);
            int fd = -1;
            if (S_ISREG(st.st_mode) && TRY(a, "open", fd = open(full, O_RDONLY | O_CLOEXEC))) {
                (void)say_content(a, fd);
                close(fd);
            } else if (S_ISDIR(st.st_mode)) {
                walk_tree(a, full, shown);
            }
        }
    }
    while (l.count > 0) {
        free(l.lines[--l.count]);
    }
    free(l.lines);
}

static void run_tree(struct actor *a) { walk_tree(a, a->root, ""); }

const struct operation look_operations[] = {
    {"stat", run_stat},   {"list", run_list},         {"access", run_access},
    {"chmod", run_chmod}, {"chown", run_chown},       {"truncate", run_truncate},
    {"utime", run_utime}, {"tree", run_tree},         {NULL, NULL},
};
