/*
 * events.c - access events: one JSON line for each open of a managed depot file, into the
 * buffer of the thread (buffer.c says when it is sent).
 */
#define _GNU_SOURCE
#include <sys/random.h>

#include "buffer.h"
#include "shim.h"
#include "sys.h"

#define HIGH_WATER_BYTES (30 * 1024)

/* A vfork child writes to its parent's memory and has a working directory of its own: once one has
 * changed it, who asked for the directory counts, too. Before, that would cost each relative open
 * a system call. */
static unsigned cwd_generation = 1;
static long home_pid;
static int has_guest;

static const char *const result_names[] = {
    [P4SHIM_HOT] = "hot",
    [P4SHIM_COLD] = "cold",
    [P4SHIM_MISSING] = "missing",
    [P4SHIM_ERROR] = "error",
};

void p4shim_cwd_changed(void) {
    __atomic_add_fetch(&cwd_generation, 1, __ATOMIC_RELAXED);
}

void p4shim_cwd_chosen(void) {
    if (p4shim_syscall(SYS_getpid) != home_pid) {
        __atomic_store_n(&has_guest, 1, __ATOMIC_RELAXED);
    }
    p4shim_cwd_changed();
}

void p4shim_cwd_start(void) {
    home_pid = p4shim_syscall(SYS_getpid);
    __atomic_store_n(&has_guest, 0, __ATOMIC_RELAXED);
    p4shim_cwd_changed();
}

/* Who we are may change between batches (fork, setuid), hardly within one. */
static void start_batch(struct p4shim_buffer *b, int64_t now_ms) {
    const long pid = p4shim_syscall(SYS_getpid);
    b->events->oldest_ms = now_ms;
    const bool is_drawn = b->nonce != 0 && b->pid == pid;
    b->pid = pid;
    if (!is_drawn &&
        p4shim_syscall(SYS_getrandom, &b->nonce, sizeof b->nonce, GRND_NONBLOCK) !=
            (long)sizeof b->nonce) {
        struct timespec t = {0, 0};
        clock_gettime(CLOCK_REALTIME, &t);
        b->nonce = ((uint64_t)pid << 40) ^ (uint64_t)t.tv_sec * 1000000000 ^
                   (uint64_t)t.tv_nsec ^ (uint64_t)(uintptr_t)b;
    }
    struct p4shim_json who = {b->who, sizeof b->who - 1, 0, false};
    p4shim_json_raw(&who, ",\"pid\":");
    p4shim_json_number(&who, pid);
    p4shim_json_raw(&who, ",\"uid\":");
    p4shim_json_number(&who, p4shim_syscall(SYS_geteuid));
    p4shim_json_raw(&who, ",\"op\":\"");
    b->who[who.bytes] = '\0';
    struct p4shim_json name = {b->name, sizeof b->name - 1, 0, false};
    p4shim_json_raw(&name, ",\"id\":\"");
    p4shim_json_hex(&name, b->nonce);
    p4shim_json_raw(&name, "-");
    b->name[name.bytes] = '\0';
}

static void put_head(struct p4shim_json *j, const struct p4shim_buffer *b, const char *op) {
    p4shim_json_raw(j, "{\"ts\":");
    p4shim_json_number(j, p4shim_now_ms(CLOCK_REALTIME_COARSE));
    p4shim_json_raw(j, b->who);
    p4shim_json_raw(j, op);
}

static void put_tail(struct p4shim_json *j, struct p4shim_buffer *b) {
    p4shim_json_raw(j, b->name);
    p4shim_json_number(j, (int64_t)b->count);
    p4shim_json_raw(j, "\"}\n");
}

static struct p4shim_json next_line(const struct p4shim_buffer *b) {
    return (struct p4shim_json){b->events->data + b->bytes,
                                sizeof b->events->data - b->bytes, 0, false};
}

static bool commit(struct p4shim_json *j, struct p4shim_buffer *b) {
    if (j->is_full) {
        return false;
    }
    b->bytes += (uint32_t)j->bytes;
    b->lines++;
    b->count++;
    return true;
}

static bool put_open(struct p4shim_buffer *b, const char *rel, size_t rel_bytes, int flags,
                     enum p4shim_result result) {
    struct p4shim_json j = next_line(b);
    put_head(&j, b, "open\",\"path\":\"");
    p4shim_json_text(&j, rel, rel_bytes);
    p4shim_json_raw(&j, "\",\"result\":\"");
    p4shim_json_raw(&j, result_names[result]);
    p4shim_json_raw(&j, "\",\"flags\":");
    p4shim_json_number(&j, flags);
    put_tail(&j, b);
    return commit(&j, b);
}

static void put_lost(struct p4shim_buffer *b) {
    const unsigned count = __atomic_exchange_n(&p4shim_lost, 0, __ATOMIC_RELAXED);
    if (count == 0) {
        return;
    }
    struct p4shim_json j = next_line(b);
    put_head(&j, b, "dropped\",\"n\":");
    p4shim_json_number(&j, count);
    put_tail(&j, b);
    if (!commit(&j, b)) {
        __atomic_add_fetch(&p4shim_lost, count, __ATOMIC_RELAXED);
    }
}

