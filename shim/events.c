/*
 * events.c - access events: one line for each open of a managed depot file.
 *
 * A thread appends to a buffer of its own, mapped at its first event (32 KiB of static TLS would
 * come out of the smallest thread stacks). The buffers are in one list, so that whoever is here
 * next can send what has grown old in a thread that sleeps, and the end of the process sends
 * all. `busy` is taken without waiting by whoever touches a buffer: a signal handler that meets
 * its own thread in here loses an event, and it is counted.
 *
 * A buffer is sent: when the next line does not fit; at 30 KiB; when its oldest line is 1 s old,
 * seen by any thread's next event; at once when the thread had sent nothing for a second, so
 * that a quiet thread leaves nothing behind; when its thread ends; before exit and exec. A child
 * of fork starts empty. Sending never waits: what the socket does not take is counted and told
 * in the next datagram. Ids make a line that came twice one line again.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shim.h"
#include "socket.h"
#include "sys.h"

#define BUFFER_BYTES (32 * 1024)
#define HIGH_WATER_BYTES (30 * 1024)
#define AGE_MS_MAX 1000

struct buffer {
    struct buffer *next; /* set once, before the buffer is in the list */
    int is_used;         /* by a living thread */
    int busy;
    size_t bytes;
    unsigned lines;
    int64_t oldest_ms;
    int64_t sent_ms;
    uint64_t nonce; /* of this thread in this process; 0: not drawn yet */
    uint64_t count;
    char who[64];  /* `,"pid":1,"uid":2,"op":"`, the same for a batch */
    char name[40]; /* `,"id":"<nonce>-` */
    unsigned cwd_generation;
    size_t cwd_bytes;
    char cwd[PATH_MAX];
    char path[2 * PATH_MAX];
    char data[BUFFER_BYTES];
};

static struct buffer *all;
static unsigned lost; /* lines that were not sent and not yet told of */
static unsigned cwd_generation = 1;
static int64_t swept_ms;
static pthread_key_t thread_end;
static bool has_thread_end;
static __thread struct buffer *mine __attribute__((tls_model("initial-exec")));

static const char *const result_names[] = {
    [P4SHIM_HOT] = "hot",
    [P4SHIM_COLD] = "cold",
    [P4SHIM_MISSING] = "missing",
    [P4SHIM_ERROR] = "error",
};

static bool claim(struct buffer *b) {
    return __atomic_exchange_n(&b->busy, 1, __ATOMIC_ACQUIRE) == 0;
}

static void release(struct buffer *b) {
    __atomic_store_n(&b->busy, 0, __ATOMIC_RELEASE);
}

static bool send_datagram(const char *data, size_t bytes) {
    struct sockaddr_un address;
    struct p4shim_fd own;
    struct p4shim_fd via;
    if (!p4shim_socket(SOCK_DGRAM, p4shim_config.access_sock, &own, &address, &via)) {
        return false;
    }
    const long sent = p4shim_is_ours(&own)
                          ? p4shim_syscall(SYS_sendto, own.fd, data, bytes,
                                           MSG_DONTWAIT | MSG_NOSIGNAL, &address, sizeof address)
                          : -1;
    if (via.fd >= 0) {
        p4shim_close(&via);
    }
    p4shim_close(&own);
    return sent == (long)bytes;
}

/* The buffer is claimed. */
static void flush(struct buffer *b, int64_t now_ms) {
    b->sent_ms = now_ms;
    if (b->bytes == 0) {
        return;
    }
    if (!send_datagram(b->data, b->bytes)) {
        __atomic_add_fetch(&lost, b->lines, __ATOMIC_RELAXED);
    }
    b->bytes = 0;
    b->lines = 0;
}

static void flush_where(int64_t older_than_ms, int64_t now_ms) {
    struct buffer *b = __atomic_load_n(&all, __ATOMIC_ACQUIRE);
    for (; b != NULL; b = b->next) {
        if (claim(b)) {
            if (b->bytes > 0 && b->oldest_ms <= older_than_ms) {
                flush(b, now_ms);
            }
            release(b);
        }
    }
}

void p4shim_flush_all(void) {
    const int saved = errno;
    flush_where(INT64_MAX, p4shim_now_ms(CLOCK_MONOTONIC_COARSE));
    errno = saved;
}

static void on_thread_end(void *at) {
    struct buffer *b = at;
    const int saved = errno;
    if (claim(b)) {
        flush(b, p4shim_now_ms(CLOCK_MONOTONIC_COARSE));
        release(b);
    }
    mine = NULL;
    __atomic_store_n(&b->is_used, 0, __ATOMIC_RELEASE);
    errno = saved;
}

void p4shim_events_start(void) {
    has_thread_end = pthread_key_create(&thread_end, on_thread_end) == 0;
}

void p4shim_events_forked(void) {
    for (struct buffer *b = all; b != NULL; b = b->next) {
        b->bytes = 0;
        b->lines = 0;
        b->nonce = 0;
        b->count = 0;
        b->busy = 0;
        b->is_used = b == mine;
    }
    lost = 0;
}

void p4shim_cwd_changed(void) {
    __atomic_add_fetch(&cwd_generation, 1, __ATOMIC_RELAXED);
}

