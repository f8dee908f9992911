/*
 * event_buffers.c - see event_buffers.h.
 *
 * The other side may write anything into the memory at any time: each of its words is read once,
 * bounded, and never waited for. It can also make the memory fail under us (SIGBUS): a hole that
 * cannot be filled, a segment of huge pages that were never reserved. So memory of others is
 * touched in take_guarded() alone, which survives that; such a buffer is let go.
 */
#define _GNU_SOURCE
#include "event_buffers.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/shm.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../event_buffer.h"
#include "gate.h"
#include "table.h"

/* With the age at which lines are taken it stays under the 2 s that they may sit. */
#define ROUND_MS 900
#define BATCH 128

_Static_assert(ROUND_MS < 1000 && P4CACHE_EVENT_AGE_MS_MAX + ROUND_MS < 2000,
               "no line sits for 2 s");

static const char announcement[] = P4CACHE_EVENT_ANNOUNCE;

/* ---- draining ----------------------------------------------------------------------- */

static sigjmp_buf after_fault;
static volatile sig_atomic_t is_guarded;

static void on_bus_error(int signal_number) {
    if (is_guarded) {
        siglongjmp(after_fault, 1);
    }
    /* A fault of our own: end as without a handler. */
    signal(signal_number, SIG_DFL);
}

/* A time after ours is of another clock (a time namespace), or made up: old too. */
static bool is_old(const struct p4cache_event_buffer *events, int64_t now_ms) {
    const int64_t oldest_ms = __atomic_load_n(&events->oldest_ms, __ATOMIC_RELAXED);
    return (uint64_t)now_ms - (uint64_t)oldest_ms >= P4CACHE_EVENT_AGE_MS_MAX;
}