/* The directory that a relative path starts from, to b->path; its length, or 0. */
static size_t base_of(struct p4shim_buffer *b, int dirfd) {
    if (dirfd != AT_FDCWD) {
        char link[P4SHIM_FD_LINK_MAX];
        p4shim_fd_link(link, dirfd);
        const ssize_t bytes = sys_readlinkat(AT_FDCWD, link, b->path, PATH_MAX);
        return bytes > 0 && bytes < PATH_MAX && b->path[0] == '/' ? (size_t)bytes : 0;
    }
    const unsigned generation = __atomic_load_n(&cwd_generation, __ATOMIC_RELAXED);
    const bool has_had_guest = __atomic_load_n(&has_guest, __ATOMIC_RELAXED) != 0;
    const long tid = P4SHIM_UNLIKELY(has_had_guest) ? p4shim_syscall(SYS_gettid) : 0;
    if (b->cwd_generation != generation || b->cwd_tid != tid) {
        b->cwd_bytes = 0;
        if (p4shim_syscall(SYS_getcwd, b->cwd, sizeof b->cwd) > 0 && b->cwd[0] == '/') {
            b->cwd_bytes = strlen(b->cwd);
        }
        b->cwd_generation = generation;
        b->cwd_tid = tid;
    }
    memcpy(b->path, b->cwd, b->cwd_bytes);
    return b->cwd_bytes;
}

/* The depot-relative path by its letters, within b->path; NULL for any other file. */
static const char *event_path(struct p4shim_buffer *b, int dirfd, const char *path) {
    size_t bytes = 0;
    if (path[0] != '/') {
        bytes = base_of(b, dirfd);
        if (bytes == 0) {
            return NULL;
        }
        bytes = bytes == 1 ? 0 : bytes; /* "/" */
    }
    if (!p4shim_join(b->path, sizeof b->path, &bytes, path)) {
        return NULL;
    }
    const char *rel = p4shim_below(b->path, &p4shim_config.depot);
    return rel != NULL ? rel : p4shim_below(b->path, p4shim_real_depot());
}

bool p4shim_is_below_by_letters(int dirfd, const char *path) {
    if (path[0] == '/') {
        return p4shim_below(path, &p4shim_config.depot) != NULL ||
               p4shim_below(path, p4shim_real_depot()) != NULL;
    }
    const int saved = errno;
    bool is_below = true;
    /* The buffer keeps the working directory. */
    struct p4shim_buffer *b = dirfd == AT_FDCWD ? p4shim_buffer_mine() : NULL;
    if (b != NULL && p4shim_buffer_claim(b)) {
        is_below = event_path(b, dirfd, path) != NULL;
        p4shim_buffer_release(b);
    }
    errno = saved;
    return is_below;
}

static void append(struct p4shim_buffer *b, int dirfd, const char *path, int flags,
                   enum p4shim_result result, int64_t now_ms) {
    const char *rel = event_path(b, dirfd, path);
    const size_t bytes = rel == NULL ? 0 : strlen(rel);
    if (rel == NULL || !p4shim_is_managed(rel, bytes, p4shim_config.manage_all)) {
        return;
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        if (b->bytes == 0) {
            start_batch(b, now_ms);
            put_lost(b);
        }
        if (put_open(b, rel, bytes, flags, result)) {
            break;
        }
        p4shim_buffer_flush(b, now_ms);
    }
    if (b->bytes >= HIGH_WATER_BYTES ||
        now_ms - b->events->oldest_ms >= P4SHIM_EVENT_AGE_MS_MAX || now_ms - b->sent_ms >= P4SHIM_EVENT_AGE_MS_MAX) {
        p4shim_buffer_flush(b, now_ms);
        p4shim_buffer_share(b);
    }
}

void p4shim_note_open(int dirfd, const char *path, int flags, enum p4shim_result result) {
    if ((flags & (O_PATH | O_DIRECTORY)) != 0 || path == NULL) {
        return;
    }
    if (path[0] == '/' ? p4shim_below(path, &p4shim_config.depot) == NULL &&
                             p4shim_below(path, p4shim_real_depot()) == NULL
                       : !p4shim_may_be_managed(path, p4shim_config.manage_all)) {
        return;
    }
    const int saved = errno;
    struct p4shim_buffer *b = p4shim_buffer_mine();
    if (b == NULL || !p4shim_buffer_claim(b)) {
        __atomic_add_fetch(&p4shim_lost, 1, __ATOMIC_RELAXED);
    } else {
        const int64_t now_ms = p4shim_now_ms(CLOCK_MONOTONIC_COARSE);
        append(b, dirfd, path, flags, result, now_ms);
        p4shim_buffer_release(b);
        p4shim_buffer_sweep(now_ms);
    }
    errno = saved;
}
