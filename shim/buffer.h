/*
 * buffer.h - a thread's event buffer. Every function leaves errno alone or is called where it does
 * not matter; none waits.
 */
#ifndef P4SHIM_BUFFER_H
#define P4SHIM_BUFFER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "share.h"

#define P4SHIM_EVENT_AGE_MS_MAX P4CACHE_EVENT_AGE_MS_MAX

struct p4shim_buffer {
    struct p4shim_buffer *next; /* set once, before the buffer is in the list */
    int is_used;         /* by a living thread */
    uintptr_t busy;      /* the thread of this process that is at it; 0: none */
    bool is_forked;      /* meanwhile, in a signal handler: it has nothing of this process */
    uint32_t bytes;      /* of events->data, while claimed */
    unsigned lines;
    int64_t sent_ms;
    int64_t refused_ms; /* since when the gate keeps it locked; 0: it does not */
    struct p4cache_event_buffer *events; /* shared with the gate once it has been given to it */
    struct p4shim_gate gate;             /* that has it; zeroes: none */
    uint64_t nonce; /* of this thread in this process; 0: not drawn yet */
    long pid;       /* that it was drawn in: a child of clone() runs no handler of fork */
    uint64_t count;
    char who[64];  /* `,"pid":1,"uid":2,"op":"`, the same for a batch */
    char name[40]; /* `,"id":"<nonce>-` */
    unsigned cwd_generation;
    long cwd_tid; /* that asked, where it matters: see events.c */
    size_t cwd_bytes;
    char cwd[PATH_MAX];
    char path[2 * PATH_MAX];
};

/* Lines that were not sent and not yet told of. Atomic. */
extern unsigned p4shim_lost;

/* This thread's buffer, made at its first event; NULL without memory. */
struct p4shim_buffer *p4shim_buffer_mine(void);

/* Exclusive use, or false at once. Between the two `bytes` counts, not what is in memory. */
bool p4shim_buffer_claim(struct p4shim_buffer *b);
void p4shim_buffer_release(struct p4shim_buffer *b);

/* Both of a claimed buffer. Flush empties it whether or not the datagram was taken; share gives
 * an empty one to a gate that does not have it. */
void p4shim_buffer_flush(struct p4shim_buffer *b, int64_t now_ms);
void p4shim_buffer_share(struct p4shim_buffer *b);

/* Sends what has grown old in other threads; at most once a second for the process. */
void p4shim_buffer_sweep(int64_t now_ms);

#endif
