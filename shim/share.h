/*
 * share.h - memory for a thread's events, and the gate that may share it.
 */
#ifndef P4SHIM_SHARE_H
#define P4SHIM_SHARE_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "../helpers/event_buffer.h"

/* A gate by its socket: one that starts anew makes a new one, and knows no buffer of ours. */
struct p4shim_gate {
    dev_t dev;
    ino_t ino;
    uid_t uid;
    struct timespec ctime; /* inode numbers are used again */
};

/* Zeroed memory that nobody else sees; NULL without memory. */
struct p4cache_event_buffer *p4shim_map_private(void);

/* Memory that the gate has been given, locked for us; NULL when there is no gate to take it. */
struct p4cache_event_buffer *p4shim_map_shared(const struct p4shim_gate *gate);

void p4shim_unmap(struct p4cache_event_buffer *buffer);

/* Zeroes that nobody else sees, at the same address; of NULL nothing. Without memory what is there
 * stays. */
void p4shim_map_over(struct p4cache_event_buffer *buffer);

bool p4shim_find_gate(struct p4shim_gate *gate);
bool p4shim_is_same_gate(const struct p4shim_gate *a, const struct p4shim_gate *b);

#endif
