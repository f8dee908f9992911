/*
 * remove.c - deletes. The kernel removes the name, marker or file; then the daemon hears of it,
 * so that the store's object goes after its grace. A delete hardly waits because of us: what the
 * daemon could not be told is left in a file that it reads. It fails because of us only where a
 * process has no descriptor left to tell it or to write it down: the file would come back.
 */
#define _GNU_SOURCE
#include "real.h"
#include "shim.h"
#include "sys.h"

#define DELETE_SILENCE_MS 5000
#define BUSY_PAUSE_MS 50
#define OWN_DIRECTORY "/.p4cache"
#define FAILED_DELETES "shim-failed-deletes.log"
#define DESCRIPTORS_MIN 2 /* to write it down: the directory's and the log's */
/* What others may write too is not taken for the word of its owner (src/engine/may_delete.ts). */
#define LOG_MODE 0640
#define LOG_ATTEMPTS_MAX 5
#define LOG_PAUSE_MS 10

/* Whoever is first makes the file, be it root: p4d's user adds to it, and the daemon reads it. */
static void share_log(int fd, const struct stat *log, const struct stat *directory) {
    if (log->st_uid != directory->st_uid &&
        p4shim_syscall(SYS_fchown, fd, directory->st_uid, directory->st_gid) != 0) {
        /* who is of that group may do this */
        p4shim_syscall(SYS_fchown, fd, -1, directory->st_gid);
    }
    if ((log->st_mode & 0777) != LOG_MODE) {
        p4shim_syscall(SYS_fchmod, fd, LOG_MODE);
    }
}

/* One that was made a moment ago may not have been given to us yet. */
static int open_log(const struct p4shim_fd *directory, bool *is_new) {
    const int flags = P4SHIM_LOG_FLAGS | O_NOFOLLOW | O_CLOEXEC;
    for (int attempt = 0; p4shim_is_ours(directory); attempt++) {
        int fd = sys_openat(directory->fd, FAILED_DELETES, flags, 0);
        *is_new = fd < 0 && errno == ENOENT;
        if (*is_new) {
            fd = sys_openat(directory->fd, FAILED_DELETES, flags | O_CREAT | O_EXCL, LOG_MODE);
        }
        if (fd >= 0 || attempt == LOG_ATTEMPTS_MAX ||
            (errno != EACCES && errno != EEXIST && errno != EMFILE && errno != ENFILE)) {
            return fd;
        }
        p4shim_pause_ms(LOG_PAUSE_MS);
    }
    return -1;
}

/* Whether what its number leads to is the log by its name, asked last. The host may have closed all its
 * descriptors and opened a file of its own under this one, also to append to; the daemon may have
 * renamed the log. Who owns the directory can put there what he likes, and a root program comes
 * along: a link to a file of root's is none. */
