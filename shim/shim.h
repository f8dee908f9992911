/*
 * shim.h - what the files of the shim share.
 *
 * Rules for every hook:
 *
 *  1. A call that the kernel answers as it would for a resident file costs one branch. Slow
 *     paths start from ENXIO, ENOENT, EINVAL or a socket inode, never before the kernel spoke;
 *     but for calls that take a name away, or could shadow one.
 *  2. Nothing of ours outlives the call but the event buffers, the name of the depot and the
 *     last directory listed: no descriptor, no lock, no answer of the daemon is kept.
 *  3. No stdio, no exit, no malloc (but for scandir's result). Slow paths work in a scratch page (mmap), so that a thread
 *     with the smallest stack, or a signal handler on its own stack, can take them.
 *  4. Our own system calls go past the hooks (sys.h), so a hook never enters a hook, and a
 *     signal handler that opens a file while its thread is in here makes a request of its own.
 *  5. A failure inside the shim is an errno of the call, and errno is as before on success.
 */
#ifndef P4SHIM_SHIM_H
#define P4SHIM_SHIM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "../helpers/marker.h"

#define P4SHIM_LIKELY(x) __builtin_expect(!!(x), 1)
#define P4SHIM_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Longest managed path; the daemon's manifest ends there (src/core/names.ts). */
#define P4SHIM_PATH_MAX 3900

/* How often one call may find its file evicted again before it is EIO. */
#define P4SHIM_ATTEMPTS_MAX 3

/* A size from here on is a time after 1974: a socket that somebody bound, by its atime, and not
 * a marker of a file that any file system could hold. */
#define P4SHIM_PLAUSIBLE_SIZE (UINT64_C(1) << 44)

/* ---- config.c ---- */

struct p4shim_root {
    size_t bytes;
    char path[PATH_MAX]; /* absolute, no trailing slash */
};

struct p4shim_config {
    struct p4shim_root depot; /* as configured */
    struct p4shim_root real;  /* as the kernel names it: see p4shim_real_depot() */
    char shim_sock[PATH_MAX];
    char access_sock[PATH_MAX];
    int64_t restart_grace_ms;
    int64_t fetch_timeout_ms;
    bool stat_restores;
    bool manage_all;
};

extern struct p4shim_config p4shim_config;

enum p4shim_state { P4SHIM_NEW, P4SHIM_OFF, P4SHIM_ON };
extern int p4shim_state;

bool p4shim_configure(void);

/* Whether the shim acts at all in this process. */
static inline bool p4shim_is_on(void) {
    const int state = __atomic_load_n(&p4shim_state, __ATOMIC_ACQUIRE);
    return state == P4SHIM_ON || (P4SHIM_UNLIKELY(state == P4SHIM_NEW) && p4shim_configure());
}

/* The depot as the kernel names it; as configured until the kernel can be asked (the depot may
 * be mounted later than a program starts, and /proc may be missing). */
const struct p4shim_root *p4shim_real_depot(void);

/* ---- names.c: pure ---- */

/* Whether the depot-relative path is tiered; the same decision as isManaged() of the daemon. */
bool p4shim_is_managed(const char *rel, size_t bytes, bool manage_all);

/* False when no path that ends like this can be managed: the cheap question, asked first. */
bool p4shim_may_be_managed(const char *path, bool manage_all);

/* Appends `path` to the absolute or empty `out`, folding `//`, `.` and `..` by their letters.
 * False when it does not fit. */
bool p4shim_join(char *out, size_t cap, size_t *bytes, const char *path);

/* The part of an absolute path below `root`, or NULL. No folding. */
static inline const char *p4shim_below(const char *path, const struct p4shim_root *root) {
    return strncmp(path, root->path, root->bytes) == 0 && path[root->bytes] == '/'
               ? path + root->bytes + 1
               : NULL;
}

/* ---- setting.c: pure ---- */

#define P4SHIM_SETTING_MS_MAX INT64_C(86400000) /* a day */

/* Milliseconds in decimal, a day at most whatever is written; `otherwise` for anything else. */
int64_t p4shim_setting_ms(const char *text, int64_t otherwise);

/* ---- reply.c: pure ---- */

enum p4shim_kind { P4SHIM_WAIT, P4SHIM_OK, P4SHIM_ERR };

