/*
 * restore.c - what a call is told when its file is not here: the policy of outages.
 *
 *                    a marker is there         the name is missing
 *   OK               try the call again        try the call again
 *   nobody listens   wait the restart grace,   ENOENT, the kernel's own answer
 *                    then EIO
 *   nobody accepts,  the same                  the same as for a marker: who is jammed has the
 *   or drops us                                store's names
 *   no word in time  EIO                       EIO
 *   ERR NOTFOUND     EIO (see below)           ENOENT
 *   ERR DENIED       EACCES                    EACCES
 *   ERR FULL         ENOSPC                    ENOSPC
 *   ERR QUOTA        EDQUOT                    EDQUOT
 *   ERR BUSY         asked again until the limit, then EIO
 *   any other ERR    EIO                       EIO (BADREQ, RESERVED: ENOENT)
 *
 * ENOENT for a file that exists is what makes p4d write its history anew, so a marker never
 * gives it. NOTFOUND for a marker may be a rename that the daemon has not heard of yet: it is
 * asked again for a moment.
 */
#define _GNU_SOURCE
#include "shim.h"
#include "sys.h"

#define PAUSE_MS_MIN 10
#define PAUSE_MS_MAX 250
#define RENAME_LAG_MS 2000  /* how far the watcher may be behind */
#define STAT_SILENCE_MS 5000
#define GRACE_RENEWALS_MAX 3 /* a daemon that restarts mid-restore, not one that loops */

struct patience {
    int64_t grace_end_ms;
    int64_t busy_end_ms;
    int64_t lag_end_ms;
    int64_t pause_ms;
    int renewals;
    bool was_connected;
};

/* Sleeps before the next attempt; false when the time is up. */
static bool pause_until(struct patience *p, int64_t end_ms) {
    const int64_t left = end_ms - p4shim_now_ms(CLOCK_MONOTONIC);
    if (left <= 0) {
        return false;
    }
    p4shim_pause_ms(p->pause_ms < left ? p->pause_ms : left);
    p->pause_ms = p->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : p->pause_ms * 2;
    return true;
}

static bool is_still_socket(const struct p4shim_scratch *s) {
    struct stat st;
    if (sys_fstatat(AT_FDCWD, s->text, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno != ENOENT;
    }
    return S_ISSOCK(st.st_mode);
}

/* The verdict for a final ERR; P4SHIM_AGAIN means: ask again until *end_ms. */
static int verdict_of_error(enum p4shim_code code, enum p4shim_presence presence,
                            const struct patience *p, int64_t *end_ms) {
    switch (code) {
    case P4SHIM_BUSY:
        *end_ms = p->busy_end_ms;
        return P4SHIM_AGAIN;
    case P4SHIM_NOTFOUND:
        *end_ms = p->lag_end_ms;
        return presence == P4SHIM_PRESENT ? P4SHIM_AGAIN : P4SHIM_LEAVE;
    case P4SHIM_BADREQ:
    case P4SHIM_RESERVED:
        return presence == P4SHIM_PRESENT ? EIO : P4SHIM_LEAVE;
    case P4SHIM_DENIED:
        return EACCES;
    case P4SHIM_FULL:
        return ENOSPC;
    case P4SHIM_QUOTA:
        return EDQUOT;
    default:
        return EIO;
    }
}

/* The verdict when no answer came; P4SHIM_AGAIN means: ask again until *end_ms. */
static int verdict_of_contact(enum p4shim_contact contact, enum p4shim_presence presence,
                              const struct patience *p, int64_t *end_ms) {
    const bool may_leave = presence == P4SHIM_ABSENT && !p->was_connected;
    switch (contact) {
    case P4SHIM_UNREACHABLE:
        *end_ms = p->grace_end_ms;
        return may_leave ? P4SHIM_LEAVE : P4SHIM_AGAIN;
    case P4SHIM_FORBIDDEN:
        return may_leave ? P4SHIM_LEAVE : EACCES;
    case P4SHIM_HELPLESS:
        if (may_leave) {
            return P4SHIM_LEAVE;
        }
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? errno : EIO;
    default:
        return EIO;
    }
}

static int ask_patiently(struct p4shim_scratch *s, const char *verb, int64_t silence_ms,
                         enum p4shim_presence presence, struct p4shim_reply *reply) {
    const struct p4shim_config *c = &p4shim_config;
    const int64_t start_ms = p4shim_now_ms(CLOCK_MONOTONIC);
    struct patience p = {.grace_end_ms = start_ms + c->restart_grace_ms,
                         .busy_end_ms = start_ms + silence_ms,
                         .lag_end_ms = start_ms + RENAME_LAG_MS,
                         .pause_ms = PAUSE_MS_MIN};
    for (;;) {
        struct p4shim_exchange x;
        int64_t end_ms = 0;
        int verdict;
        const enum p4shim_contact contact = p4shim_ask(s, verb, silence_ms, &x);
        p.was_connected = p.was_connected || x.was_connected;
        if (x.made_progress && p.renewals < GRACE_RENEWALS_MAX) {
            p.renewals++;
            p.grace_end_ms = p4shim_now_ms(CLOCK_MONOTONIC) + c->restart_grace_ms;
        }
        if (contact == P4SHIM_ANSWERED) {
            if (x.reply.kind == P4SHIM_OK) {
                *reply = x.reply;
                return P4SHIM_AGAIN;
            }
            verdict = verdict_of_error(x.reply.code, presence, &p, &end_ms);
        } else {
            verdict = verdict_of_contact(contact, presence, &p, &end_ms);
        }
        if (verdict != P4SHIM_AGAIN) {
            return verdict;
        }
        if (!pause_until(&p, end_ms)) {
            return EIO;
        }
        if (presence != P4SHIM_ABSENT && !is_still_socket(s)) {
            return P4SHIM_AGAIN;
        }
    }
}

int p4shim_query(struct p4shim_scratch *s, enum p4shim_presence presence,
                 struct p4shim_reply *reply) {
    reply->has_stat = false;
    return ask_patiently(s, "STAT", STAT_SILENCE_MS, presence, reply);
}

static int fetch(struct p4shim_scratch *s, enum p4shim_presence presence) {
    struct p4shim_reply reply;
    return ask_patiently(s, "FETCH", p4shim_config.fetch_timeout_ms, presence, &reply);
}

/* A socket that cannot be placed: ours by all signs (then an honest error), or somebody's. */
static int verdict_of_unplaced(struct p4shim_scratch *s, int dirfd, const char *path,
                               const struct stat *st) {
    const int why = errno;
    uint64_t size = 0;
    const bool is_likely =
        p4cache_marker_of_stat(st, &size) && size < P4SHIM_PLAUSIBLE_SIZE;
    if (!is_likely && !(path[0] != '\0' && p4shim_is_textually_inside(s, dirfd, path))) {
        return P4SHIM_LEAVE;
    }
    return why == EMFILE || why == ENFILE || why == ENOMEM ? why : EIO;
}

static int restore_located(struct p4shim_scratch *s) {
    uint64_t size = 0;
    if (!S_ISSOCK(s->st.st_mode)) {
        return P4SHIM_AGAIN;
    }
    if (p4cache_marker_of_stat(&s->st, &size)) {
        return fetch(s, P4SHIM_PRESENT);
    }
    if (p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all)) {
        return fetch(s, P4SHIM_DOUBTFUL);
    }
    return P4SHIM_LEAVE;
}

