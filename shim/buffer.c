/*
 * buffer.c - the event buffers of the threads: who owns them, when they are sent.
 *
 * A thread appends to a buffer of its own, mapped at its first event (32 KiB of static TLS would
 * come out of the smallest thread stacks). The buffers are in one list, so that whoever is here
 * next can send what has grown old in a thread that sleeps, and the end of the process sends
 * all. `busy` is taken without waiting by whoever touches a buffer: a signal handler that meets
 * its own thread in here loses an event, and it is counted. One that forks there has a child in
 * which the call goes on: it finds memory where it had it, and what it writes there is dropped.
 *
 * A buffer is sent: when the next line does not fit; at 30 KiB; when its oldest line is 1 s old,
 * seen by any thread's next event; at once when the thread had sent nothing for a second, so
 * that a quiet thread leaves nothing behind; when its thread ends; before exit and exec. A child
 * of fork starts empty. Sending never waits: what the socket does not take is counted and told
 * in the next datagram. Ids make a line that came twice one line again.
 *
 * After its first datagram a buffer's memory is shared with the gate, which drains what lies in
 * it for a second: that is for a process that goes idle, or is killed. A timer thread in p4d
 * would do the same, and would be a thread in p4d: forked away, seen by its signals and limits.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../helpers/old_glibc.h"
#include "buffer.h"
#include "shim.h"
#include "socket.h"
#include "sys.h"

P4CACHE_OLD_GLIBC(pthread_key_create);
P4CACHE_OLD_GLIBC(pthread_setspecific);

static struct p4shim_buffer *all;
unsigned p4shim_lost; /* lines that were not sent and not yet told of */
static int64_t swept_ms;
static pthread_key_t thread_end;
static bool has_thread_end;
static __thread struct p4shim_buffer *mine __attribute__((tls_model("initial-exec")));

/* Of living threads no two have the same; the one that forks keeps it in the child. */
static uintptr_t own_token(void) {
    return (uintptr_t)&mine;
}

/* Forgotten before it is unmapped: a child that is forked in between would unmap what another
 * thread has mapped there since. Such a child keeps a mapping too many. */
static void replace_events(struct p4shim_buffer *b, struct p4cache_event_buffer *events) {
    struct p4cache_event_buffer *old = b->events;
    __atomic_store_n(&b->events, events, __ATOMIC_SEQ_CST);
    p4shim_unmap(old);
}

/* The gate is at it for the time of a copy. One that dies with the lock held, or keeps it, loses
 * the buffer. */
static bool lock_events(struct p4shim_buffer *b) {
    uint32_t unlocked = P4CACHE_EVENT_FREE;
    if (P4SHIM_LIKELY(__atomic_compare_exchange_n(&b->events->lock, &unlocked,
                                                  P4CACHE_EVENT_PROGRAM, false,
                                                  __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))) {
        b->refused_ms = 0;
        return true;
    }
    const int64_t now_ms = p4shim_now_ms(CLOCK_MONOTONIC_COARSE);
    if (b->refused_ms == 0) {
        b->refused_ms = now_ms;
    } else if (now_ms - b->refused_ms >= P4SHIM_EVENT_AGE_MS_MAX) {
        __atomic_add_fetch(&p4shim_lost, b->lines, __ATOMIC_RELAXED);
        b->lines = 0;
        replace_events(b, NULL);
        b->gate = (struct p4shim_gate){0};
        b->refused_ms = 0;
    }
    return false;
}

bool p4shim_buffer_claim(struct p4shim_buffer *b) {
    uintptr_t nobody = 0;
    if (!__atomic_compare_exchange_n(&b->busy, &nobody, own_token(), false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED)) {
        return false;
    }
    if (P4SHIM_UNLIKELY(b->events == NULL)) {
        b->events = p4shim_map_private();
    }
    if (b->events == NULL || !lock_events(b)) {
        __atomic_store_n(&b->busy, 0, __ATOMIC_RELEASE);
        return false;
    }
    b->bytes = b->events->bytes; /* read once: the gate's process can write there */
    if (b->bytes == 0 || b->bytes > sizeof b->events->data) {
        b->bytes = 0; /* drained, or scribbled on */
        b->lines = 0;
    }
    return true;
}

/* In a child of fork: what it has is the parent's, if it is shared. */
static void start_empty(struct p4shim_buffer *b) {
    replace_events(b, NULL);
    b->gate = (struct p4shim_gate){0};
    b->lines = 0;
    b->refused_ms = 0;
    b->sent_ms = 0; /* its first event is sent at once, and its memory shared */
    b->nonce = 0;
    b->count = 0;
    b->is_forked = false;
}

void p4shim_buffer_release(struct p4shim_buffer *b) {
    if (P4SHIM_UNLIKELY(b->is_forked)) {
        start_empty(b);
        __atomic_store_n(&b->busy, 0, __ATOMIC_RELEASE);
        return;
    }
    b->events->bytes = b->bytes;
    __atomic_store_n(&b->events->lock, P4CACHE_EVENT_FREE, __ATOMIC_RELEASE);
    __atomic_store_n(&b->busy, 0, __ATOMIC_RELEASE);
}

