/*
 * remove.c - deletes. The kernel removes the name, marker or file; then the daemon hears of it,
 * so that the store's object goes after its grace. A delete never fails, and hardly waits,
 * because of us: what the daemon could not be told is left in a file that it reads when it starts.
 */
#define _GNU_SOURCE
#include "real.h"
#include "shim.h"
#include "sys.h"

#define DELETE_SILENCE_MS 5000
#define BUSY_PAUSE_MS 50
#define FAILED_DELETES "/.p4cache/shim-failed-deletes.log"

/* One line, one write: records of several processes do not mix. */
static void log_failed_delete(struct p4shim_scratch *s, const char *why) {
    struct p4shim_json j = {s->record, sizeof s->record, 0, false};
    p4shim_json_raw(&j, "{\"ts\":");
    p4shim_json_number(&j, p4shim_now_ms(CLOCK_REALTIME));
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
    if (j.is_full || depot_bytes + sizeof FAILED_DELETES > sizeof s->text) {
        return;
    }
    memcpy(s->text, p4shim_config.depot.path, depot_bytes);
    memcpy(s->text + depot_bytes, FAILED_DELETES, sizeof FAILED_DELETES);
    struct p4shim_fd log = {
        .fd = sys_openat(AT_FDCWD, s->text,
                         O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                         0660)};
    if (log.fd < 0 || !p4shim_own(&log, P4SHIM_LOG)) {
        return;
    }
    if (p4shim_is_ours(&log)) {
        (void)p4shim_syscall(SYS_write, log.fd, s->record, j.bytes);
    }
    p4shim_close(&log);
}

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
        default:
            return "refused";
        }
    }
}

void p4shim_tell_removed(struct p4shim_scratch *s) {
    const char *why = tell_daemon(s);
    if (why != NULL) {
        log_failed_delete(s, why);
    }
}

/* Missing on disk, and in the store: to the program it was there. */
static bool is_in_store(struct p4shim_scratch *s) {
    struct p4shim_reply reply;
    return p4shim_query(s, P4SHIM_ABSENT, &reply) == P4SHIM_AGAIN && reply.has_stat;
}

/* The result of an unlink, once the daemon has heard of it. */
static int after_unlink(int rc, int dirfd, const char *path) {
    const int saved = errno;
    if ((rc != 0 && saved != ENOENT) || !p4shim_is_on() || path == NULL ||
        !p4shim_may_lead_to_managed(dirfd, path, AT_SYMLINK_NOFOLLOW)) {
        return rc;
    }
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s != NULL) {
        if (p4shim_locate_name(s, dirfd, path, AT_SYMLINK_NOFOLLOW) == P4SHIM_INSIDE &&
            p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all)) {
            if (rc == 0 || is_in_store(s)) {
                p4shim_tell_removed(s);
                rc = 0;
            }
        }
        p4shim_scratch_release(s);
    }
    errno = saved;
    return rc;
}

#define MAKE_UNLINK(name) \
    P4SHIM_HOOK(UNLINK, name) { return after_unlink(p4shim_real.name(path), AT_FDCWD, path); }

#define MAKE_UNLINKAT(name) \
    P4SHIM_HOOK(UNLINKAT, name) { \
        const int rc = p4shim_real.name(dirfd, path, flags); \
        return (flags & AT_REMOVEDIR) != 0 ? rc : after_unlink(rc, dirfd, path); \
    }

#define MAKE(family, name) MAKE_##family(name)
P4SHIM_REMOVE_HOOKS(MAKE)