enum p4shim_code {
    P4SHIM_NOTFOUND,
    P4SHIM_DENIED,
    P4SHIM_CORRUPT,
    P4SHIM_UNAVAILABLE,
    P4SHIM_FULL,
    P4SHIM_QUOTA,
    P4SHIM_BUSY,
    P4SHIM_BADREQ,
    P4SHIM_RESERVED,
    P4SHIM_UNKNOWN /* a code of a newer daemon */
};

struct p4shim_reply {
    enum p4shim_kind kind;
    enum p4shim_code code; /* of ERR */
    uint64_t size;         /* of OK */
    bool has_stat;         /* the rest, of OK to a STAT */
    int64_t mtime_ns;
    unsigned mode;
    unsigned uid;
    unsigned gid;
};

/* Reads one line without its LF. False, and *reply undefined, for anything but a reply. */
bool p4shim_parse_reply(const char *line, size_t bytes, struct p4shim_reply *reply);

/* ---- sys.c ---- */

#define P4SHIM_LINE_MAX 4608 /* of a request, LF included */
#define P4SHIM_REPLY_MAX 1024

struct p4shim_scratch {
    char rel[PATH_MAX + 256]; /* the depot-relative path, NUL-ended, once located */
    size_t rel_bytes;
    struct stat st; /* of the file itself, once located and present */
    char text[PATH_MAX + 256]; /* the absolute path, once located */
    char line[P4SHIM_LINE_MAX];
    char reply[P4SHIM_REPLY_MAX];
    char record[P4SHIM_PATH_MAX * 6 + 512]; /* of the failed-deletes log: \u00XX each, at worst */
};

/* One anonymous mapping; NULL with errno when there is no memory. Release keeps errno. */
struct p4shim_scratch *p4shim_scratch_take(void);
void p4shim_scratch_release(struct p4shim_scratch *s);

/* ---- locate.c ---- */

enum p4shim_place {
    P4SHIM_INSIDE,    /* s->rel names it; not below .p4cache */
    P4SHIM_OUTSIDE,   /* not in the depot, or the daemon's own */
    P4SHIM_GONE,      /* changed under us: ask the kernel again */
    P4SHIM_NOWHERE,   /* no /proc, no descriptor: errno says why */
};

/* Where a file that exists is, links and `..` resolved by the kernel; fills s->st too. */
enum p4shim_place p4shim_locate(struct p4shim_scratch *s, int dirfd, const char *path,
                                int at_flags);

/* Where a name that may be missing would be; its directories may be missing. Takes no descriptor,
 * and keeps errno unless it is P4SHIM_NOWHERE.
 * `flags`: AT_SYMLINK_NOFOLLOW for the name itself, where it is a link, and not what that leads to;
 * P4SHIM_AT_DIRECTORY takes one with a slash at its end. */
#define P4SHIM_AT_DIRECTORY 0x40000000
enum p4shim_place p4shim_locate_name(struct p4shim_scratch *s, int dirfd, const char *path,
                                     int flags);

/* Whether a missing path, or one that a call just removed, may be a managed one. False for most
 * names by their letters; else links are looked for, in the depot alone. */
bool p4shim_may_lead_to_managed(int dirfd, const char *path, int at_flags);

/* Whether the directory that would hold a directory of that name is there and not in the depot. */
bool p4shim_is_parent_outside(struct p4shim_scratch *s, int dirfd, const char *path);

/* Whether the path is below the depot by its letters; for relative ones by the cwd. */
bool p4shim_is_textually_inside(struct p4shim_scratch *s, int dirfd, const char *path);

/* Whether a relative path without `..` starts in the depot. Cheaper than to locate it. */
bool p4shim_is_cwd_inside(const char *path);

/* Whether the names in an open directory are in the depot. The last one that was is kept by its
 * identity: one that moves out of the depot within a listing is not noticed. */
bool p4shim_is_directory_inside(int dirfd);

/* ---- client.c ---- */

enum p4shim_contact {
    P4SHIM_ANSWERED,    /* *reply is OK or ERR */
    P4SHIM_UNREACHABLE, /* nobody listens or accepts, or the connection ended before the answer */
    P4SHIM_FORBIDDEN,   /* the socket's mode keeps this process out */
    P4SHIM_HELPLESS,    /* no descriptor, no memory, no such call here: errno says */
    P4SHIM_SILENT,      /* connected, and no word within the limit, or not our protocol */
};