static bool lock_events(struct p4cache_event_buffer *events) {
    uint32_t unlocked = P4CACHE_EVENT_FREE;
    return __atomic_compare_exchange_n(&events->lock, &unlocked, P4CACHE_EVENT_GATE, false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Moves the lines to `data`; their bytes. When nobody else has the buffer, neither age nor lock
 * matter. */
static size_t take(struct p4cache_event_buffer *events, bool is_ours_alone, char *data) {
    if (__atomic_load_n(&events->bytes, __ATOMIC_RELAXED) == 0) {
        return 0; /* most, most of the time: left alone */
    }
    if (!is_ours_alone && (!is_old(events, gate_now_ms()) || !lock_events(events))) {
        return 0;
    }
    size_t bytes = __atomic_load_n(&events->bytes, __ATOMIC_RELAXED);
    bytes = bytes <= sizeof events->data ? bytes : 0;
    memcpy(data, events->data, bytes);
    __atomic_store_n(&events->bytes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&events->lock, P4CACHE_EVENT_FREE, __ATOMIC_RELEASE);
    return bytes;
}

/* False when the memory failed. */
static bool take_guarded(struct p4cache_event_buffer *events, bool is_ours_alone, char *data,
                         size_t *bytes) {
    if (sigsetjmp(after_fault, 0) != 0) {
        is_guarded = 0;
        return false;
    }
    is_guarded = 1;
    *bytes = take(events, is_ours_alone, data);
    is_guarded = 0;
    return true;
}

static void set_timer(const struct event_buffers *buffers, long every_ms) {
    const struct timespec time = {.tv_nsec = every_ms * 1000000};
    const struct itimerspec every = {.it_interval = time, .it_value = time};
    timerfd_settime(buffers->timer_fd, 0, &every, NULL);
}

/* Its place goes to the last one, which the round has seen, or which came after it began. */
static void let_go(struct event_buffers *buffers, uint32_t index) {
    shmdt(buffers->all[index].events);
    buffers->all[index] = buffers->all[--buffers->count];
    if (buffers->count == 0) {
        set_timer(buffers, 0);
    }
}

/* Nobody else has it attached, and nobody will: it is marked for removal. */
static bool is_ours_alone(int segment) {
    struct shmid_ds state;
    return shmctl(segment, IPC_STAT, &state) != 0 || state.shm_nattch <= 1;
}

static void drain(struct gate *gate, uint32_t index) {
    static char data[sizeof ((struct p4cache_event_buffer *)0)->data];
    struct shared_buffer *buffer = &gate->buffers.all[index];
    size_t bytes = 0;
    /* Asked before the drain: what was written before its last user left is seen. */
    const bool is_last = is_ours_alone(buffer->segment);
    if (!gate_is_allowed(gate, buffer->sender.uid)) {
        gate->counters[COUNT_ACCESS_REJECTED]++; /* not any more */
        let_go(&gate->buffers, index);
        return;
    }
    if (!access_may_report(gate, buffer->sender.uid)) {
        return; /* it stays where it is, for a later round */
    }
    const bool is_sound = take_guarded(buffer->events, is_last, data, &bytes);
    if (bytes > 0) {
        access_report(gate, &buffer->sender, data, bytes);
    }
    gate->counters[COUNT_ACCESS_DROPPED] += !is_sound;
    if (is_last || !is_sound) {
        let_go(&gate->buffers, index);
    }
}

void event_buffers_tick(struct gate *gate) {
    struct event_buffers *buffers = &gate->buffers;
    uint64_t expirations;
    if (buffers->round_left == 0) {
        buffers->round_left = buffers->count;
    }
    for (int i = 0; i < BATCH && buffers->round_left > 0; i++) {
        if (gate_is_paused(gate)) {
            return; /* the timer stays readable: it goes on here */
        }
        drain(gate, --buffers->round_left);
    }
    if (buffers->round_left == 0) {
        (void)!read(buffers->timer_fd, &expirations, sizeof expirations);
    }
}

/* ---- attaching ---------------------------------------------------------------------- */

bool event_buffers_is_announcement(const char *data, size_t bytes) {
    return bytes >= sizeof announcement - 1 &&
           memcmp(data, announcement, sizeof announcement - 1) == 0;
}

/* The number and a line feed after the announcement's text, and nothing else; or -1. */
static int segment_of(const char *data, size_t bytes) {
    int64_t segment = 0;
    size_t at = sizeof announcement - 1;
    const size_t first = at;
    for (; at < bytes && data[at] >= '0' && data[at] <= '9'; at++) {
        segment = segment * 10 + (data[at] - '0');
        if (segment > INT_MAX) {
            return -1;
        }
    }
    return at > first && at + 1 == bytes && data[at] == '\n' ? (int)segment : -1;
}

enum verdict { IS_RIGHT, IS_GONE, IS_WRONG };

/* Its creator made it as large as it says; it must be the sender, who could else have the gate
 * read another user's memory. */
static enum verdict look_at(int segment, uid_t sender) {
    struct shmid_ds state;
    if (shmctl(segment, IPC_STAT, &state) != 0) {
        return errno == EINVAL || errno == EIDRM ? IS_GONE : IS_WRONG;
    }
    return state.shm_perm.cuid == sender &&
                   state.shm_segsz == sizeof(struct p4cache_event_buffer)
               ? IS_RIGHT
               : IS_WRONG;
}

/* Attaches it between two looks: its number may be another segment's by then, and only what is
 * attached keeps its number. */
static enum verdict attach(int segment, uid_t sender, struct p4cache_event_buffer **events) {
    const enum verdict before = look_at(segment, sender);
    if (before != IS_RIGHT) {
        return before;
    }
    void *at = shmat(segment, NULL, 0);
    if (at == (void *)-1) {
        return errno == EINVAL || errno == EIDRM ? IS_GONE : IS_WRONG;
    }
    if (look_at(segment, sender) != IS_RIGHT) {
        shmdt(at);
        return IS_WRONG;
    }
    *events = at;
    return IS_RIGHT;
}

/* Twice attached it would never be ours alone. */
static bool is_known(const struct event_buffers *buffers, int segment) {
    for (uint32_t i = 0; i < buffers->count; i++) {
        if (buffers->all[i].segment == segment) {
            return true;
        }
    }
    return false;
}

void event_buffers_announced(struct gate *gate, const struct ucred *sender, const char *data,
                             size_t bytes) {
    struct event_buffers *buffers = &gate->buffers;
    struct shared_buffer buffer = {.segment = segment_of(data, bytes), .sender = *sender};
    if (buffer.segment < 0) {
        gate->counters[COUNT_ACCESS_REJECTED]++;
        return;
    }
    if (is_known(buffers, buffer.segment)) {
        return;
    }
    if (buffers->count == buffers->count_max) {
        gate->counters[COUNT_ACCESS_DROPPED]++;
        return;
    }
    const enum verdict verdict = attach(buffer.segment, sender->uid, &buffer.events);
    if (verdict == IS_RIGHT) {
        buffers->all[buffers->count++] = buffer;
        if (buffers->count == 1) {
            set_timer(buffers, ROUND_MS);
        }
    } else if (verdict == IS_WRONG) {
        gate->counters[COUNT_ACCESS_REJECTED]++;
    } /* gone: a program that ended soon sent its events before */
}

void event_buffers_open(struct gate *gate) {
    /* No mask to restore after the jump, which saves a system call for each drain. */
    const struct sigaction action = {.sa_handler = on_bus_error, .sa_flags = SA_NODEFER};
    gate->buffers.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (gate->buffers.timer_fd < 0 || sigaction(SIGBUS, &action, NULL) != 0) {
        output_fatal(errno, "Cannot make a timer: %s", strerror(errno));
    }
    table_watch(gate, EPOLL_CTL_ADD, gate->buffers.timer_fd, GATE_ID_TICK, EPOLLIN);
}