/* What is a file now was a marker a moment ago, if it is of the depot, also one without a name: it
 * is just being replaced. Any other is the kernel's to refuse (a file of hugetlbfs has an EINVAL of
 * its own). */
static int verdict_of_regular(int dirfd, const char *path, int at_flags) {
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return P4SHIM_AGAIN;
    }
    const enum p4shim_place place = p4shim_locate_name(s, dirfd, path, at_flags);
    p4shim_scratch_release(s);
    return place == P4SHIM_OUTSIDE ? P4SHIM_LEAVE : P4SHIM_AGAIN;
}

int p4shim_restore_marker(int dirfd, const char *path, int at_flags) {
    struct stat st;
    if (sys_fstatat(dirfd, path, &st, at_flags) != 0) {
        return errno == ENOENT ? P4SHIM_AGAIN : P4SHIM_LEAVE;
    }
    if (!S_ISSOCK(st.st_mode)) { /* a FIFO or a device has its own ENXIO */
        return S_ISREG(st.st_mode) ? verdict_of_regular(dirfd, path, at_flags)
                                   : P4SHIM_LEAVE;
    }
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return ENOMEM;
    }
    int verdict = P4SHIM_LEAVE;
    switch (p4shim_locate(s, dirfd, path, at_flags)) {
    case P4SHIM_INSIDE:
        verdict = restore_located(s);
        break;
    case P4SHIM_GONE:
        verdict = P4SHIM_AGAIN;
        break;
    case P4SHIM_NOWHERE:
        verdict = verdict_of_unplaced(s, dirfd, path, &st);
        break;
    case P4SHIM_OUTSIDE:
        break;
    }
    p4shim_scratch_release(s);
    return verdict;
}

int p4shim_restore_missing(int dirfd, const char *path, int at_flags) {
    if (!p4shim_may_lead_to_managed(dirfd, path, at_flags)) {
        return P4SHIM_LEAVE;
    }
    struct p4shim_scratch *s = p4shim_scratch_take();
    if (s == NULL) {
        return P4SHIM_LEAVE;
    }
    int verdict = P4SHIM_LEAVE;
    if (p4shim_locate_name(s, dirfd, path, at_flags) == P4SHIM_INSIDE &&
        p4shim_is_managed(s->rel, s->rel_bytes, p4shim_config.manage_all)) {
        verdict = fetch(s, P4SHIM_ABSENT);
    }
    p4shim_scratch_release(s);
    return verdict;
}

int p4shim_restore_before(int dirfd, const char *path, int at_flags) {
    const int saved = errno;
    struct stat st;
    int verdict = P4SHIM_LEAVE;
    if (path != NULL && sys_fstatat(dirfd, path, &st, at_flags) == 0) {
        verdict = S_ISSOCK(st.st_mode) ? p4shim_restore_marker(dirfd, path, at_flags)
                                       : P4SHIM_LEAVE;
    } else if (path != NULL && errno == ENOENT) {
        verdict = p4shim_restore_missing(dirfd, path, at_flags);
    }
    errno = saved;
    return verdict;
}