static bool send_lines(const struct p4shim_buffer *b) {
    struct sockaddr_un address;
    struct p4shim_fd own;
    struct p4shim_fd via;
    if (!p4shim_socket(SOCK_DGRAM, p4shim_config.access_sock, &own, &address, &via)) {
        return false;
    }
    const long sent = p4shim_is_ours(&own) && !b->is_forked
                          ? p4shim_syscall(SYS_sendto, own.fd, b->events->data, b->bytes,
                                           MSG_DONTWAIT | MSG_NOSIGNAL, &address, sizeof address)
                          : -1;
    if (via.fd >= 0) {
        p4shim_close(&via);
    }
    p4shim_socket_end(&own);
    return sent == (long)b->bytes;
}

/* The buffer is claimed. */
void p4shim_buffer_flush(struct p4shim_buffer *b, int64_t now_ms) {
    b->sent_ms = now_ms;
    if (b->bytes == 0) {
        return;
    }
    if (!send_lines(b)) {
        __atomic_add_fetch(&p4shim_lost, b->lines, __ATOMIC_RELAXED);
    }
    b->bytes = 0;
    b->lines = 0;
}

/* The buffer is claimed and empty: gives it to a gate that does not have it. */
void p4shim_buffer_share(struct p4shim_buffer *b) {
    struct p4shim_gate gate;
    if (!p4shim_find_gate(&gate) || p4shim_is_same_gate(&gate, &b->gate)) {
        return;
    }
    struct p4cache_event_buffer *shared = p4shim_map_shared(&gate);
    if (shared != NULL) {
        replace_events(b, shared);
        b->gate = gate;
    }
}

static void flush_where(int64_t older_than_ms, int64_t now_ms) {
    struct p4shim_buffer *b = __atomic_load_n(&all, __ATOMIC_ACQUIRE);
    for (; b != NULL; b = b->next) {
        if (__atomic_load_n(&b->events, __ATOMIC_RELAXED) != NULL && p4shim_buffer_claim(b)) {
            if (b->bytes > 0 && b->events->oldest_ms <= older_than_ms) {
                p4shim_buffer_flush(b, now_ms);
            }
            p4shim_buffer_release(b);
        }
    }
}

void p4shim_flush_all(void) {
    const int saved = errno;
    flush_where(INT64_MAX, p4shim_now_ms(CLOCK_MONOTONIC_COARSE));
    errno = saved;
}

static void on_thread_end(void *at) {
    struct p4shim_buffer *b = at;
    const int saved = errno;
    if (p4shim_buffer_claim(b)) {
        p4shim_buffer_flush(b, p4shim_now_ms(CLOCK_MONOTONIC_COARSE));
        p4shim_buffer_release(b);
    }
    mine = NULL;
    __atomic_store_n(&b->is_used, 0, __ATOMIC_RELEASE);
    errno = saved;
}

void p4shim_events_start(void) {
    has_thread_end = pthread_key_create(&thread_end, on_thread_end) == 0;
}

void p4shim_events_forked(void) {
    for (struct p4shim_buffer *b = all; b != NULL; b = b->next) {
        b->is_used = b == mine;
        if (b->busy == own_token()) {
            /* This is a signal handler's child, and the call that was interrupted goes on. */
            b->is_forked = true;
            b->lines = 0; /* the parent sends them */
            p4shim_map_over(b->events);
        } else {
            start_empty(b);
            b->busy = 0;
        }
    }
    p4shim_lost = 0;
}

/* A buffer that an ended thread left, or a new one. */
static struct p4shim_buffer *take_buffer(void) {
    struct p4shim_buffer *b = __atomic_load_n(&all, __ATOMIC_ACQUIRE);
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
    b = (struct p4shim_buffer *)at;
    b->is_used = 1;
    b->next = __atomic_load_n(&all, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&all, &b->next, b, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
    }
    return b;
}

struct p4shim_buffer *p4shim_buffer_mine(void) {
    if (P4SHIM_UNLIKELY(mine == NULL)) {
        mine = take_buffer();
        if (mine != NULL && has_thread_end) {
            (void)pthread_setspecific(thread_end, mine);
        }
    }
    return mine;
}

/* What has grown old in other threads; at most once a second for the process. */
void p4shim_buffer_sweep(int64_t now_ms) {
    int64_t last_ms = __atomic_load_n(&swept_ms, __ATOMIC_RELAXED);
    if (now_ms - last_ms >= P4SHIM_EVENT_AGE_MS_MAX &&
        __atomic_compare_exchange_n(&swept_ms, &last_ms, now_ms, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
        flush_where(now_ms - P4SHIM_EVENT_AGE_MS_MAX, now_ms);
    }
}