struct p4shim_exchange {
    struct p4shim_reply reply;
    bool was_connected; /* somebody accepted, whatever came then, or did not in time */
    bool made_progress; /* at least one WAIT came */
};

/* One request on a connection of its own; s->rel is the path. `silence_ms` is the longest wait
 * for the next line. Leaves no descriptor behind. */
enum p4shim_contact p4shim_ask(struct p4shim_scratch *s, const char *verb,
                               int64_t silence_ms, struct p4shim_exchange *x);

/* In a forked child: closes what other threads of the parent were talking on. */
void p4shim_client_forked(void);

/* ---- restore.c: each returns a verdict ---- */

enum { P4SHIM_LEAVE = -1, P4SHIM_AGAIN = 0 }; /* or an errno above 0 */

/* What stands at the name. A doubtful one is a socket of a managed name without a good check. */
enum p4shim_presence { P4SHIM_ABSENT, P4SHIM_DOUBTFUL, P4SHIM_PRESENT };

/* The kernel met something that is not openable: brings it back if it is a marker. */
int p4shim_restore_marker(int dirfd, const char *path, int at_flags);

/* The kernel says ENOENT: brings the file back if the store has one of that managed name. */
int p4shim_restore_missing(int dirfd, const char *path, int at_flags);

/* Either of the two, by what stands there now; P4SHIM_LEAVE when there is nothing to do. */
int p4shim_restore_before(int dirfd, const char *path, int at_flags);

/* STAT of what is located in s. P4SHIM_AGAIN: *reply holds an OK, or the marker is gone. */
int p4shim_query(struct p4shim_scratch *s, enum p4shim_presence presence,
                 struct p4shim_reply *reply);

/* ---- remove.c ---- */

/* The managed name that a program is about to take away, located; NULL for any other. */
struct p4shim_scratch *p4shim_managed_name(int dirfd, const char *path);

/* 0, or the errno with which the name cannot be taken away: nobody could hear of it. */
int p4shim_why_untellable(void);

/* DELETE of what is located in s, whose name a program took away; or a record of it. */
void p4shim_tell_removed(struct p4shim_scratch *s);

/* ---- stat.c ---- */

/* Whether the stat of (dirfd, path) is a marker's in the depot; its size goes to *size. */
bool p4shim_is_marker(int dirfd, const char *path, int at_flags, const struct stat *st,
                      uint64_t *size);

/* A missing managed name: the store may have it (a prestaged store, a lost marker). P4SHIM_AGAIN:
 * *st is what it would be; else a verdict as those of restore.c. */
int p4shim_stat_missing(int dirfd, const char *path, int at_flags, struct stat *st);

/* Turns a marker's stat into the file's. */
void p4shim_dress(struct stat *st, uint64_t size);

/* ---- json.c: pure ---- */

/* A line under construction. What does not fit sets `is_full` and leaves the rest out. */
struct p4shim_json {
    char *out;
    size_t cap;
    size_t bytes;
    bool is_full;
};

void p4shim_json_raw(struct p4shim_json *j, const char *text);
void p4shim_json_number(struct p4shim_json *j, int64_t value);
void p4shim_json_hex(struct p4shim_json *j, uint64_t value);
/* The inside of a string: control characters, `"`, `\` and bytes from 0x7f as \u00XX. */
void p4shim_json_text(struct p4shim_json *j, const char *bytes, size_t count);

/* ---- events.c ---- */

enum p4shim_result { P4SHIM_HOT, P4SHIM_COLD, P4SHIM_MISSING, P4SHIM_ERROR };

/* Notes one open of a managed depot file; anything else is ignored at the cost of a compare.
 * Keeps errno. */
void p4shim_note_open(int dirfd, const char *path, int flags, enum p4shim_result result);

/* Sends every thread's events: before exit and exec. */
void p4shim_flush_all(void);
void p4shim_events_start(void);
void p4shim_events_forked(void);
void p4shim_cwd_start(void); /* in each new process */
void p4shim_cwd_changed(void);
void p4shim_cwd_chosen(void); /* by a call of the host's, which may be a vfork child */

/* Whether a path is below the depot by its letters; true where that takes as long as to look. */
bool p4shim_is_below_by_letters(int dirfd, const char *path);

#endif
