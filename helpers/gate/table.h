/* table.h - the table of connections: slots, ids, states. Allocated once. */
#ifndef P4CACHE_TABLE_H
#define P4CACHE_TABLE_H

#include "gate.h"

/* How often a peer that waits is told so. */
#define WAIT_MS 2000

/* Makes the table as large as requests_max and the limit of descriptors let it, and watches
 * shim.sock. */
void table_open(struct gate *gate);

/* Whether peers are accepted. */
void table_set_accepting(struct gate *gate, bool accept);

/* epoll_ctl of a connection or a socket. */
void table_watch(const struct gate *gate, int operation, int fd, uint64_t id, uint32_t events);

/* NULL when the connection of that id has ended. */
struct connection *table_find(const struct gate *gate, uint64_t id);

/* A free slot with a new id; there must be one. */
struct connection *table_take(struct gate *gate);

bool table_has_deadline(enum connection_state state);

/* The only place that changes a state, so that the counts are always those of the table. */
void table_enter(struct gate *gate, struct connection *c, enum connection_state state);

/* Unread bytes at close would reach the peer as a reset. What comes later is its own affair. */
void table_drain(int fd);

/* Closes, and keeps the slot: GONE. */
void table_hang_up(struct gate *gate, struct connection *c);

/* Closes, and frees the slot. */
void table_release(struct gate *gate, struct connection *c);

#endif