static bool is_log(const struct p4shim_fd *log, const struct p4shim_fd *directory,
                   struct stat *st) {
    struct stat named;
    return p4shim_is_ours(directory) &&
           sys_fstatat(directory->fd, FAILED_DELETES, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           sys_fstat(log->fd, st) == 0 && st->st_dev == named.st_dev &&
           st->st_ino == named.st_ino && S_ISREG(st->st_mode) && st->st_nlink == 1;
}

/* Nobody is given what this call has not made. False: to be opened anew. */
static bool append_to(const struct p4shim_fd *log, bool is_new,
                      const struct p4shim_fd *directory, const char *record, size_t bytes) {
    struct stat st;
    struct stat of_directory;
    if (is_new && is_log(log, directory, &st) && sys_fstat(directory->fd, &of_directory) == 0 &&
        of_directory.st_dev == directory->dev && of_directory.st_ino == directory->ino) {
        share_log(log->fd, &st, &of_directory);
    }
    if (!is_log(log, directory, &st)) {
        return false;
    }
    (void)p4shim_syscall(SYS_write, log->fd, record, bytes);
    return true;
}

static void append(const struct p4shim_fd *directory, const char *record, size_t bytes) {
    bool is_written = false;
    for (int attempt = 0; attempt < LOG_ATTEMPTS_MAX && !is_written; attempt++) {
        bool is_new = false;
        struct p4shim_fd log = {.fd = open_log(directory, &is_new)};
        if (log.fd < 0) {
            return;
        }
        if (p4shim_own(&log, P4SHIM_LOG)) {
            is_written = append_to(&log, is_new, directory, record, bytes);
            p4shim_close(&log);
        }
    }
}

/*
 * One line, one write: records of several processes do not mix. `removed_ms`: what came to the name
 * since is not meant.
 */
static void log_failed_delete(struct p4shim_scratch *s, int64_t removed_ms, const char *why) {
    struct p4shim_json j = {s->record, sizeof s->record, 0, false};
    p4shim_json_raw(&j, "{\"ts\":");
    p4shim_json_number(&j, removed_ms);
    p4shim_json_raw(&j, ",\"pid\":");
    p4shim_json_number(&j, p4shim_syscall(SYS_getpid));
    p4shim_json_raw(&j, ",\"uid\":");
    p4shim_json_number(&j, p4shim_syscall(SYS_geteuid));
    p4shim_json_raw(&j, ",\"path\":\"");
    p4shim_json_text(&j, s->rel, s->rel_bytes);
    p4shim_json_raw(&j, "\",\"why\":\"");
    p4shim_json_raw(&j, why);
    p4shim_json_raw(&j, "\"}\n");

    const size_t depot_bytes = p4shim_config.depot.bytes;
    if (j.is_full || depot_bytes + sizeof OWN_DIRECTORY > sizeof s->text) {
        return;
    }
    memcpy(s->text, p4shim_config.depot.path, depot_bytes);
    memcpy(s->text + depot_bytes, OWN_DIRECTORY, sizeof OWN_DIRECTORY);
    struct p4shim_fd directory = {
        .fd = sys_openat(AT_FDCWD, s->text, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0)};
    if (directory.fd >= 0 && p4shim_own(&directory, P4SHIM_PATH)) {
        append(&directory, s->record, j.bytes);
        p4shim_close(&directory);
    }
}

static const char denied[] = "denied"; /* for want of the right, which no log gives */

/* NULL when the daemon took it or never had it; else why not, for the log. */
static const char *tell_daemon(struct p4shim_scratch *s) {
    const int64_t end_ms = p4shim_now_ms(CLOCK_MONOTONIC) + DELETE_SILENCE_MS;
    for (;;) {
        struct p4shim_exchange x;
        switch (p4shim_ask(s, "DELETE", DELETE_SILENCE_MS, &x)) {
        case P4SHIM_ANSWERED:
            break;
        case P4SHIM_UNREACHABLE:
            return "unreachable";
        case P4SHIM_FORBIDDEN:
            return "forbidden";
        case P4SHIM_HELPLESS:
            return "no resources";
        case P4SHIM_SILENT:
            return "no answer";
        }
        if (x.reply.kind == P4SHIM_OK) {
            return NULL;
        }
        switch (x.reply.code) {
        case P4SHIM_NOTFOUND:
        case P4SHIM_BADREQ:
        case P4SHIM_RESERVED:
            return NULL;
        case P4SHIM_BUSY:
            if (p4shim_now_ms(CLOCK_MONOTONIC) >= end_ms) {
                return "busy";
            }
            p4shim_pause_ms(BUSY_PAUSE_MS);
            break;
        case P4SHIM_DENIED:
            return denied;
        default:
            return "refused";
        }
    }
}

/* Nothing was removed on the disk: the errno when nothing is to be removed in the store either. */
static int remove_stored(struct p4shim_scratch *s) {
    const int64_t removed_ms = p4shim_now_ms(CLOCK_REALTIME);
    const char *why = tell_daemon(s);
    if (why == denied) {
        return EACCES;
    }
    if (why != NULL) {
        log_failed_delete(s, removed_ms, why);
    }
    return 0;
}

void p4shim_tell_removed(struct p4shim_scratch *s) {
    const int64_t removed_ms = p4shim_now_ms(CLOCK_REALTIME);
    const char *why = tell_daemon(s);
    if (why != NULL) {
        log_failed_delete(s, removed_ms, why);
    }
}

/* Missing on disk, and in the store: to the program it was there. */
static bool is_in_store(struct p4shim_scratch *s) {
    struct p4shim_reply reply;
    return p4shim_query(s, P4SHIM_ABSENT, &reply) == P4SHIM_AGAIN && reply.has_stat;
}

struct p4shim_scratch *p4shim_managed_name(int dirfd, const char *path) {
    if (!p4shim_may_lead_to_managed(dirfd, path, AT_SYMLINK_NOFOLLOW)) {
        return NULL;
    }
    const int saved = errno;
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s != NULL && (p4shim_locate_name(s, dirfd, path, AT_SYMLINK_NOFOLLOW) != P4SHIM_INSIDE ||
                      !p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all))) {
        p4shim_scratch_release(s);
        s = NULL;
    }
    errno = saved;
    return s;
}

int p4shim_why_untellable(void) {
    const int saved = errno;
    int why = 0;
    size_t opened = 0;
    struct p4shim_fd any[DESCRIPTORS_MIN];
    for (; opened < DESCRIPTORS_MIN; opened++) {
        any[opened].fd = sys_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
        if (any[opened].fd < 0) {
            why = errno == EMFILE || errno == ENFILE ? errno : 0;
            break;
        }
        if (!p4shim_own(&any[opened], P4SHIM_PATH)) {
            break;
        }
    }
    while (opened > 0) {
        p4shim_close(&any[--opened]);
    }
    errno = saved;
    return why;
}

/* Before an unlink: *s is the managed name that it is about to remove, or NULL. False with errno
 * when it may not go. A name that is missing is the kernel's to refuse. */
static bool is_removable(int dirfd, const char *path, struct p4shim_scratch **s) {
    *s = p4shim_is_on() && path != NULL ? p4shim_managed_name(dirfd, path) : NULL;
    const int why = *s == NULL ? 0 : p4shim_why_untellable();
    struct stat st;
    if (why == 0 || sys_fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return true;
    }
    p4shim_scratch_release(*s);
    errno = why;
    return false;
}

/* The result of an unlink, once the daemon has heard of it. */
static int after_unlink(int rc, struct p4shim_scratch *s) {
    if (s == NULL) {
        return rc;
    }
    int saved = errno;
    if (rc == 0) {
        p4shim_tell_removed(s);
    } else if (saved == ENOENT && is_in_store(s)) {
        const int why = remove_stored(s);
        rc = why == 0 ? 0 : rc;
        saved = why == 0 ? saved : why;
    }
    p4shim_scratch_release(s);
    errno = saved;
    return rc;
}

#define MAKE_UNLINK(name) \
    P4SHIM_HOOK(UNLINK, name) { \
        struct p4shim_scratch *s; \
        return is_removable(AT_FDCWD, path, &s) ? after_unlink(p4shim_real.name(path), s) : -1; \
    }

#define MAKE_UNLINKAT(name) \
    P4SHIM_HOOK(UNLINKAT, name) { \
        struct p4shim_scratch *s; \
        if ((flags & AT_REMOVEDIR) != 0) { \
            return p4shim_real.name(dirfd, path, flags); \
        } \
        return is_removable(dirfd, path, &s) \
                   ? after_unlink(p4shim_real.name(dirfd, path, flags), s) \
                   : -1; \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_REMOVE_HOOKS(MAKE)