/* A buffer that an ended thread left, or a new one. */
static struct buffer *take_buffer(void) {
    struct buffer *b = __atomic_load_n(&all, __ATOMIC_ACQUIRE);
    for (; b != NULL; b = b->next) {
        int unused = 0;
        if (__atomic_compare_exchange_n(&b->is_used, &unused, 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return b;
        }
    }
    const long at = p4shim_syscall(SYS_mmap, NULL, sizeof *b, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    if (at == -1) {
        return NULL;
    }
    b = (struct buffer *)at;
    b->is_used = 1;
    b->next = __atomic_load_n(&all, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&all, &b->next, b, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
    }
    return b;
}

static struct buffer *my_buffer(void) {
    if (P4SHIM_UNLIKELY(mine == NULL)) {
        mine = take_buffer();
        if (mine != NULL && has_thread_end) {
            (void)pthread_setspecific(thread_end, mine);
        }
    }
    return mine;
}

/* Who we are may change between batches (fork, setuid), hardly within one. */
static void start_batch(struct buffer *b, int64_t now_ms) {
    const long pid = p4shim_syscall(SYS_getpid);
    b->oldest_ms = now_ms;
    if (b->nonce == 0 &&
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

static void put_head(struct p4shim_json *j, const struct buffer *b, const char *op) {
    p4shim_json_raw(j, "{\"ts\":");
    p4shim_json_number(j, p4shim_now_ms(CLOCK_REALTIME_COARSE));
    p4shim_json_raw(j, b->who);
    p4shim_json_raw(j, op);
}

static void put_tail(struct p4shim_json *j, struct buffer *b) {
    p4shim_json_raw(j, b->name);
    p4shim_json_number(j, (int64_t)b->count);
    p4shim_json_raw(j, "\"}\n");
}

static bool commit(struct p4shim_json *j, struct buffer *b) {
    if (j->is_full) {
        return false;
    }
    b->bytes += j->bytes;
    b->lines++;
    b->count++;
    return true;
}

static bool put_open(struct buffer *b, const char *rel, size_t rel_bytes, int flags,
                     enum p4shim_result result) {
    struct p4shim_json j = {b->data + b->bytes, sizeof b->data - b->bytes, 0, false};
    put_head(&j, b, "open\",\"path\":\"");
    p4shim_json_text(&j, rel, rel_bytes);
    p4shim_json_raw(&j, "\",\"result\":\"");
    p4shim_json_raw(&j, result_names[result]);
    p4shim_json_raw(&j, "\",\"flags\":");
    p4shim_json_number(&j, flags);
    put_tail(&j, b);
    return commit(&j, b);
}

static void put_lost(struct buffer *b) {
    const unsigned count = __atomic_exchange_n(&lost, 0, __ATOMIC_RELAXED);
    if (count == 0) {
        return;
    }
    struct p4shim_json j = {b->data + b->bytes, sizeof b->data - b->bytes, 0, false};
    put_head(&j, b, "dropped\",\"n\":");
    p4shim_json_number(&j, count);
    put_tail(&j, b);
    if (!commit(&j, b)) {
        __atomic_add_fetch(&lost, count, __ATOMIC_RELAXED);
    }
}

/* The directory that a relative path starts from, to b->path; its length, or 0. */
static size_t base_of(struct buffer *b, int dirfd) {
    if (dirfd != AT_FDCWD) {
        char link[P4SHIM_FD_LINK_MAX];
        p4shim_fd_link(link, dirfd);
        const ssize_t bytes = sys_readlinkat(AT_FDCWD, link, b->path, PATH_MAX);
        return bytes > 0 && bytes < PATH_MAX && b->path[0] == '/' ? (size_t)bytes : 0;
    }
    const unsigned generation = __atomic_load_n(&cwd_generation, __ATOMIC_RELAXED);
    if (b->cwd_generation != generation) {
        b->cwd_bytes = 0;
        if (p4shim_syscall(SYS_getcwd, b->cwd, sizeof b->cwd) > 0 && b->cwd[0] == '/') {
            b->cwd_bytes = strlen(b->cwd);
        }
        b->cwd_generation = generation;
    }
    memcpy(b->path, b->cwd, b->cwd_bytes);
    return b->cwd_bytes;
}

/* The depot-relative path by its letters, within b->path; NULL for any other file. */
static const char *event_path(struct buffer *b, int dirfd, const char *path) {
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

static void append(struct buffer *b, int dirfd, const char *path, int flags,
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
        flush(b, now_ms);
    }
    if (b->bytes >= HIGH_WATER_BYTES || now_ms - b->oldest_ms >= AGE_MS_MAX ||
        now_ms - b->sent_ms >= AGE_MS_MAX) {
        flush(b, now_ms);
    }
}

/* What has grown old in other threads; at most once a second for the process. */
static void sweep(int64_t now_ms) {
    int64_t last_ms = __atomic_load_n(&swept_ms, __ATOMIC_RELAXED);
    if (now_ms - last_ms >= AGE_MS_MAX &&
        __atomic_compare_exchange_n(&swept_ms, &last_ms, now_ms, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
        flush_where(now_ms - AGE_MS_MAX, now_ms);
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
    struct buffer *b = my_buffer();
    if (b == NULL || !claim(b)) {
        __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
    } else {
        const int64_t now_ms = p4shim_now_ms(CLOCK_MONOTONIC_COARSE);
        append(b, dirfd, path, flags, result, now_ms);
        release(b);
        sweep(now_ms);
    }
    errno = saved;
}
