/*
 * event_buffers.h - the event buffers that programs under the shim share with the gate.
 *
 * Their layout and rules are in ../event_buffer.h. The gate drains them about once a second and
 * lets one go when nobody else has it attached: the program has ended, runs another program, or
 * has taken a new one. That is asked of the segment and not of a pid, which may be another
 * process's by now, or of another namespace; it needs no descriptor either.
 */
#ifndef P4CACHE_EVENT_BUFFERS_H
#define P4CACHE_EVENT_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* The system has no more segments than these (kernel.shmmni) unless told otherwise. */
#define EVENT_BUFFERS_MAX 4096

struct gate;
struct p4cache_event_buffer;

struct shared_buffer {
    struct p4cache_event_buffer *events;
    int segment;
    struct ucred sender; /* of the announcement */
};

struct event_buffers {
    struct shared_buffer all[EVENT_BUFFERS_MAX]; /* the first `count` */
    uint32_t count;
    uint32_t count_max;
    uint32_t round_left; /* of a round that has begun: all[0..round_left) are still to be drained */
    int timer_fd;        /* runs while there is a buffer; readable until the round is over */
};

/* Makes the timer and watches it. Ends the process with a fatal line when it cannot. */
void event_buffers_open(struct gate *gate);

/* Whether a datagram announces a buffer, rather than carries events. */
bool event_buffers_is_announcement(const char *data, size_t bytes);

/* Attaches the buffer that an allowed sender announces, if it is what it must be. */
void event_buffers_announced(struct gate *gate, const struct ucred *sender, const char *data,
                             size_t bytes);

/* A bounded part of a round; called again until the round is over. */
void event_buffers_tick(struct gate *gate);

#endif
